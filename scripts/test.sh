#!/usr/bin/env bash
# Runs every test. A new machine needs a Rust toolchain and a C compiler. The script installs the
# rest with the package manager of the system: a redis-server, and Chromium with its driver. The
# tests start their own servers and browsers, on free ports and in folders of their own.
#
# TOWER_BEARER_VECTORS           the folder of the third-party vectors (default ../shared/vectors)
# TOWER_BEARER_REQUIRE_VECTORS   1: fail if that folder is missing. Otherwise the tests that read it
#                                are reported as ignored.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

command -v cargo >/dev/null || fail "cargo is missing; install a Rust toolchain, 1.88 or later"
command -v cc >/dev/null || fail "cc is missing; install a C compiler"
# Fedora and Arch have replaced Redis by Valkey, which brings a redis-server too.
command -v redis-server >/dev/null || install redis-server redis-server 'redis valkey-compat-redis' redis 'redis valkey' redis

# The tests of the example `browser` drive a headless Chromium.
command -v chromedriver >/dev/null ||
  install chromedriver 'chromium-driver chromium-chromedriver' chromedriver chromium-chromedriver chromium chromedriver

# The scripts of the Redis store declare their flags in their first line, as Redis 7.0 or later
# understands.
version=$(redis-server --version | sed -n 's/.* v=\([0-9][0-9]*\)\..*/\1/p')
[ "${version:-0}" -ge 7 ] || fail "redis-server is too old ($(redis-server --version)); install Redis 7.0 or later"

# The test that needs a time namespace. It runs by itself, if this machine allows such namespaces.
suspension=the_lease_clock_includes_the_time_of_a_suspension

vectors=${TOWER_BEARER_VECTORS:-../shared/vectors}
harness=()
if [ -d "$vectors" ]; then
  # Of the other ignored tests, one checks nothing, one takes minutes and gigabytes, and one runs
  # below.
  harness=(-- --include-ignored --skip figures --skip with_all_rules_the_bound_is_kept_in_deep_searches)
  harness+=(--skip "$suspension")
elif [ "${TOWER_BEARER_REQUIRE_VECTORS:-}" = 1 ]; then
  fail "the third-party vectors are missing: no folder $vectors; set TOWER_BEARER_VECTORS"
else
  echo "no folder $vectors: the tests that read third-party vectors are ignored"
fi

# A failing run does not hide the failures of the next.
failed=0
run() {
  printf '\n== cargo test %s\n' "$*"
  cargo test --no-fail-fast "$@" ${harness[@]+"${harness[@]}"} || failed=1
}

# Everything, doctests and examples too. The replica's search tries sequences that are one step
# longer than in the runs below.
EVERY_DEPTH=4 run
# The rules of bearer input once more with the other signature backend alone, and the keys with both.
run --lib --test conformance --no-default-features --features rust-crypto,redis,bcrypt,tracing
run --lib --features rust-crypto
# Without a backend no service can be built, and the error says why.
run --lib --no-default-features key_34
# The boot clock of a time namespace can be ahead, as after a suspension.
if unshare --user --map-root-user --time --boottime 1 --fork true 2>/dev/null; then
  harness=(-- --ignored)
  run --lib "$suspension"
else
  echo "unshare may not make a time namespace: the test $suspension is not run"
fi

exit "$failed"
