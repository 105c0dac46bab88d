#!/usr/bin/env bash
# live_mutants.sh [RUNS [MUTANT...]]: shows that the tests on live servers can fail.
#
# Each mutant (default: all) is a patch of `scripts/live_mutants` that breaks a copy of the project
# in one way. The tests that can detect it must do so in each of RUNS (default: 1). The oracle
# detects a mutant by tokens that were accepted after the bound, the other suites by a failed test.
# Before the mutants, the unbroken copy must pass the same tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

# Prints the test binary that can detect a mutant.
binary_of() {
  case $1 in
    no_write_check) echo redis ;;
    *) echo replica ;;
  esac
}

# Succeeds if the oracle of bounded staleness detects a mutant, by the requests that it counts.
is_detected_by_the_oracle() {
  case $1 in
    no_majority | no_write_check | stamp_not_settled) false ;;
  esac
}

# Prints the tests that can detect a mutant, as parts of their names. Each part matches tests of one
# module only.
faults_of() {
  case $1 in
    control) echo when_all_is_calm nudges_are_cut killed_in_a_storm late_answer cut_off_and_frozen trimmed_under_its_readers ;;
    lease_before_map) echo nudges_are_cut killed_in_a_storm ;;
    map_before_lease) echo late_answer cut_off_and_frozen ;;
    chain_not_checked | end_not_checked) echo trimmed_under_its_readers ;;
    lease_from_the_answer | lease_never_ends_*) echo late_answer ;;
    no_second_look) echo when_all_is_calm ;;
    no_majority) echo kept_on_the_old_primary ;;
    no_write_check) echo has_lost_its_replicas ;;
    stamp_not_settled) echo from_the_first_use_of_the_new_token gives_the_next_tokens_a_stamp ;;
    *) fail "no test is known to detect $1; name its tests in faults_of" ;;
  esac
}

command -v cargo >/dev/null || fail "cargo is missing; install a Rust toolchain, 1.88 or later"
command -v redis-server >/dev/null || fail "redis-server is missing; scripts/test.sh installs it"
command -v git >/dev/null || install git git git git git git

runs=${1:-1}
shift || true
patches=$PWD/scripts/live_mutants
[ $# -gt 0 ] || set -- $(cd "$patches" && ls | sed 's/\.patch$//')
[ $# -gt 0 ] && [ "$runs" -ge 1 ] || fail "there is nothing to run; give at least one run and one mutant"
# Reports a wrong name now, not after minutes.
for mutant in "$@"; do
  [ -f "$patches/$mutant.patch" ] || fail "$mutant is no mutant; use the name of a patch in scripts/live_mutants"
  faults_of "$mutant" >/dev/null
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/copy"
tar -cf - Cargo.toml Cargo.lock README.md SECURITY.md src tests benches examples | tar -xf - -C "$work/copy"
cp -r src "$work/unbroken"
cd "$work/copy"

# The target folder is not the project's own. Cargo compares times, so it would take a mutant built
# after the last change of a file for the build of the project itself (this happened). Git must find
# no repository above the copy: it would ignore files that do not belong to that repository.
export CARGO_TARGET_DIR=$work/target CARGO_INCREMENTAL=0 GIT_CEILING_DIRECTORIES=$work

build() {
  cargo test --locked --quiet --all-features --test "$(binary_of "$1")" --no-run 2>"$work/log" || {
    cat "$work/log" >&2
    fail "$1 does not compile; read the errors above"
  }
}

# Runs the tests that can detect a mutant, with their output in the log.
run_tests() {
  cargo test --locked --quiet --all-features --test "$(binary_of "$1")" --no-fail-fast -- \
    --nocapture --test-threads=1 $(faults_of "$1") >"$work/log" 2>&1
}

# Prints how the tests detected a mutant, or nothing if they did not.
caught_by() {
  if is_detected_by_the_oracle "$1"; then
    # These words are printed by the oracle for each violation.
    awk 'sub(/: let in after the bound: /, ":") {
      count = gsub(/,/, ""); sub(/:.*/, ""); printf "%s%s: %d", more, $0, count + 1; more = ", "
    }' "$work/log"
  else
    awk '/^test result: FAILED/ { print $6, "of", $4 + $6, "tests failed" }' "$work/log"
  fi
}

show_log() {
  sed 's/^/  | /' "$work/log"
  failed=1
}

failed=0
echo "building a copy of the project"
build "the project as it is"
for ((run = 1; run <= runs; run++)); do
  # Counts the reports: a filter that matches no test would pass as well.
  if run_tests control && [ "$(grep -c ' 0 violations; ' "$work/log")" -eq "$(faults_of control | wc -w)" ]; then
    echo "control, run $run: passed"
  else
    echo "control, run $run: FAILED"
    show_log
  fi
done

# The suites other than the oracle, on the unbroken copy.
for mutant in "$@"; do
  if ! is_detected_by_the_oracle "$mutant"; then
    build "$mutant"
    if run_tests "$mutant" && ! grep -q '^running 0 tests' "$work/log"; then
      echo "control of $mutant: passed"
    else
      echo "control of $mutant: FAILED"
      show_log
    fi
  fi
done

for mutant in "$@"; do
  # `git apply` allows no fuzz: a patch that does not fit exactly fails.
  git apply "$patches/$mutant.patch" || fail "the patch of $mutant does not fit the code; adapt it"
  ! diff -rq src "$work/unbroken" >/dev/null || fail "the patch of $mutant changes nothing; adapt it"
  build "$mutant"
  for ((run = 1; run <= runs; run++)); do
    run_tests "$mutant" || true
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
