#!/usr/bin/env bash
# Causes the fault of each alert of docs/operations/alerts.yaml, and checks that the alert fires. The
# tests stop, pause, fill and empty Redis servers of their own, and the example server runs on them.
# They are part of scripts/test.sh too. This script takes half a minute after the build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

command -v redis-server >/dev/null || fail "redis-server is missing; run scripts/test.sh, which installs it"

# A single test target does not build the examples.
cargo build --locked --all-features --example server
cargo test --locked --all-features --test server -- alerts:: metrics::
