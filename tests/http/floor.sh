#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Below the floor nothing new is taken, before the disk is full: appends and new logs get 507, at both
# doors. What was acknowledged stays and is read, trims, deletions and changes of settings go on, and
# as soon as there is space appends do, too.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

[ "$(id -u)" -eq 0 ] || skip 'mounting a small disk needs root'
truncate -s 80M "$work/image"
mkfs.ext4 -q -m 0 "$work/image" 2>/dev/null || skip 'mkfs.ext4 does not work here'
mkdir "$work/disk"
mount -o loop "$work/image" "$work/disk" 2>/dev/null || skip 'loop devices do not work here'
trap 'umount -l "$work/disk"; cleanup' EXIT
# shellcheck disable=SC2034 # lib.sh uses it
data=$work/disk/data

# free_up_to BYTES: somebody else's file takes what is free but for so much.
free_up_to()
{
    rm -f "$work/disk/ballast"
    sync -f "$work/disk"
    local free
    free=$(($(stat -f -c '%a * %S' "$work/disk")))
    fallocate -l $((free - $1)) "$work/disk/ballast"
}

# until_answer STATUS ARGUMENT...: sooner or later.
until_answer()
{
    local wanted=$1 status
    shift
    for _ in $(seq 100); do
        request "$@"
        [ "$status" != "$wanted" ] || return 0
        sleep 0.05
    done
    die "curl ${*: -1}: wanted $wanted, got $status: $(cat "$work/body")"
}

start --space-floor 20%
expect 200 "$url/readyz?verbose"
expect_check space '^ok'
expect 200 -d first -H 'Idempotency-Key: "first"' "$url/logs/kept"
expect 201 -X PUT -H 'Content-Type: text/plain' -d stream "$url/v1/stream/streamed"
expect 201 -X PUT -d '{"retention":{"records":100}}' "$url/logs/told"

# Filled from within: it stops at the floor, and never comes to where the disk itself refuses.
head -c 1000000 /dev/urandom >"$work/piece"
fillers=''
for filler in 1 2 3 4; do
    for _ in $(seq 25); do
        printf 'url = "%s/logs/kept"\ndata-binary = "@%s"\noutput = /dev/null\n' "$url" "$work/piece"
        printf 'write-out = "%%{http_code}\\n"\nnext\n'
    done >"$work/filler.$filler"
    (curl -s --max-time 60 -K "$work/filler.$filler" >"$work/statuses.$filler" 2>/dev/null || true) &
    fillers="$fillers $!"
done
# shellcheck disable=SC2086
wait $fillers
cat "$work"/statuses.* >"$work/statuses"
! grep -qvx '200\|507' "$work/statuses" || die "other answers: $(sort "$work/statuses" | uniq -c)"
count=$((1 + $(grep -cx 200 "$work/statuses")))
[ "$count" -ge 30 ] || die "only $count pieces had room"
refused 507 space-floor --data-binary "@$work/piece" "$url/logs/kept"
expect_header Retry-After ''
expect 200 "$url/stats"
jq -e '.refusals_space == 0 and .refusals."space-floor" >= 1 and .free_bytes > 12000000 and
    .floor_bytes > 12000000 and .floor_bytes < 20000000' "$work/body" >/dev/null ||
    die "stats: $(cat "$work/body")"

# Whatever takes space is refused, and changes nothing …
free_up_to 6000000
sleep 0.2 # it may be looked at again by then
refused 507 space-floor -d x "$url/logs/kept"
refused 507 space-floor -d x "$url/logs/kept?ack=none"
refused 507 space-floor -d x "$url/logs/new"
refused 507 space-floor -X PUT "$url/logs/new"
refused 507 space-floor -X PUT "$url/v1/stream/new"
refused 507 space-floor -X PUT -H 'Stream-Forked-From: /v1/stream/streamed' "$url/v1/stream/fork"
refused 507 space-floor -H 'Content-Type: text/plain' -d x "$url/v1/stream/streamed"
expect 404 "$url/logs/new"
expect 404 "$url/v1/stream/fork"
expect 503 "$url/readyz?verbose"
expect_check space '^failed: [0-9]* bytes are free, and [0-9]* are to stay free'
expect 200 "$url/livez"
grep -q 'event=space_below_floor' "$work/log" || die 'nobody was told'
# … and the rest goes on.
expect 200 "$url/logs/kept/records/1"
cmp -s "$work/piece" "$work/body" || die 'a record came back changed'
expect 200 -d first -H 'Idempotency-Key: "first"' "$url/logs/kept"
expect_header Idempotency-Replayed true
expect 200 -X PUT -d '{"retention":{"records":100}}' "$url/logs/told"
expect 200 -X PATCH -d '{"retention":{"records":1}}' "$url/logs/told"
expect 200 -X POST "$url/logs/kept/trim?before=2"
expect 204 -X POST -H 'Stream-Closed: true' "$url/v1/stream/streamed"
expect 204 -X DELETE "$url/logs/told"
expect 200 "$url/metrics"
grep -q '^wald_http_refusals_total{type="space-floor"} [1-9]' "$work/body" || die 'metrics'
floor=$(sed -n 's/^wald_disk_floor_bytes //p' "$work/body")
[ "$(sed -n 's/^wald_disk_free_bytes //p' "$work/body")" -lt "$floor" ] || die 'metrics: free'

# A crash below the floor: everything acknowledged is there, and a log that is there is not made again.
kill -KILL "$server_pid"
ended
start --space-floor 20%
expect 200 -X PUT "$url/logs/kept"
expect 200 "$url/logs/kept/offsets"
expect_member first_offset 2
expect_member committed_offset "$count"
refused 507 space-floor -d x "$url/logs/kept"

# There is space again: without a restart.
rm "$work/disk/ballast"
expect 204 -X DELETE "$url/v1/stream/streamed"
expect 200 -X POST "$url/logs/kept/trim?before=$count"
expect 204 -X DELETE "$url/logs/kept"
until_answer 200 -d x "$url/logs/new"
expect 200 "$url/readyz?verbose"
expect_check space '^ok'
for _ in $(seq 100); do
    ! grep -q 'event=space_above_floor' "$work/log" || break
    sleep 0.05
done
grep -q 'event=space_above_floor' "$work/log" || die 'nobody was told that there is space'
stop

# Packing leaves alone what is to stay free, and as much again as it takes: a full file of 4 MiB.
small=(--space-floor 20% --segment-bytes 4MiB)
start "${small[@]}" --pack off
expect 200 "$url/stats"
floor=$(jq .floor_bytes "$work/body")
for _ in $(seq 1100); do
    printf 'url = "%s/logs/small"\ndata = "small"\noutput = /dev/null\nnext\n' "$url"
done >"$work/filler"
curl -s --max-time 60 -K "$work/filler" || true
stop

# packs FREE CONDITION: with so much above the floor that is what becomes of it.
packs()
{
    free_up_to $((floor + $1))
    start "${small[@]}" --pack on
    expect 200 "$url/logs/small"
    [ "$(jq .segments "$work/body")" -ge 2 ] || die "no full file: $(cat "$work/body")"
    for _ in $(seq 200); do
        expect 200 "$url/stats"
        [ "$(jq '.packed_segments + .pack_failures' "$work/body")" = 0 ] || break
        sleep 0.05
    done
    jq -e "$2" "$work/body" >/dev/null || die "not $2: $(cat "$work/body")"
    stop
}
packs 6000000 '.packed_segments == 0'
packs 12000000 '.packed_segments == 1'
umount "$work/disk"
trap cleanup EXIT
passed
