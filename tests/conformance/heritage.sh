#!/bin/sh
# Holds docs/heritage.md against the tree: no row is missing or doubled, every row says where and by
# which test, and each file and name that it gives is there.
#
#   heritage.sh [ROOT]        prints each fault, and fails if there is one
#   heritage.sh --self-test   plants a fault of each kind, and fails if one goes unseen
set -eu

# PREFIX COUNT of each kind of row; those of X have two digits.
kinds='C 7 K 3 T 6 B 7 F 6 W 11 H 8 G 4 U 7 X 38'

all_ids()
{
    # shellcheck disable=SC2086
    set -- $kinds
    while [ $# -gt 0 ]; do
        for number in $(seq "$2"); do
            if [ "$1" = X ]; then
                printf '%s%02d\n' "$1" "$number"
            else
                echo "$1$number"
            fi
        done
        shift 2
    done
}

# check ROOT
check()
{
    page="$1/docs/heritage.md"
    bad=0
    all_ids | sort >"$work/wanted"
    sed -n 's/^| \([A-Z][0-9][0-9]*\) |.*/\1/p' "$page" | sort >"$work/rows"
    diff "$work/wanted" "$work/rows" | sed -n 's/^< /missing row: /p; s/^> /row too many: /p' \
        >"$work/faults"

    # "ID CELL" for what a row says of where it is and of its test; then "ID FILE NAME" for each
    # `file: name` in them, and - without a name.
    awk -F' [|] ' '/^[|] [A-Z][0-9]+ [|]/ {
        id = substr($1, 3)
        sub(/ [|]$/, "", $4)
        if (NF != 4 || $2 == "" || $3 == "" || $4 == "") print "not four cells: " id
        else if ($4 !~ /`tests\// && $4 !~ /^none: ./) print "no test: " id
    }' "$page" >>"$work/faults"
    awk '{
        id = $2
        line = $0
        while (match(line, /`[^`]+`/)) {
            text = substr(line, RSTART + 1, RLENGTH - 2)
            line = substr(line, RSTART + RLENGTH)
            if (text !~ /^(wal|api|server|tests|docs|scripts)\//) continue
            count = split(text, part, ": ")
            print (id == "" ? "-" : id), part[1], (count > 1 ? part[2] : "-")
        }
    }' "$page" >"$work/references"
    while read -r id file name; do
        if [ ! -e "$1/$file" ]; then
            echo "no such file: $id: $file"
        elif [ "$name" != - ] && ! grep -qwF -- "$name" "$1/$file"; then
            echo "no such name: $id: $name in $file"
        fi
    done <"$work/references" >>"$work/faults"

    [ ! -s "$work/faults" ] || bad=1
    cat "$work/faults"
    return "$bad"
}

# plant FAULT SED: on a clean page, applies SED, and wants FAULT reported, alone.
plant()
{
    write_page | sed "$2" >"$work/tree/docs/heritage.md"
    status=0
    check "$work/tree" >"$work/report" 2>&1 || status=1
    if [ -z "$1" ]; then
        [ "$status" -eq 0 ] && [ ! -s "$work/report" ] && return
    else
        [ "$status" -ne 0 ] && grep -q "^$1" "$work/report" &&
            [ "$(wc -l <"$work/report")" -eq 1 ] && return
    fi
    echo "self-test: wanted \"$1\", status was $status, report was:"
    cat "$work/report"
    failed=1
}

write_page()
{
    # shellcheck disable=SC2016
    all_ids | while read -r id; do
        echo "| $id | it | \`wal/a.h: here\` | \`tests/a.c: there\`; \`tests/a.c\` |"
    done
}

self_test()
{
    failed=0
    mkdir -p "$work/tree/docs" "$work/tree/wal" "$work/tree/tests"
    echo 'int here;' >"$work/tree/wal/a.h"
    echo 'int there;' >"$work/tree/tests/a.c"
    plant '' ''
    plant 'missing row: C7' '/^| C7 /d'
    plant 'missing row: X01' '/^| X01 /d'
    plant 'row too many: W11' '/^| W11 /p'
    # shellcheck disable=SC2016
    plant 'row too many: U8' 's/^| U7 .*/&\n| U8 | it | here | `tests\/a.c` |/'
    plant 'not four cells: T3' '/^| T3 /s/ it / /'
    plant 'no test: K1' '/^| K1 /s/`tests.*/somehow |/'
    plant '' '/^| K1 /s/`tests.*/none: there is nothing |/'
    plant 'no such file: G4: tests/b.c' '/^| G4 /s/tests\/a.c: there/tests\/b.c: there/'
    plant 'no such file: G4: wal/b.h' '/^| G4 /s/wal\/a.h/wal\/b.h/'
    plant 'no such name: H2: her in wal/a.h' '/^| H2 /s/here/her/'
    return "$failed"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

case ${1-} in
--self-test) self_test && echo 'every planted fault was seen' ;;
-*) echo "usage: ${0##*/} [ROOT | --self-test]" >&2 && exit 2 ;;
*) check "${1:-"$(dirname "$0")/../.."}" && echo 'all 97 rows have their place and their test' ;;
esac
