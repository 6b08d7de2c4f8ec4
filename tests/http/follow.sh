#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Clients who follow a log: each record comes once, in order and when it is durable, whatever happens
# to the client, to the log or to the service; and what cannot come is told.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

events=(-N -H 'Accept: text/event-stream')

scenario()
{
    python "${0%/*}/follow.py" "$port" "$@" || die "$*"
}

# ids: those of the events of the last answer, with spaces between them.
ids()
{
    sed -n 's/^id: //p' "$work/body" | paste -s -d ' '
}

expect_ids()
{
    [ "$(ids)" = "$1" ] || die "wanted the ids $1: $(cat "$work/body")"
}

# expect_event TEXT: is the last of the last answer.
expect_event()
{
    [ "$(tail -n 3 "$work/body")" = "$(printf '%b\n' "$1")" ] ||
        die "wanted $1 in the end: $(cat "$work/body")"
}

# later NAME ARGUMENT...: a stream in the background; it goes to $work/NAME.
later()
{
    local name=$1
    shift
    curl -sS --max-time 60 "${events[@]}" -o "$work/$name" "$@" &
    clients="${clients-} $!"
}

all_ended()
{
    # shellcheck disable=SC2086
    for client in $clients; do
        wait "$client" || die 'a stream was cut off'
    done
    clients=''
}

# Whoever is not woken by a commit looks at the log with its next heartbeat: here that is too late.
start --heartbeat 1h --followers-max 1000 --answer-timeout 5m
for record in zero one two; do
    expect 200 -d "$record" "$url/logs/tail"
    sleep 0.01
done
tail=$url/logs/tail/records

# Where it begins, where it ends, and in which form.
expect 200 "${events[@]}" "$tail?limit=3"
expect_ids '0 1 2'
expect_header Content-Type text/event-stream
expect_header Cache-Control no-cache
expect_header Connection close
[ "$(head -n 1 "$work/body")" = 'retry: 1000' ] || die "the hint: $(cat "$work/body")"
expect_event 'event: end\ndata: {"reason":"limit"}\n'
sed -n '/^id: 1$/{n;s/^data: //p;}' "$work/body" >"$work/event"
expect 200 "$tail?offset=1&limit=1"
cmp -s "$work/event" "$work/body" || die "not as NDJSON has it: $(cat "$work/event")"
at=$(member timestamp)
expect 200 "${events[@]}" "$tail?at=$at&limit=2"
expect_ids '1 2'
expect 200 "${events[@]}" "$tail?offset=-1&limit=1&encoding=base64"
expect_ids 2
grep -q '"data_base64":"dHdv"' "$work/body" || die "base64: $(cat "$work/body")"
expect 200 "${events[@]}" -H 'Last-Event-ID: 0' "$tail?limit=1&offset=2"
expect_ids 1
expect 200 "${events[@]}" -H 'Last-Event-ID: 0' "$tail?limit=1&at=$at"
expect_ids 1
expect 200 "${events[@]}" -0 "$tail?limit=1"
expect_ids 0
[ -z "$(header Transfer-Encoding)" ] || die 'HTTP/1.0 knows no chunks'
expect 200 -I "${events[@]}" "$tail"
expect_header Content-Type text/event-stream
[ -z "$(header Content-Length)" ] || die 'a length of what has none'

# What is refused.
refused 404 log-not-found "${events[@]}" "$url/logs/none/records"
for id in x -1 1.5 18446744073709551615 99999999999999999999; do
    refused 400 bad-header "${events[@]}" -H "Last-Event-ID: $id" "$tail"
done
for query in wait=1s max_bytes=5 limit=0 limit=10001 offset=x 'offset=1&at=2026-01-01T00:00:00Z'; do
    refused 400 bad-parameter "${events[@]}" "$tail?$query"
done
expect 200 -H 'Last-Event-ID: 0' "$tail?limit=1" # it means nothing to a page
expect_member offset 0
expect 200 -X POST "$url/logs/tail/trim?before=1"
refused 410 trimmed "${events[@]}" "$tail?offset=0"
expect_member first_offset 1
expect 200 "${events[@]}" "$tail?limit=1"
expect_ids 1

# What comes later comes by itself, and only what was asked for.
expect 200 -d other "$url/logs/other"
later live "$tail?offset=latest&limit=2"
later far "$tail?offset=4&limit=1"
later elsewhere "$url/logs/other/records?offset=1&limit=1"
until_stats followers 3
expect 200 -d three "$url/logs/tail"
until_stats followers 3
expect 200 -d four "$url/logs/tail"
until_stats followers 1
expect 202 -d 'not waited for' "$url/logs/other?ack=none"
all_ended
[ "$(sed -n 's/^id: //p' "$work/live" | paste -s)" = $'3\t4' ] || die "live: $(cat "$work/live")"
grep -q '"data":"four"' "$work/far" || die "from further on: $(cat "$work/far")"
grep -q '"data":"not waited for"' "$work/elsewhere" || die "of the other: $(cat "$work/elsewhere")"

# The end of the log is the end of its streams, and of no others.
later gone "$url/logs/other/records"
later stays "$tail?offset=latest&limit=1"
until_stats followers 2
expect 204 -X DELETE "$url/logs/other"
until_stats followers 1
expect 200 -d five "$url/logs/tail"
all_ended
tail -n 2 "$work/gone" | head -n 1 | grep -q '^data: {"reason":"deleted"}$' ||
    die "deleted: $(cat "$work/gone")"

