# shellcheck shell=bash
# What the tests of the commands on files share, beside what tests/http has.
# shellcheck source=tests/http/lib.sh
. "${BASH_SOURCE[0]%/*}/../http/lib.sh" "$@"

# Exchanges are incidental here, and nobody's to hold against openapi.yaml.
passed()
{
    failed=no
    echo 'passed'
}

# ends STATUS ARGUMENT...: the program ends so; what it says is in $work/out and $work/errors.
ends()
{
    local wanted=$1 status=0
    shift
    "$wald" "$@" >"$work/out" 2>"$work/errors" || status=$?
    [ "$status" -eq "$wanted" ] ||
        die "wald $*: wanted exit status $wanted, got $status: $(cat "$work/out" "$work/errors")"
}

# complains STATUS TEXT ARGUMENT...: the same, with one line of complaint that has this text.
complains()
{
    local text=$2
    ends "$1" "${@:3}"
    if [ "$(wc -l <"$work/errors")" -ne 1 ] || ! grep -q -e "$text" "$work/errors"; then
        die "wald ${*:3}: wanted a line with \"$text\": $(cat "$work/errors")"
    fi
}
