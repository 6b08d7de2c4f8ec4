#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Logs are opened, made and deleted while the service goes on: many at a time share their syncs, what
# was answered survives a kill -9, and a log that takes for ever to open holds up nobody else.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

logs=500

# all STATUS PREFIX COUNT ARGUMENT...: one request for each log of PREFIX1 to COUNT, up to 64 at a
# time; each has to be answered so.
all()
{
    local wanted=$1 names=$2 count=$3
    shift 3
    curl -sS --max-time 120 -Z --parallel-max 64 -w '%{http_code}\n' "$@" \
        "$url/logs/${names}[1-$count]" -o /dev/null >"$work/statuses" 2>"$work/errors" ||
        die "curl: $(tail -n 3 "$work/errors")"
    [ "$(grep -c "^$wanted\$" "$work/statuses")" -eq "$count" ] ||
        die "wanted $count times $wanted: $(sort "$work/statuses" | uniq -c)"
}

# shared COUNTER: so many logs, and far fewer syncs of the directories.
shared()
{
    local syncs
    expect 200 "$url/stats"
    syncs=$(($(member name_syncs) - syncs_before))
    [ "$(member "$1")" -eq $logs ] || die "$1: $(member "$1")"
    [ "$syncs" -lt $((logs / 4)) ] || die "$syncs syncs for $logs logs"
    echo "$1: $logs with $syncs syncs of the directories"
    syncs_before=$(member name_syncs)
}

start
syncs_before=0
all 201 made- $logs -X PUT
shared logs_created
kill -KILL "$server_pid"
ended
start
expect 200 "$url/logs?prefix=made-&limit=10000"
[ "$(jq '.logs | length' "$work/body")" -eq $logs ] || die 'logs were lost'
all 200 made- $logs # each can be opened
expect 200 -X PUT "$url/logs/made-1"

# Appends that make their log: the record is there with it.
syncs_before=0
all 200 appended- $logs --data-binary hello
shared logs_created
kill -KILL "$server_pid"
ended
start
for i in 1 77 $logs; do
    expect 200 "$url/logs/appended-$i/records/0"
    expect_body hello
done

# What is deleted is opened first, two at a time, since it might have forks: that done, deletions share
# their syncs as well.
all 200 made- $logs
expect 200 "$url/stats"
syncs_before=$(member name_syncs)
all 204 made- $logs -X DELETE
shared logs_deleted
kill -KILL "$server_pid"
ended
start
expect 200 "$url/logs?prefix=made-"
[ "$(jq '.logs | length' "$work/body")" -eq 0 ] || die 'what was deleted is back'

# Many at a time want the same log, which is not there: one makes it, and all of them append to it.
curl -sS --max-time 60 -Z --parallel-max 64 -w '%{http_code}\n' -d x "$url/logs/same?ack=committed#[1-100]" \
    -o /dev/null >"$work/statuses" 2>"$work/errors" || die "curl: $(cat "$work/errors")"
[ "$(sort -u "$work/statuses")" = 200 ] || die "$(sort "$work/statuses" | uniq -c)"
expect 200 "$url/logs/same/offsets"
expect_member committed_offset 100

# Two logs that take for ever to open: in place of their segments there are pipes, which nobody
# writes to. Logs that are open go on, and others are made and deleted.
expect 200 -d first "$url/logs/open"
for i in 1 2; do
    expect 201 -X PUT "$url/logs/endless-$i"
done
kill -KILL "$server_pid"
ended
for i in 1 2; do
    segment=$(echo "$data/logs/endless-$i/"*.seg)
    mv "$segment" "$work/segment-$i"
    mkfifo "$segment"
done
start
expect 200 -d second "$url/logs/open"
for i in 1 2; do
    curl -sS --max-time 60 -o "$work/endless-$i" -w '%{http_code}' \
        "$url/logs/endless-$i/offsets" >"$work/status-$i" &
    waiting="${waiting-} $!"
done
until_stats requests_in_progress 3 # with the one that asks
for i in $(seq 20); do
    expect 200 -d more "$url/logs/open"
    expect 201 -X PUT "$url/logs/new-$i"
    expect 200 -d one "$url/logs/new-$i"
    expect 204 -X DELETE "$url/logs/new-$i"
done
expect 200 "$url/logs/open/offsets"
expect_member committed_offset 22
[ -z "$(cat "$work/status-1" "$work/status-2")" ] || die 'the endless logs were opened'
# What nobody could open is told as an error, and is no harm for ever.
for i in 1 2; do
    segment=$(echo "$data/logs/endless-$i/"*.seg)
    : >"$segment"
    rm "$segment"
done
# shellcheck disable=SC2086
wait $waiting
for i in 1 2; do
    [ "$(cat "$work/status-$i")" = 500 ] || die "endless-$i: $(cat "$work/status-$i" "$work/endless-$i")"
    mv "$work/segment-$i" "$data/logs/endless-$i/00000000000000000000.seg"
    expect 200 -d found "$url/logs/endless-$i"
done

# A stop waits for what is on its way: each is answered with the truth.
all 204 appended- $logs -X DELETE &
deleting=$!
for _ in $(seq 200); do
    expect 200 "$url/stats"
    [ "$(member logs_deleted)" -lt 30 ] || break
done
wait "$deleting" || die 'deleting in the background'
stop

# ---- more logs than there may be ----
start
expect 200 "$url/stats"
logs_now=$(member log_count)
stop
start --log-count-max $((logs_now + 1))
expect 200 -d x "$url/logs/last"
refused 507 too-many-logs -d x "$url/logs/one-more"
refused 507 too-many-logs -X PUT "$url/logs/one-more"
refused 507 too-many-logs -X PUT -H 'Content-Type: text/plain' "$url/v1/stream/one-more"
expect 404 "$url/logs/one-more"
expect 200 -d y "$url/logs/last"
expect 200 -X PUT "$url/logs/last"
expect 204 -X DELETE "$url/logs/last"
expect 200 -d x "$url/logs/one-more"
refused 507 too-many-logs -d x "$url/logs/last"
expect 200 "$url/stats"
expect_member log_count $((logs_now + 1))
stop
passed
