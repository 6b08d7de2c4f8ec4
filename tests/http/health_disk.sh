#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Readiness on a disk that is too full, and on one that takes a write and never ends it: both are
# told, and forgotten once the disk works again, and meanwhile the service goes on.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

[ "$(id -u)" -eq 0 ] || skip 'mounting a small disk needs root'
command -v fsfreeze >/dev/null || skip 'there is no fsfreeze'

# outwait: until what was known of the disk is too old to be told again without a new write.
outwait()
{
    sleep 2.2
}

truncate -s 60M "$work/image"
mkfs.ext4 -q "$work/image" 2>/dev/null || skip 'mkfs.ext4 does not work here'
mkdir "$work/disk"
mount -o loop "$work/image" "$work/disk" 2>/dev/null || skip 'loop devices do not work here'
frozen=no
release()
{
    [ "$frozen" = no ] || fsfreeze -u "$work/disk" || true
    umount -l "$work/disk"
    cleanup
}
trap release EXIT
# shellcheck disable=SC2034 # lib.sh uses it
data=$work/disk/data
start --space-floor 1GiB
refused 507 space-floor -d hello "$url/logs/orders"
expect 503 "$url/readyz?verbose"
expect_problem not-ready
expect_check space '^failed: [0-9]* bytes are free'
expect_check disk '^ok'
stop
start --space-floor 0KiB
expect 200 -d hello "$url/logs/orders"

# A frozen disk takes writes and does not end them. The service goes on, and who asks later is told
# without waiting.
for _ in $(seq 100); do # until the mark behind that record is written
    expect 200 "$url/stats"
    [ "$(jq .syncs "$work/body")" != 2 ] || break
    sleep 0.1
done
fsfreeze -f "$work/disk" 2>/dev/null || skip 'this file system cannot be frozen'
frozen=yes
outwait
curl -sS --max-time 120 -o "$work/late" -w '%{http_code}' "$url/readyz?verbose" >"$work/code" &
asker=$!
for _ in $(seq 100); do
    expect 200 "$url/livez"
    expect 200 "$url/logs/orders/records/0"
    expect 200 "$url/stats"
    [ "$(jq -r .disk.probe_seconds "$work/body")" = null ] ||
        jq -e '.disk.probe_seconds < 3.2' "$work/body" >/dev/null || break
    sleep 0.1
done
expect 503 "$url/readyz?verbose"
expect_check disk '^failed: .* has not come back'
[ ! -s "$work/code" ] || die "the first to ask has an answer: $(cat "$work/late")"
fsfreeze -u "$work/disk"
frozen=no
wait "$asker" || die "curl: exit status $?"
grep -q '"name":"disk","status":"ok"' "$work/late" || die "after the thaw: $(cat "$work/late")"
expect 200 "$url/readyz?verbose"
expect_check disk '^ok'
stop
passed
