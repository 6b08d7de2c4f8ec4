#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Edge case 14, 15, 16 and 19: verify names each damage to the files of a log, no wrong byte is served,
# and repair keeps what was damaged. With ALL=yes in the environment every case is served and repaired,
# which takes a quarter of an hour; each byte and each length has its turn in unit.inspect, likewise.
# shellcheck source=tests/files/lib.sh
. "${0%/*}/lib.sh" "$@"

# fill: two logs of the same shape.
fill()
{
    for log in a b; do
        for i in $(seq "$1"); do
            # Frames of one block and of several.
            head -c $((i * 397 % 9000 + 20)) /dev/urandom | base64 -w 0 >"$work/record"
            expect 200 -H 'Content-Type: application/octet-stream' \
                --data-binary "@$work/record" "$url/logs/$log"
        done
    done
}

# hurt ARGUMENT...: each case.
hurt()
{
    rm -rf "$work/cases"
    mkdir "$work/cases"
    python "${0%/*}/damage.py" "$wald" "$data" "$work/cases" "$@" || die 'damage.py'
}

all=()
[ "${ALL-}" != yes ] || all=(--all)
start --segment-bytes 16KiB
fill 24
stop
hurt "${all[@]}"

# The same to files that are packed and compressed, as far as they have not been hurt already.
rm -rf "$data"
start --segment-bytes 64KiB --pack-compression zstd
fill 48
until_stats packed_segments $(($(find "$data/logs" -name '*.seg' | wc -l) - 2)) # but for the last ones
stop
ends 0 dump --headers "$data/logs/a"
grep -q 'packed, compressed' "$work/out" || die "nothing is compressed: $(cat "$work/out")"
hurt "${all[@]}"
passed
