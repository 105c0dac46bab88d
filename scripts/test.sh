#!/usr/bin/env bash
# Runs every test. The machine needs a Rust toolchain and a C compiler. The script installs a
# redis-server by the system's package manager if it is missing. The tests start their own servers,
# on free ports and in temporary folders.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

command -v cargo >/dev/null || fail "cargo is missing; install a Rust toolchain, 1.88 or later"
command -v cc >/dev/null || fail "cc is missing; install a C compiler"
# Fedora and Arch replaced Redis by Valkey, whose package has a redis-server too.
command -v redis-server >/dev/null || install redis-server redis-server 'redis valkey-compat-redis' redis 'redis valkey' redis

# The Redis store's scripts declare flags in their first line, which Redis accepts since 7.0.
version=$(redis-server --version | sed -n 's/.* v=\([0-9][0-9]*\)\..*/\1/p')
[ "${version:-0}" -ge 7 ] || fail "redis-server is too old ($(redis-server --version)); install Redis 7.0 or later"

# Runs `cargo test`. A failure is remembered, and the next runs go on.
failed=0
run() {
  printf '\n== cargo test %s\n' "$*"
  cargo test --no-fail-fast "$@" || failed=1
}

# Everything, with doctests and examples. `EVERY_DEPTH` is the length of the event sequences that
# the replica's exhaustive test tries: one step more than in the runs below.
EVERY_DEPTH=4 run
# The rules of bearer input again with the other signature backend alone, and the keys with both.
run --lib --test conformance --no-default-features --features rust-crypto,redis,bcrypt,tracing
run --lib --features rust-crypto
# Without a signature backend `build` fails, and its error says why.
run --lib --no-default-features key_34

exit "$failed"
