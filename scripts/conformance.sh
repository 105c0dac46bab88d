#!/usr/bin/env bash
# conformance.sh LOG [OTHER_CATALOGUE]
#
# Fails if a row of docs/conformance.md has no test that passed. LOG is the output of `cargo test`. A
# test proves a row if its name starts with the id of the row: `aut_01_...` for AUT-01. Rows of low
# severity need no test. Rows that do not apply yet are listed with their reason in
# tests/conformance/not-applicable.txt, and must have no test. Where the third-party vectors are
# absent, a row whose tests all read them counts as ignored.
#
# The column `tested in` must name the files with tests of the row, or begin with `none` if the row
# does not apply. With OTHER_CATALOGUE, ids and severities of both catalogues must be the same.
set -euo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  echo 'usage: conformance.sh LOG [OTHER_CATALOGUE]' >&2
  exit 2
fi
log=$(realpath "$1")
other=${2:+$(realpath "$2")}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
catalogue=docs/conformance.md
excused=tests/conformance/not-applicable.txt
for file in "$log" "$excused" "$catalogue" ${other:+"$other"}; do
  if [ ! -f "$file" ]; then
    echo "conformance.sh: the file $file is missing; name the output of \`cargo test\` first" >&2
    exit 1
  fi
done

# Tests by their files: `tests/conformance/authorization.rs:fn aut_01_`.
tests_by_file() {
  grep -roE --include='*.rs' 'fn [a-z]{3}_[0-9]{2}_' tests src | LC_ALL=C sort -u
}

awk -v compare="${other:+1}" '
  # The log.
  part == 1 && match($0, /test [^ ]*[a-z][a-z][a-z]_[0-9][0-9]_[^ ]* \.\.\. ok/) {
    name = $2; sub(/.*::/, "", name)
    tested[toupper(substr(name, 1, 3)) "-" substr(name, 5, 2)]++
  }
  part == 1 && match($0, /test [^ ]*[a-z][a-z][a-z]_[0-9][0-9]_[^ ]* \.\.\. ignored, reads third-party vectors/) {
    name = $2; sub(/.*::/, "", name)
    ignored[toupper(substr(name, 1, 3)) "-" substr(name, 5, 2)]++
  }

  # The rows that do not apply.
  part == 2 && /^[A-Z][A-Z][A-Z]-[0-9]/ { excused[$1] = 1 }

  # The tests by their files.
  part == 3 {
    split($0, found, ":")
    sub(/^tests\/conformance\//, "", found[1]); sub(/\.rs$/, "", found[1])
    id = toupper(substr(found[2], 4, 3)) "-" substr(found[2], 8, 2)
    files[id] = files[id] == "" ? found[1] : files[id] ", " found[1]
  }

  # The catalogues. The heading of each table names its columns.
  part >= 4 && /^\| id \|/ {
    delete column
    columns = split($0, heading, /\|/)
    for (i = 1; i <= columns; i++) { gsub(/^ +| +$/, "", heading[i]); column[heading[i]] = i }
  }
  part >= 4 && /^\| [A-Z][A-Z][A-Z]-[0-9]+ \|/ {
    gsub(/\\\|/, ""); split($0, cell, /\|/)
    for (i in cell) gsub(/^ +| +$/, "", cell[i])
    id = cell[2]; severity = column["sev"] ? cell[column["sev"]] : ""
    if (severity !~ /^[CHML]$/) { printf "no severity: %s, line %d\n", id, FNR; wrong++ }
  }
  part == 4 && /^\| [A-Z][A-Z][A-Z]-[0-9]+ \|/ {
    if (id in listed) { printf "listed twice: %s\n", id; wrong++ }
    listed[id] = severity; group = substr(id, 1, 3)
    if (!(group in rows)) order[++groups] = group
    rows[group]++
    if (id in tested) done[group]++
    else if (id in excused) out[group]++
    else if (id in ignored) absent++
    else if (severity != "L") {
      printf "%s (%s) has no test that passed; add one: %s\n", id, severity, cell[3]; missing++
    }
    if (id in tested && id in excused) {
      printf "%s has a test, but is listed as not applicable; take it off that list\n", id; wrong++
    }
    named = cell[column["tested in"]]
    if (id in excused) {
      if (named !~ /^none: ./) { printf "`tested in` of %s has no reason; write `none: ...`\n", id; wrong++ }
    } else if (named != files[id]) {
      printf "`tested in` of %s should be: %s\n", id, files[id]; wrong++
    }
  }
  part == 5 && /^\| [A-Z][A-Z][A-Z]-[0-9]+ \|/ {
    others[id] = 1
    if (!(id in listed)) { printf "only in the other catalogue: %s\n", id; wrong++ }
    else if (listed[id] != severity) {
      printf "severity of %s: %s here, %s in the other catalogue\n", id, listed[id], severity; wrong++
    }
  }

  END {
    if (!groups) { print "the catalogue has no rows"; wrong++ }
    for (id in tested) if (!(id in listed)) {
      printf "%s names a test, but is no row; correct the name of the test\n", id; wrong++
    }
    for (id in excused) if (!(id in listed)) {
      printf "%s is listed as not applicable, but is no row; take it off that list\n", id; wrong++
    }
    if (compare) for (id in listed) if (!(id in others)) {
      printf "not in the other catalogue: %s\n", id; wrong++
    }
    for (i = 1; i <= groups; i++) {
      g = order[i]
      printf "%s: %d of %d rows tested, %d not applicable\n", g, done[g], rows[g], out[g]
      all += rows[g]; proved += done[g]; left += out[g]
    }
    printf "conformance: %d of %d rows tested, %d not applicable, ", proved, all, left
    if (absent) printf "%d ignored without the vectors, ", absent
    printf "%d missing, %d wrong\n", missing, wrong
    exit missing + wrong > 0
  }' part=1 "$log" part=2 "$excused" part=3 <(tests_by_file) part=4 "$catalogue" \
  ${other:+part=5 "$other"}
