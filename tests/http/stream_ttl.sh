#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Streams that end by themselves: a TTL that begins anew with each use, and times. What has ended is not
# there at either door, its name is free, and its space comes back although nobody asks for it.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

# at SECONDS: a time so far from now.
at()
{
    date -u -d "@$(($(date +%s) + $1))" +%Y-%m-%dT%H:%M:%SZ
}

# until_listed NAMES: these are the logs that there are, sooner or later.
until_listed()
{
    for _ in $(seq 200); do
        expect 200 "$url/logs"
        [ "$(jq -r '[.logs[].name] | join(" ")' "$work/body")" != "$1" ] || return 0
        sleep 0.05
    done
    die "wanted $1: $(cat "$work/body")"
}

start
s=$url/v1/stream
text='Content-Type: text/plain'

# What may be asked for.
for ttl in 00060 +60 60.5 6e1 -1 abc '6 0' 99999999999999999999999999999999999999999999999999999999999999999; do
    refused 400 bad-header -X PUT -H "Stream-TTL: $ttl" "$s/none"
done
for time in tomorrow 2026-11-23 1790000000 2026-11-23T10:00:00; do
    refused 400 bad-header -X PUT -H "Stream-Expires-At: $time" "$s/none"
done
refused 400 bad-header -X PUT -H 'Stream-TTL: 60' -H 'Stream-Expires-At: 2099-01-01T00:00:00Z' "$s/none"
expect 404 "$s/none"

# It is part of what the stream is, and told.
expect 201 -X PUT -H "$text" -H 'Stream-TTL: 3600' "$s/long"
expect 200 -X PUT -H "$text" -H 'Stream-TTL: 3600' "$s/long"
refused 409 conflict -X PUT -H "$text" -H 'Stream-TTL: 3601' "$s/long"
refused 409 conflict -X PUT -H "$text" "$s/long"
expect 200 -I "$s/long"
expect_header Stream-TTL 3600
expect 200 "$url/logs/long"
expect_member ttl 3600
late=2099-01-01T01:00:00+01:00
expect 201 -X PUT -H "$text" -H "Stream-Expires-At: $late" "$s/late"
expect 200 -X PUT -H "$text" -H "Stream-Expires-At: $late" "$s/late"
refused 409 conflict -X PUT -H "$text" -H 'Stream-Expires-At: 2099-01-01T00:00:00Z' "$s/late"
expect 200 -I "$s/late"
expect_header Stream-Expires-At "$late"
expect 200 "$url/logs/late"
expect_member expires "$late"

# A time that has passed. A TTL begins anew with what uses the log, at both doors, and with nothing else.
expect 201 -X PUT -H "$text" -H 'Stream-Expires-At: 2026-01-01T00:00:00Z' -d x "$s/past"
expect 404 "$s/past"
expect 404 "$url/logs/past/records"
for name in idle looked-at read appended closed records; do
    expect 201 -X PUT -H "$text" -H 'Stream-TTL: 6' -d old "$s/$name"
done
expect 201 -X PUT -H "$text" -H "Stream-Expires-At: $(at 8)" -d old "$s/timed"
sleep 3.5
expect 200 -I "$s/looked-at"
expect 200 "$url/logs/looked-at"
expect 200 "$url/logs/looked-at/offsets"
expect 200 "$url/logs/looked-at/stats"
expect 200 "$s/read?offset=now"
expect 204 -H "$text" -d more "$s/appended"
expect 204 -X POST -H 'Stream-Closed: true' "$s/closed"
expect 200 "$url/logs/records/records"
expect 200 "$s/timed"
sleep 3.5
for name in read appended closed; do
    expect 200 -I "$s/$name"
done
expect 200 "$url/logs/records"
for name in idle looked-at; do
    refused 404 log-not-found "$s/$name"
    expect 404 -I "$s/$name"
    refused 404 log-not-found -H "$text" -d x "$s/$name"
    refused 404 log-not-found -X DELETE "$s/$name"
    refused 404 log-not-found "$url/logs/$name"
    refused 404 log-not-found "$url/logs/$name/records/0"
    refused 404 log-not-found -X POST "$url/logs/$name/sync"
done
sleep 1
expect 404 -I "$s/timed" # reading does not move a time

# A name that is free again, to each who makes logs. Nothing of the old is there.
expect 201 -X PUT -H "$text" -H 'Stream-TTL: 1' -d old "$s/put"
expect 201 -X PUT -H "$text" -H 'Stream-TTL: 1' -d old "$s/post"
expect 201 -X PUT -H "$text" -H 'Stream-TTL: 1' -d old "$s/make"
sleep 1.1
expect 201 -X PUT -H "$text" -d new "$s/put"
expect 200 "$s/put"
expect_body new
expect 200 -d new "$url/logs/post"
expect_member offset 0
expect 201 -X PUT "$url/logs/make"
expect_member next_offset 0
expect 200 -I "$s/make"
expect_header Stream-TTL ''

# Space comes back although nobody asks.
until_listed 'late long make post put'

# What ended while nobody looked is found after a start, a full TTL later.
expect 201 -X PUT -H "$text" -H 'Stream-TTL: 6' -d old "$s/short"
expect 201 -X PUT -H "$text" -H "Stream-Expires-At: $(at 1)" -d old "$s/timed"
stop
start
s=$url/v1/stream
expect 200 -I "$s/short"
until_listed 'late long make post put'
stop
passed
