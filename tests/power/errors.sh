#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# A disk that fails under the service: a write, a flush, no space, at an append, at the beginning of a new
# file of a log, and while a log is made. It says so and claims nothing, the log takes no more, other
# logs go on, and when the disk works again all that was acknowledged is there.
#
#     errors.sh WALD BACKEND FOLDER HELPER DISK FAULT MOMENT
#
# DISK is power_disk, FAULT what the disk is told (w, f or s), MOMENT append, rotate or create.
set -euo pipefail
disk_program=$5 fault=$6 moment=$7
if [ -z "${POWER_DISK-}" ]; then
    folder=$(mktemp -d "$3/errors.XXXXXX")
    status=0
    "$disk_program" "$folder" "$0" "$@" || status=$?
    rm -rf "$folder"
    exit "$status"
fi

# shellcheck source=tests/http/lib.sh
. "${0%/*}/../http/lib.sh" "$@"
data=$POWER_DISK/data
acknowledged=$work/acknowledged
: >"$acknowledged"

# tell STATE: what the disk does from now on.
tell()
{
    printf %s "$1" >&"$POWER_CONTROL"
}

# append LOG TEXT: sets status; what is acknowledged is noted.
append()
{
    request -d "$2" "$url/logs/$1"
    if [ "$status" = 200 ]; then
        echo "$1 $(member offset) $2" >>"$acknowledged"
    fi
}

# all_there: each record that was acknowledged, where and as it was.
all_there()
{
    local log offset text
    while read -r log offset text; do
        expect 200 "$url/logs/$log/records/$offset"
        [ "$(cat "$work/body")" = "$text" ] || die "$log/$offset: $text is $(cat "$work/body")"
    done <"$acknowledged"
}

# refuses: the last answer is a problem, and says that it is ours.
refuses()
{
    case $status in
    500 | 503 | 507) expect_header Content-Type application/problem+json ;;
    *) die "$fault at $moment: $status: $(cat "$work/body")" ;;
    esac
}

start --segment-bytes 16KiB --space-floor 0
append hurt before
append other before
sleep 0.5 # marks, so that nothing but what follows meets the disk

tell "$fault"
case $moment in
append)
    if [ "$fault" = s ]; then
        # Space is made before anything is written: so it is known that nothing was.
        refused 507 no-space -d 'no room' "$url/logs/hurt"
        refused 507 no-space -d 'no room' "$url/logs/hurt"
    else
        # Nobody can tell whether it is there, and no more is taken.
        refused 500 outcome-unknown -d lost "$url/logs/hurt"
        expect_member outcome unknown
        refused 503 log-failed -d later "$url/logs/hurt"
        [ -n "$(header Retry-After)" ] || die '503 without Retry-After'
    fi
    ;;
rotate)
    # Of 16 KiB two blocks are left.
    for i in 1 2 3 4 5; do
        append hurt "number $i"
        [ "$status" = 200 ] || break
    done
    refuses
    ;;
create)
    append new 'the first'
    refuses
    ;;
esac
expect 200 "$url/logs/hurt/records/0"
expect_body before
tell o

append other after
if [ "$moment" = append ]; then
    [ "$status" = 200 ] || die "the other log: $status: $(cat "$work/body")"
    expect 200 "$url/readyz?verbose"
    if [ "$fault" = s ]; then
        expect_check logs ' 0 failed'
        append hurt 'there is room again'
        [ "$status" = 200 ] || die "it has not recovered: $status: $(cat "$work/body")"
    else
        expect_check logs ' 1 failed'
    fi
elif [ "$status" != 200 ]; then
    refuses # the file system has given up, too
fi
expect 200 "$url/logs/hurt/records/0"
expect_body before
kill -KILL "$server_pid"
ended 2>/dev/null

# The disk works again, and the machine has been started anew.
for _ in $(seq 500); do
    ! umount "$POWER_DISK" 2>/dev/null || break
    sleep 0.02
done
mount -o loop,noatime "$POWER_DEVICE" "$POWER_DISK" || die 'the file system is gone'
start --segment-bytes 16KiB --space-floor 0
all_there
for log in hurt other new; do
    append "$log" 'it goes on'
    [ "$status" = 200 ] || die "$log: $status: $(cat "$work/body")"
done
all_there
"$wald" verify --live --quiet "$data" || die "verify: $?"
stop
echo "$fault at $moment: $(wc -l <"$acknowledged") acknowledged, none lost"
passed
