#!/usr/bin/env bash
# Runs every test. A fresh machine needs a Rust toolchain and a C compiler; what else the tests need is installed here:
# a redis-server, by the system's own package manager. The tests start their own servers, on free ports and in folders of their own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

command -v cargo >/dev/null || fail "cargo is missing; install a Rust toolchain, 1.88 or later"
command -v cc >/dev/null || fail "cc is missing; install a C compiler"
# Fedora and Arch have replaced Redis by Valkey, which brings a redis-server too.
command -v redis-server >/dev/null || install redis-server redis-server 'redis valkey-compat-redis' redis 'redis valkey' redis

# The scripts of the Redis store declare their flags in their first line, which came with 7.0.
version=$(redis-server --version | sed -n 's/.* v=\([0-9][0-9]*\)\..*/\1/p')
[ "${version:-0}" -ge 7 ] || fail "redis-server is too old ($(redis-server --version)); install Redis 7.0 or later"

# One failing run does not hide what the next would show.
failed=0
run() {
  printf '\n== cargo test %s\n' "$*"
  cargo test --no-fail-fast "$@" || failed=1
}

# Everything, doctests and examples too; the sequences of the replica's search one step longer than in the runs below.
EVERY_DEPTH=4 run
# The rules of bearer input once more on the other signature backend alone, and the keys on both at once.
run --lib --test conformance --no-default-features --features rust-crypto,redis,bcrypt,tracing
run --lib --features rust-crypto
# Without a backend nothing can be built, and the error says why.
run --lib --no-default-features key_34

exit "$failed"
