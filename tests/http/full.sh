#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# A full disk: appends are refused with 507 and change nothing, reads and deletions go on, and
# appends work again once there is room, without a restart.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

[ "$(id -u)" -eq 0 ] || skip 'mounting a small disk needs root'
truncate -s 80M "$work/image"
mkfs.ext4 -q "$work/image" 2>/dev/null || skip 'mkfs.ext4 does not work here'
mkdir "$work/disk"
mount -o loop "$work/image" "$work/disk" 2>/dev/null || skip 'loop devices do not work here'
trap 'umount -l "$work/disk"; cleanup' EXIT
# shellcheck disable=SC2034 # lib.sh uses it
data=$work/disk/data

start --space-floor 0KiB # which would be met before the disk is full: see floor.sh
expect 200 -d first "$url/logs/ballast"
head -c 1000000 /dev/urandom >"$work/piece"
for log in ballast kept; do
    count=0
    status=200
    while [ "$status" = 200 ] && [ "$count" -lt 90 ]; do
        [ "$log" = kept ] || [ "$count" -lt 8 ] || break
        request --data-binary "@$work/piece" "$url/logs/$log"
        count=$((count + 1))
    done
done
[ "$status" = 507 ] || die "a full disk: $status: $(cat "$work/body")"
expect_problem no-space
expect 200 "$url/logs/kept/offsets"
before=$(member committed_offset)
expect 200 "$url/logs/kept/records/0"
cmp -s "$work/piece" "$work/body" || die 'a record came back changed'
expect 204 -X DELETE "$url/logs/ballast"
expect 200 --data-binary "@$work/piece" "$url/logs/kept"
expect_member offset "$before"
stop
umount "$work/disk"
trap cleanup EXIT
passed
