#!/usr/bin/env bash
# conformance.sh LOG [CATALOGUE]: fails if a row of the catalogue has no test that passed.
#
# LOG is the output of `cargo test`. CATALOGUE is docs/conformance.md by default. A test proves a
# row if its name starts with the id of the row: `aut_01_...` for AUT-01. Rows of low severity need
# no test. Rows that do not apply yet are listed with their reason in
# tests/conformance/not-applicable.txt, and must have no test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log=$1 catalogue=${2:-docs/conformance.md}
if [ ! -f "$catalogue" ]; then
  echo "conformance.sh: the catalogue $catalogue is missing; name its file as the second argument" >&2
  exit 1
fi

awk '
  FILENAME == ARGV[1] && match($0, /test [^ ]*[a-z][a-z][a-z]_[0-9][0-9]_[^ ]* \.\.\. ok/) {
    name = $2; sub(/.*::/, "", name)
    tested[toupper(substr(name, 1, 3)) "-" substr(name, 5, 2)]++
  }
  FILENAME == ARGV[2] && /^[A-Z][A-Z][A-Z]-[0-9]/ { excused[$1] = 1 }
  FILENAME == ARGV[3] && /^\| [A-Z][A-Z][A-Z]-[0-9]+ \|/ {
    gsub(/\\\|/, ""); split($0, cell, "|")
    id = cell[2]; severity = cell[8]; gsub(/ /, "", id); gsub(/ /, "", severity)
    listed[id] = 1; group = substr(id, 1, 3)
    if (!(group in rows)) order[++groups] = group
    rows[group]++
    if (id in tested) done[group]++
    else if (id in excused) out[group]++
    else if (severity ~ /^[CHM]$/) { printf "%s (%s) has no test that passed; add one:%s\n", id, severity, cell[3]; missing++ }
    if (id in tested && id in excused) { printf "%s has a test, but is listed as not applicable; take it off that list\n", id; wrong++ }
  }
  END {
    for (id in tested) if (!(id in listed)) { printf "%s names a test, but is no row; correct the name of the test\n", id; wrong++ }
    for (id in excused) if (!(id in listed)) { printf "%s is listed as not applicable, but is no row; take it off that list\n", id; wrong++ }
    for (i = 1; i <= groups; i++) {
      g = order[i]
      printf "%s: %d of %d rows tested, %d not applicable\n", g, done[g], rows[g], out[g]
      all += rows[g]; proved += done[g]; left += out[g]
    }
    printf "conformance: %d of %d rows tested, %d not applicable, %d missing\n", proved, all, left, missing
    exit missing + wrong > 0
  }' "$log" tests/conformance/not-applicable.txt "$catalogue"
