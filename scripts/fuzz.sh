#!/usr/bin/env bash
# fuzz.sh [SECONDS] [TARGET...]: runs each fuzz target for SECONDS (default: 30).
#
# The default targets are all of `fuzz/targets`. A run starts from the seeds in `fuzz/seeds` and the
# inputs that earlier runs found. A crash makes the script fail and leaves its input in
# `fuzz/artifacts`. The script installs cargo-fuzz and a C++ compiler if they are missing. It needs
# no nightly toolchain: RUSTC_BOOTSTRAP makes the stable one accept the flags for coverage.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

seconds=${1:-30}
shift || true
[ $# -gt 0 ] || set -- $(cd fuzz/targets && ls | sed 's/\.rs$//')

command -v c++ >/dev/null || install c++ g++ gcc-c++ g++ gcc gcc
export PATH="$PWD/fuzz/target/tools/bin:$PATH" RUSTC_BOOTSTRAP=1 CARGO_INCREMENTAL=0
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --version 0.13.2 --locked --root fuzz/target/tools

cd fuzz
# No sanitizer: the crate forbids unsafe code, so only panics, overflows and broken rules can be
# found. Fuzzing is twice as fast without one.
cargo fuzz build --sanitizer none
failed=0
for target in "$@"; do
  # `corpus` has the inputs of earlier runs, and `artifacts` those that crashed. Both run first.
  mkdir -p "corpus/$target" "artifacts/$target"
  printf '\n== fuzzing %s for %s s\n' "$target" "$seconds"
  cargo fuzz run --sanitizer none "$target" "corpus/$target" "seeds/$target" "artifacts/$target" -- \
    -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 2>&1 |
    { grep -aEv '# Uses: |recommended dictionary' || true; } || failed=1
done
exit "$failed"
