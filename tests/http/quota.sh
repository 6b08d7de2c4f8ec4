#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# A log at its quota refuses what would pass it, whole and at both doors, and changes nothing; what it
# has acknowledged it goes on acknowledging, and what is trimmed makes room at once.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

lines='Content-Type: application/x-ndjson'

# is_at OFFSET LOG: nothing has been appended behind it.
is_at()
{
    expect 200 "$url/logs/$2/offsets"
    expect_member next_offset "$1"
}

start --retain-interval 50ms

# ---- records ----
expect 201 -X PUT -d '{"quota":{"records":3}}' "$url/logs/counted"
jq -e '.quota == {"records":3} and .settings.quota == {"records":3}' "$work/body" >/dev/null ||
    die "$(cat "$work/body")"
expect 200 -d one -H 'Idempotency-Key: "first"' "$url/logs/counted"
printf '2\n3\n4\n' >"$work/three"
refused 429 quota -H "$lines" --data-binary "@$work/three" "$url/logs/counted"
expect_header Retry-After ''
grep -q 'at most 3 records' "$work/body" || die "$(cat "$work/body")"
is_at 1 counted
expect 200 -d two "$url/logs/counted"
expect 202 -d three "$url/logs/counted?ack=none"
refused 429 quota -d four "$url/logs/counted"
refused 429 quota -d four "$url/logs/counted?ack=none"
refused 429 quota -H 'Content-Type: application/octet-stream' -d four "$url/v1/stream/counted"
is_at 3 counted
# The retry of what was taken is answered, however full the log is; and so is the close of a stream.
expect 200 -d one -H 'Idempotency-Key: "first"' "$url/logs/counted"
expect_header Idempotency-Replayed true
expect_member offset 0
expect 200 -X POST "$url/logs/counted/trim?before=1"
expect 200 -d four "$url/logs/counted"
expect_member offset 3
refused 429 quota -d five "$url/logs/counted"
expect 200 -X PATCH -d '{"quota":{"records":4}}' "$url/logs/counted"
expect 200 -d five "$url/logs/counted"
refused 429 quota -d six "$url/logs/counted"
expect 204 -X POST -H 'Stream-Closed: true' "$url/v1/stream/counted"
expect 200 "$url/stats"
jq -e '.refusals_quota == 6 and .refusals.quota == 6' "$work/body" >/dev/null || die "$(cat "$work/body")"
expect 200 "$url/metrics"
grep -qx 'wald_append_refusals_total{reason="quota"} 6' "$work/body" || die 'metrics'
grep -qx 'wald_http_refusals_total{type="quota"} 6' "$work/body" || die 'metrics'

# ---- bytes, over a trim and a kill -9 ----
expect 201 -X PUT -d '{"quota":{"bytes":100}}' "$url/logs/weighed"
for _ in 1 2 3 4; do
    expect 200 -d "$(printf '%025d' 7)" "$url/logs/weighed"
done
refused 429 quota -d x "$url/logs/weighed"
grep -q 'at most 100 bytes' "$work/body" || die "$(cat "$work/body")"
expect 200 -X POST "$url/logs/weighed/trim?before=2"
expect 200 -d "$(printf '%050d' 7)" "$url/logs/weighed"
refused 429 quota -d x "$url/logs/weighed"
expect 200 -X POST "$url/logs/weighed/trim?before=3"
kill -KILL "$server_pid"
ended
start --retain-interval 50ms --quota-bytes 40
expect 200 -d "$(printf '%025d' 7)" "$url/logs/weighed"
refused 429 quota -d x "$url/logs/weighed"
expect 200 -X POST "$url/logs/weighed/trim?before=6"
expect 200 -d "$(printf '%0100d' 7)" "$url/logs/weighed"

# ---- what holds for all ----
refused 429 quota -d "$(printf '%041d' 7)" "$url/logs/made"
is_at 0 made # it was made for the request, and the answer says so
expect 200 -d "$(printf '%040d' 7)" "$url/logs/made"
refused 429 quota -X PUT -H 'Content-Type: text/plain' -d "$(printf '%041d' 7)" "$url/v1/stream/streamed"
expect 404 "$url/logs/streamed"
expect 201 -X PUT -H 'Content-Type: text/plain' -d "$(printf '%040d' 7)" "$url/v1/stream/streamed"
refused 429 quota -X PUT -H 'Stream-Forked-From: /v1/stream/streamed' -H 'Content-Type: text/plain' \
    -d more "$url/v1/stream/forked"
expect 404 "$url/logs/forked"
expect 201 -X PUT -d '{"quota":{"bytes":0}}' "$url/logs/free"
expect 200 -d "$(printf '%041d' 7)" "$url/logs/free"

stop

# Retry-After is a promise: retention makes room by then. Unless a pass comes in between.
start --retain-interval 1s
printf '1\n2\n3\n4\n' >"$work/four"
turned=no
for i in $(seq 20); do
    log=$url/logs/turning$i
    expect 201 -X PUT -d '{"quota":{"records":4},"retention":{"records":3}}' "$log"
    expect 200 -H "$lines" --data-binary "@$work/four" "$log"
    refused 429 quota -H "$lines" --data-binary "@$work/four" "$log"
    expect_header Retry-After '' # four never fit beside three
    request -d one "$log"
    [ "$status" = 429 ] || continue
    expect_header Retry-After 2
    sleep 2
    expect 200 -d one "$log"
    turned=yes
    break
done
[ "$turned" = yes ] || die 'no log was at its quota'
stop
passed
