#!/usr/bin/env bash
# live_mutants.sh [RUNS [MUTANT...]]: shows that the tests on live servers can fail. A copy of the project is broken in
# one way at a time, by a patch of `scripts/live_mutants`, and asked for revoked tokens under the faults that can show
# it. Each mutant (default: all) must be caught in each of RUNS (default: 1): under the oracle by tokens that were let in
# after the bound, in the other suites by a test that fails. Before them the copy as it is must pass.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

# The test binary that can show a mutant.
binary_of() {
  case $1 in
    no_write_check) echo redis ;;
    *) echo replica ;;
  esac
}

# Whether the oracle of bounded staleness shows a mutant, by requests that it counts.
is_shown_by_the_oracle() {
  case $1 in
    no_majority | no_write_check) false ;;
  esac
}

# The tests that can show a mutant, by parts of their names. A part fits tests of one module only.
faults_of() {
  case $1 in
    control) echo nudges_are_cut killed_in_a_storm late_answer cut_off_and_frozen trimmed_under_its_readers ;;
    lease_before_map) echo nudges_are_cut killed_in_a_storm ;;
    map_before_lease) echo late_answer cut_off_and_frozen ;;
    chain_not_checked | end_not_checked) echo trimmed_under_its_readers ;;
    lease_from_the_answer | lease_never_ends_*) echo late_answer ;;
    no_majority) echo kept_on_the_old_primary ;;
    no_write_check) echo has_lost_its_replicas ;;
    *) fail "no test is known that shows $1" ;;
  esac
}

command -v cargo >/dev/null || fail "cargo is missing; install a Rust toolchain, 1.88 or later"
command -v redis-server >/dev/null || fail "redis-server is missing; scripts/test.sh installs it"
command -v git >/dev/null || install git git git git git git

runs=${1:-1}
shift || true
patches=$PWD/scripts/live_mutants
[ $# -gt 0 ] || set -- $(cd "$patches" && ls | sed 's/\.patch$//')
[ $# -gt 0 ] && [ "$runs" -ge 1 ] || fail "nothing to be run"
# A name that is wrong is found now, not after minutes.
for mutant in "$@"; do
  [ -f "$patches/$mutant.patch" ] || fail "no such mutant: $mutant"
  faults_of "$mutant" >/dev/null
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/copy"
tar -cf - Cargo.toml Cargo.lock README.md src tests benches examples | tar -xf - -C "$work/copy"
cp -r src "$work/unbroken"
cd "$work/copy"

# The dependencies are built once, in a folder that is not the project's own. Cargo compares times:
# it would take a mutant that was built after a file was written for the build of that file, and run
# it as the project (seen). Git must see no repository above the copy, or it would ignore files that
# are not that repository's.
export CARGO_TARGET_DIR=$work/target CARGO_INCREMENTAL=0 GIT_CEILING_DIRECTORIES=$work

build() {
  cargo test --locked --quiet --all-features --test "$(binary_of "$1")" --no-run 2>"$work/log" || {
    cat "$work/log" >&2
    fail "$1 does not compile"
  }
}

# Runs the tests that can show a mutant, with their output in the log.
oracle() {
  cargo test --locked --quiet --all-features --test "$(binary_of "$1")" --no-fail-fast -- --nocapture --test-threads=1 \
    $(faults_of "$1") >"$work/log" 2>&1
}

# Prints how a mutant was caught; nothing if it was not.
caught_by() {
  if is_shown_by_the_oracle "$1"; then
    awk 'sub(/: let in after the bound: /, ":") { count = gsub(/,/, ""); sub(/:.*/, ""); printf "%s%s: %d", more, $0, count + 1; more = ", " }' "$work/log"
  else
    awk '/^test result: FAILED/ { print $6, "of", $4 + $6, "tests failed" }' "$work/log"
  fi
}

show_log() {
  sed 's/^/  | /' "$work/log"
  failed=1
}

failed=0
echo "building a copy"
build "the project as it is"
for ((run = 1; run <= runs; run++)); do
  # A filter that fits no test would let everything pass.
  if oracle control && [ "$(grep -c ' 0 violations; ' "$work/log")" -eq "$(faults_of control | wc -w)" ]; then
    echo "control, run $run: passed"
  else
    echo "control, run $run: FAILED"
    show_log
  fi
done

# The suites beside the oracle, on the copy as it is.
for mutant in "$@"; do
  if ! is_shown_by_the_oracle "$mutant"; then
    build "$mutant"
    if oracle "$mutant" && ! grep -q '^running 0 tests' "$work/log"; then
      echo "control of $mutant: passed"
    else
      echo "control of $mutant: FAILED"
      show_log
    fi
  fi
done

for mutant in "$@"; do
  # Applied exactly or not at all.
  git apply "$patches/$mutant.patch" || fail "$mutant: the patch does not fit the code any more"
  ! diff -rq src "$work/unbroken" >/dev/null || fail "$mutant: the patch has changed nothing"
  build "$mutant"
  for ((run = 1; run <= runs; run++)); do
    oracle "$mutant" || true
    caught=$(caught_by "$mutant")
    if [ -n "$caught" ]; then
      echo "$mutant, run $run: caught ($caught)"
    else
      echo "$mutant, run $run: SURVIVED"
      show_log
    fi
  done
  git apply --reverse "$patches/$mutant.patch"
done
exit "$failed"
