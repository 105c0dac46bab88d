#!/usr/bin/env bash
# Runs every test. A fresh machine needs a Rust toolchain and a C compiler; what else the tests need is installed here:
# a redis-server, by the system's own package manager. The tests start their own servers, on free ports and in folders of their own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  printf 'test.sh: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "redis-server is missing and installing it needs root, but there is no sudo; run as root: $*"
  fi
}

# Fedora and Arch have replaced Redis by Valkey, which brings a redis-server too.
install_redis() {
  echo "test.sh: redis-server is missing; installing it"
  if command -v apt-get >/dev/null; then
    as_root apt-get update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends redis-server
  elif command -v dnf >/dev/null; then
    as_root dnf install -y redis || as_root dnf install -y valkey-compat-redis
  elif command -v apk >/dev/null; then
    as_root apk add redis
  elif command -v pacman >/dev/null; then
    as_root pacman -Sy --noconfirm redis || as_root pacman -Sy --noconfirm valkey
  elif command -v brew >/dev/null; then
    brew install redis
  else
    fail "redis-server is missing and no package manager is known here; install Redis 7.0 or later, or Valkey 8 or later"
  fi
  command -v redis-server >/dev/null || fail "redis-server was installed, but is not on the PATH; add its folder to PATH"
}

command -v cargo >/dev/null || fail "cargo is missing; install a Rust toolchain, 1.88 or later"
command -v cc >/dev/null || fail "cc is missing; install a C compiler"
command -v redis-server >/dev/null || install_redis

# The scripts of the Redis store declare their flags in their first line, which came with 7.0.
version=$(redis-server --version | sed -n 's/.* v=\([0-9][0-9]*\)\..*/\1/p')
[ "${version:-0}" -ge 7 ] || fail "redis-server is too old ($(redis-server --version)); install Redis 7.0 or later"

# One failing run does not hide what the next would show.
failed=0
run() {
  printf '\n== cargo test %s\n' "$*"
  cargo test --no-fail-fast "$@" || failed=1
}

run                                                      # everything, doctests and examples too
run --lib --no-default-features --features rust-crypto   # the other signature backend alone
run --lib --features rust-crypto                         # both backends at once

exit "$failed"
