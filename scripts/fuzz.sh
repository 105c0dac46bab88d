#!/usr/bin/env bash
# fuzz.sh [SECONDS] [TARGET...]: runs each fuzz target (default: all of `fuzz/targets`) for so long (default: 30 s), from the seeds in `fuzz/seeds`
# and what earlier runs have found. A crash fails; its input stands in `fuzz/artifacts`. cargo-fuzz and a C++ compiler are installed
# if they are missing. There need be no nightly toolchain: RUSTC_BOOTSTRAP lets the stable one take the flags that coverage needs.
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
# Without a sanitizer: the crate forbids unsafe code, so what can be found is panics, overflows and broken rules, at twice the speed.
cargo fuzz build --sanitizer none
failed=0
for target in "$@"; do
  # What it has found before stands in `corpus`, and what has crashed in `artifacts`: both are tried again first.
  mkdir -p "corpus/$target" "artifacts/$target"
  printf '\n== fuzz %s for %s s\n' "$target" "$seconds"
  cargo fuzz run --sanitizer none "$target" "corpus/$target" "seeds/$target" "artifacts/$target" -- \
    -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 2>&1 |
    { grep -aEv '# Uses: |recommended dictionary' || true; } || failed=1
done
exit "$failed"
