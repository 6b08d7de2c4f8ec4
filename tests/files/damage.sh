#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Edge case 14, 15, 16 and 19: verify names each damage to the files of a log, no wrong byte is served,
# and repair keeps what was damaged. With ALL=yes in the environment every case is served and repaired,
# which takes a quarter of an hour; each byte and each length has its turn in unit.inspect, likewise.
# shellcheck source=tests/files/lib.sh
. "${0%/*}/lib.sh" "$@"

start --segment-bytes 16KiB
for log in a b; do
    for i in $(seq 24); do
        # Frames of one block and of several.
        head -c $((i * 397 % 9000 + 20)) /dev/urandom | base64 -w 0 >"$work/record"
        expect 200 -H 'Content-Type: application/octet-stream' --data-binary "@$work/record" \
            "$url/logs/$log"
    done
done
stop

all=()
[ "${ALL-}" != yes ] || all=(--all)
mkdir "$work/cases"
python "${0%/*}/damage.py" "$wald" "$data" "$work/cases" "${all[@]}" || die 'damage.py'
passed
