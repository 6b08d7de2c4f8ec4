#!/bin/sh
# Holds the tests against docs/edge-cases.md: each case of its list is named by a test.
#
#   edge_cases.sh [ROOT]         fails if a case has no test, or a test names a case that there is not
#   edge_cases.sh --list [ROOT]  prints the tests of each case
#   edge_cases.sh --self-test    takes tests away, and fails if one is not missed
#
# A test names a case in the comment above it: "Edge case 13:", "Edge case 4 and 5". In tests/unit the
# name counts for the next test of the file, elsewhere for the file.
set -eu

# Prints "NUMBER FILE TEST" for each case that a test in $1 names.
named()
{
    cd "$1"
    find tests -name '*.c' -o -name '*.sh' -type f | LC_ALL=C sort |
        grep -v '^tests/conformance/' | while read -r file; do
        awk -v file="$file" '
            function give(name) {
                for (i = 1; i <= waiting; i++) print number[i], file, name
                waiting = 0
            }
            {
                line = tolower($0)
                while (match(line, /edge cases? [0-9]+(( and |, )[0-9]+)*/)) {
                    text = substr(line, RSTART, RLENGTH)
                    line = substr(line, RSTART + RLENGTH)
                    while (match(text, /[0-9]+/)) {
                        number[++waiting] = substr(text, RSTART, RLENGTH)
                        text = substr(text, RSTART + RLENGTH)
                    }
                }
            }
            file !~ /^tests\/unit\// { give("-") }
            /^static void [a-z0-9_]+\(void \*\*state\)/ {
                split($3, part, "(")
                give(part[1])
            }' "$file"
    done
}

# The numbers of the list.
cases()
{
    sed -n 's/^\([0-9][0-9]*\)\. .*/\1/p' "$1/docs/edge-cases.md"
}

check()
{
    named "$1" >"$work/named"
    bad=0
    for number in $(cases "$1"); do
        grep -q "^$number " "$work/named" || {
            echo "edge case $number: no test names it"
            bad=1
        }
    done
    cut -d' ' -f1 "$work/named" | sort -nu | while read -r number; do
        cases "$1" | grep -qx "$number" || echo "edge case $number: there is no such case"
    done >"$work/unknown"
    cat "$work/unknown"
    [ ! -s "$work/unknown" ] || bad=1
    [ "$(cases "$1" | wc -l)" -eq 32 ] || {
        echo 'docs/edge-cases.md: the list has 32 cases'
        bad=1
    }
    return "$bad"
}

# expect STATUS TEXT: checks the planted tree.
expect()
{
    status=0
    check "$work/tree" >"$work/report" 2>&1 || status=1
    echo >>"$work/report" # an empty TEXT is found in an empty report, too
    if [ "$status" -ne "$1" ] || ! grep -q "$2" "$work/report"; then
        echo "self-test: wanted status $1 and \"$2\", got $status and:"
        cat "$work/report"
        failed=1
    fi
}

self_test()
{
    failed=0
    mkdir -p "$work/tree/docs" "$work/tree/tests/unit" "$work/tree/tests/http"
    test_file="$work/tree/tests/unit/test_a.c"
    : >"$work/tree/docs/edge-cases.md"
    : >"$test_file"
    number=1
    while [ "$number" -le 32 ]; do
        echo "$number. A case." >>"$work/tree/docs/edge-cases.md"
        [ "$number" -ge 30 ] ||
            printf '/* Edge case %s: why. */\nstatic void t%s(void **state)\n' "$number" "$number" \
                >>"$test_file"
        number=$((number + 1))
    done
    printf '/* More. Edge cases 30 and\n * so on, edge case 31. */\nstatic void t(void **state)\n' \
        >>"$test_file"
    echo '# Edge case 32: over HTTP.' >"$work/tree/tests/http/a.sh"
    expect 0 ''
    sed -i 's/Edge case 7:/Case 7:/' "$test_file"
    expect 1 'edge case 7: no test'
    sed -i 's/Case 7:/Edge case 7, 33:/' "$test_file"
    expect 1 'edge case 33: there is no such'
    sed -i 's/, 33:/:/' "$test_file"
    echo '/* Edge case 8: above no test. */' >>"$test_file"
    sed -i 's/Edge case 8: why/why/' "$test_file"
    expect 1 'edge case 8: no test'
    rm "$work/tree/tests/http/a.sh"
    expect 1 'edge case 32: no test'
    return "$failed"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$(dirname "$0")/../..

case ${1-} in
--self-test) self_test && echo 'every test that was taken away was missed' ;;
--list) named "${2:-"$root"}" | sort -n | uniq ;;
-*) echo "usage: ${0##*/} [ROOT | --list [ROOT] | --self-test]" >&2 && exit 2 ;;
*) check "${1:-"$root"}" && echo 'each of the 32 edge cases has a test' ;;
esac