# Other kinds of clients.
for name in behind half slow trimmed; do
    scenario "$name"
done
scenario crowd 1000
expect 200 "$url/metrics"
grep -q '^wald_followers 0$' "$work/body" || die 'there are followers left'

# The end of the service.
later stopped "$tail"
until_stats followers 1
stop
all_ended
tail -n 2 "$work/stopped" | head -n 1 | grep -q '^data: {"reason":"shutdown"}$' ||
    die "stopped: $(cat "$work/stopped")"

# As many as are allowed, which take no places of others; and silence is filled.
start --heartbeat 100ms --followers-max 2 --connections-max 2 --shutdown-timeout 1s
later first "$url/logs/tail/records"
later second "$url/logs/tail/records"
until_stats followers 2
refused 503 too-many-followers "${events[@]}" "$url/logs/tail/records"
expect_member followers_max 2
[ -n "$(header Retry-After)" ] || die 'no Retry-After'
expect 200 "$url/logs/tail/records?limit=1"
for _ in $(seq 100); do
    [ "$(grep -c '^:$' "$work/first")" -lt 2 ] || break
    sleep 0.1
done
[ "$(grep -c '^:$' "$work/first")" -ge 2 ] || die "no heartbeat: $(cat "$work/first")"
# shellcheck disable=SC2086
kill $clients
until_stats followers 0
expect 200 "${events[@]}" "$url/logs/tail/records?limit=1"
stop

# Who takes nothing of what it is sent.
start --answer-timeout 500ms
scenario unread
stop

# A record that is damaged on the disk.
start
for record in zero one two; do
    expect 200 -d "sound record $record" "$url/logs/damaged"
done
stop
segment=$(echo "$data"/logs/damaged/*)
at=$(grep -abo 'sound record one' "$segment" | cut -d : -f 1)
printf X | dd of="$segment" bs=1 seek="$at" conv=notrunc status=none
start
expect 200 "${events[@]}" "$url/logs/damaged/records?limit=2"
expect_ids '0 1 2'
grep -A 2 '^event: gap$' "$work/body" | grep -q '^data: {"begin":1,"end":2}$' ||
    die "the gap: $(cat "$work/body")"
grep -q 'event=record_damaged log=damaged ' "$work/log" || die 'the operator was not told'
stop

# The second front door. A stream in an event of its own for the data, one for where the reader is.
start --long-poll-timeout 300ms --stream-life 1s
stream=$url/v1/stream/events
expect_stream()
{
    sed 's/"streamCursor":"[0-9]*"/"streamCursor":"C"/' "$work/body" >"$work/stream"
    printf '%b\n' "$1" | cmp -s - "$work/stream" ||
        die "wanted $1: $(cat "$work/stream")"
}
expect 201 -X PUT -H 'Content-Type: text/plain' -d $'a\nevent: x' "$stream"
expect 200 -N "$stream?offset=-1&live=sse" # ends by itself
expect_header Content-Type text/event-stream
expect_header Cache-Control no-cache
[ "$(grep -c '^event: data$' "$work/body")" -eq 1 ] || die "data: $(cat "$work/body")"
[ "$(grep -c '"upToDate":true' "$work/body")" -ge 3 ] || die "keep-alives: $(cat "$work/body")"
curl -sS -N -o "$work/last" "$stream?offset=0000000000000001_0000000000000010&live=sse" &
client=$!
until_stats followers 1
expect 204 -H 'Content-Type: text/plain' -H 'Stream-Closed: true' -d b "$stream"
wait "$client"
grep -q '^data:b$' "$work/last" || die "the last: $(cat "$work/last")"
expect 200 -N "$stream?offset=-1&live=sse"
expect_stream 'event: data\ndata:a\ndata:event: xb\n\nevent: control\ndata:{"streamNextOffset":"0000000000000002_0000000000000011","upToDate":true,"streamClosed":true}\n'
expect 200 -N "$stream?offset=now&live=sse"
expect_stream 'event: control\ndata:{"streamNextOffset":"0000000000000002_0000000000000011","upToDate":true,"streamClosed":true}\n'
expect 201 -X PUT -H 'Content-Type:' -d abc "$url/v1/stream/bytes"
expect 200 -N "$url/v1/stream/bytes?offset=0000000000000000_0000000000000001&live=sse"
expect_header stream-sse-data-encoding base64
grep -q '^data:YmM=$' "$work/body" || die "base64: $(cat "$work/body")"
for query in live=sse 'live=sse&offset=1' 'live=sse&offset=0000000000000000_0000000000000007'; do
    refused 400 bad-parameter "$url/v1/stream/bytes?$query"
done
stop

# Every record once and in order, across kills.
: >"$work/port"
python "${0%/*}/follow.py" 0 resume "$work" 600 &
follower=$!
for life in 1 2 3; do
    start
    echo "$port" >"$work/port"
    for batch in 1 2; do
        for i in $(seq 100); do
            echo "life $life batch $batch record $i"
        done >"$work/lines"
        expect 200 -H 'Content-Type: application/x-ndjson' --data-binary "@$work/lines" \
            "$url/logs/kept"
        cat "$work/lines" >>"$work/appended"
    done
    [ "$life" -ne 3 ] || break
    kill -KILL "$server_pid"
    ended
done
wait "$follower" || die 'a follower missed something'
nl -v 0 -w 1 -s ' ' "$work/appended" | cmp -s - "$work/followed" ||
    die 'what came is not what was appended'
stop
passed
