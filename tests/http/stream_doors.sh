#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# One log, two doors: what is made through one is used through the other, and its rules hold at both.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start
s=$url/v1/stream
l=$url/logs
text='Content-Type: text/plain'

# Made by an append at /logs, a stream of bytes.
expect 200 -d hello "$l/native"
expect 200 "$s/native"
expect_body hello
expect_header Content-Type application/octet-stream
expect_header Stream-Next-Offset 0000000000000001_0000000000000005
expect 200 -X PUT "$s/native"
refused 409 conflict -X PUT -H "$text" "$s/native"
expect 204 -H 'Content-Type: application/octet-stream' -d ' world' "$s/native"
expect 200 "$l/native/records/1"
expect_body ' world'
expect 200 "$l/native"
expect_member content_type application/octet-stream
expect_member closed false
expect_member next_offset 2

# Made here, a log; of NDJSON at /logs each line is a record, here the line ends are gone.
expect 201 -X PUT -H "$text" -d 'a' "$s/stream"
printf 'b\nc\n' >"$work/lines"
expect 200 -H 'Content-Type: application/x-ndjson' --data-binary "@$work/lines" "$l/stream"
expect_member offset 1
expect 200 "$s/stream"
expect_body abc
expect 200 "$l/stream"
expect_member content_type text/plain
expect 200 -X PUT "$l/stream"
refused 409 conflict -X PUT -d '{"durability":"committed"}' "$l/stream"

# Closed here, closed there: for appends of any kind, but not for what was appended before.
expect 200 -H 'Idempotency-Key: k' -d d "$l/stream"
expect 204 -X POST -H 'Stream-Closed: true' "$s/stream"
refused 409 closed -d x "$l/stream"
refused 409 closed -d x "$l/stream?ack=none"
refused 409 closed -H 'Content-Type: application/x-ndjson' --data-binary "@$work/lines" "$l/stream"
refused 409 closed -H 'Idempotency-Key: other' -d x "$l/stream"
expect 200 -H 'Idempotency-Key: k' -d d "$l/stream"
expect_header Idempotency-Replayed true
expect 200 "$l/stream"
expect_member closed true
expect 200 "$l/stream/records?offset=0"
[ "$(wc -l <"$work/body")" -eq 4 ] || die "records: $(cat "$work/body")"
expect 200 -X POST "$l/stream/trim?before=1" # which appends nothing
expect 200 -X POST "$l/stream/sync"

# Many in flight, and a close among them: each is told the truth, and the answers agree with the log.
expect 201 -X PUT -H "$text" "$s/busy"
for i in $(seq 20 59); do
    case $i in
    40) set -- -H 'Stream-Closed: true' ;;
    *) set -- ;;
    esac
    curl -sS -o /dev/null -w '%{http_code}' "$@" -H "$text" -d "$i," "$s/busy" >"$work/busy.$i" &
    clients="${clients-} $!"
done
# shellcheck disable=SC2086
wait $clients
expect 200 "$s/busy"
expect_header Stream-Closed true
for i in $(seq 20 59); do
    there=409
    grep -q "$i," "$work/body" && there=204
    [ "$(cat "$work/busy.$i")" = "$there" ] || die "$i was told $(cat "$work/busy.$i"): $(cat "$work/body")"
done
grep -q '40,$' "$work/body" || die "something behind the close: $(cat "$work/body")"

# What was acknowledged here survives a kill as it does there.
expect 201 -X PUT -H 'Content-Type: application/json' -d '[1,2]' "$s/kept"
expect 200 -H 'Content-Type: application/json' -H 'Producer-Id: p' -H 'Producer-Epoch: 3' \
    -H 'Producer-Seq: 0' -H 'Stream-Seq: a' -H 'Stream-Closed: true' -d 3 "$s/kept"
kill -KILL "$server_pid"
ended
start
s=$url/v1/stream
l=$url/logs
expect 200 "$s/kept"
expect_body '[1,2,3]'
expect_header Stream-Closed true
expect_header Content-Type application/json
expect 204 -H 'Content-Type: application/json' -H 'Producer-Id: p' -H 'Producer-Epoch: 3' \
    -H 'Producer-Seq: 0' -d 3 "$s/kept"
refused 409 closed -d 4 "$l/kept"
expect 200 "$s/stream?offset=0000000000000001_0000000000000001"
expect_body bcd

# Deleted at one door, gone at both.
expect 204 -X DELETE "$l/kept"
expect 404 "$s/kept"
expect 204 -X DELETE "$s/native"
expect 404 "$l/native"
stop

# No append makes a stream here, but PUT does, whatever --auto-create says.
start --auto-create off
s=$url/v1/stream
expect 404 -H "$text" -d x "$s/new"
expect 201 -X PUT -H "$text" -d x "$s/new"
expect 200 "$s/new"
expect_body x
stop
passed
