#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Edge case 11: crashtest finds nothing on this disk, and finds mistakes that are planted.
# shellcheck source=tests/files/lib.sh
. "${0%/*}/lib.sh" "$@"

mistaken=$5
mkdir "$work/disk"

"$wald" crashtest "$work/disk" --cycles 8 --life-ms 200 --seed 7 --json >"$work/report" ||
    die "crashtest: $(cat "$work/report")"
jq -e '.kills == 8 and .acknowledged >= 8 and .recovered >= .acknowledged and .lost == 0 and
       .doubled == 0 and .reordered == 0 and .wrong == 0 and (.tests_power_loss | not)' \
    "$work/report" >/dev/null || die "$(cat "$work/report")"
[ -z "$(ls -A "$work/disk")" ] || die 'files were left behind'
"$wald" crashtest "$work/disk" --cycles 1 >"$work/plain"
grep -q 'does not test power loss' "$work/plain" || die "$(cat "$work/plain")"

# finds MISTAKE: a log that makes it is caught, and its files are left to look at.
finds()
{
    local status=0
    WALD_PLANTED_DEFECT=$1 "$mistaken" crashtest "$work/disk" --cycles 30 --life-ms 200 --seed 7 \
        --json >"$work/report" 2>"$work/errors" || status=$?
    [ "$status" -eq 1 ] || die "$1 was not found: $status $(cat "$work/report" "$work/errors")"
    jq -e '.lost + .doubled + .reordered + .wrong > 0' "$work/report" >/dev/null || die "$1"
    [ -n "$(ls -A "$work/disk")" ] || die "$1: no files were left"
    rm -rf "${work:?}/disk"/*
}
finds FORGET_LAST_FRAME
status=0
WALD_PLANTED_DEFECT='' "$mistaken" crashtest "$work/disk" --cycles 3 --seed 7 >/dev/null || status=$?
[ "$status" -eq 0 ] || die 'something was found where nothing is'

complains 64 'wants to know where' crashtest
complains 64 'must be above 0' crashtest --cycles 0 "$work/disk"
complains 64 'takes a number' crashtest --cycles x "$work/disk"
complains 64 'life-ms from 1' crashtest --life-ms 0 "$work/disk"
complains 74 'No such file' crashtest "$work/none/at/all"
passed
