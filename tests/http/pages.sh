#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Pages of records: the form that the client accepts, how much fits, and where to begin by time.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start

for record in zero one two three; do
    expect 200 -d "$record" "$url/logs/pages"
done
printf '\377\000' | expect 200 --data-binary @- "$url/logs/pages"
pages=$url/logs/pages/records

# ---- by Accept ----

# form ACCEPT TYPE
form()
{
    expect 200 -H "Accept: $1" "$pages"
    expect_header Content-Type "$2"
    expect_header Log-Next-Offset 5
    expect_header Log-Committed-Offset 5
}
form '' application/x-ndjson
form '*/*' application/x-ndjson
form 'text/html, */*;q=0.8' application/x-ndjson
form application/json application/json
form 'application/json;q=0.9, application/octet-stream;q=0.8, text/html' application/json
form 'application/*, application/x-ndjson;q=0.1' application/json
form application/octet-stream application/octet-stream
for accept in text/html 'application/json;q=0' '*/*;q=0' json; do
    refused 406 not-acceptable -H "Accept: $accept" "$pages"
done
refused 406 not-acceptable -H 'Accept: text/html' "$pages?wait=30s"
refused 400 bad-parameter -H 'Accept: text/event-stream' "$pages?wait=30s"
refused 400 bad-parameter -H 'Accept: text/event-stream' "$pages?max_bytes=1"

# One document, also where it is empty.
expect 200 -H 'Accept: application/json' "$pages?offset=1&limit=2"
sed 's/"timestamp":"[^"]*"/T/g' "$work/body" >"$work/document"
[ "$(cat "$work/document")" = '{"records":[{"offset":1,T,"data":"one"},{"offset":2,T,"data":"two"}],'\
'"next_offset":3}' ] || die "document: $(cat "$work/body")"
expect_header Log-Next-Offset 3
expect 200 -H 'Accept: application/json' "$pages?offset=5"
expect_body '{"records":[],"next_offset":5}'
expect 200 -H 'Accept: application/json' "$pages?offset=77"
expect_body '{"records":[],"next_offset":77}'

# Frames: offset, timestamp, length, the bytes.
number()
{
    od -An -tu8 --endian=big -j "$1" -N 8 "$work/body" | tr -d ' '
}
expect 200 -H 'Accept: application/octet-stream' "$pages?offset=3"
[ "$(stat -c %s "$work/body")" -eq $((20 + 5 + 20 + 2)) ] || die 'frames of another size'
[ "$(number 0)" = 3 ] || die 'the offset of a frame'
[ "$(od -An -tu4 --endian=big -j 16 -N 4 "$work/body" | tr -d ' ')" = 5 ] || die 'the length of a frame'
[ "$(dd if="$work/body" bs=1 skip=20 count=5 status=none)" = three ] || die 'the bytes of a frame'
[ "$(number 25)" = 4 ] || die 'the offset of the second frame'
[ "$(od -An -tx1 -j 45 "$work/body")" = ' ff 00' ] || die 'the bytes of the second frame'
seconds=$(($(number 8) / 1000000000))
age=$(($(date +%s) - seconds))
((age >= -1 && age < 600)) || die "the timestamp of a frame: $(number 8)"
expect 200 -H 'Accept: application/octet-stream' "$pages?offset=5"
[ ! -s "$work/body" ] || die 'frames at the end of the log'

# Text in base64 on demand.
expect 200 "$pages?offset=1&limit=1&encoding=base64"
expect_member data_base64 b25l
expect 200 -H 'Accept: application/json' "$pages?offset=1&limit=1&encoding=base64"
expect_member data_base64 b25l
refused 400 bad-parameter "$pages?encoding=text"

# ---- how much ----

# Each line of these takes more than 100 bytes and less than 200.
line=$(printf 'x%.0s' {1..80})
for _ in 1 2 3 4 5; do
    expect 200 -d "$line" "$url/logs/sized"
done
sized=$url/logs/sized/records
expect 200 "$sized?limit=1"
bytes=$(stat -c %s "$work/body")
expect 200 "$sized?max_bytes=1"
expect_header Log-Next-Offset 1
[ "$(wc -l <"$work/body")" -eq 1 ] || die 'the first record always comes'
expect 200 "$sized?max_bytes=$((2 * bytes - 1))"
expect_header Log-Next-Offset 1
expect 200 "$sized?max_bytes=$((2 * bytes))"
expect_header Log-Next-Offset 2
[ "$(stat -c %s "$work/body")" -eq $((2 * bytes)) ] || die 'a page of another size'
expect 200 -H 'Accept: application/octet-stream' "$sized?max_bytes=$((3 * 100 + 99))"
expect_header Log-Next-Offset 3
[ "$(stat -c %s "$work/body")" -eq 300 ] || die 'frames of another size'
expect 200 -H 'Accept: application/json' "$sized?max_bytes=1"
[ "$(grep -o '"offset"' "$work/body" | wc -l)" -eq 1 ] || die 'the first record of a document'
grep -q '}\],"next_offset":1}$' "$work/body" || die "a document cut off: $(cat "$work/body")"
expect 200 "$sized?max_bytes=16777216"
expect_header Log-Next-Offset 5
for query in max_bytes=0 max_bytes=16777217 max_bytes=x max_bytes= max_bytes=1k; do
    refused 400 bad-parameter "$sized?$query"
done

# 3 MiB in records of 1 MiB: a page for each where nothing else is said, one for all where it is.
head -c 1048576 /dev/zero | tr '\0' z >"$work/large"
for _ in 1 2 3; do
    expect 200 --data-binary "@$work/large" "$url/logs/large"
done
expect 200 "$url/logs/large/records"
expect_header Log-Next-Offset 1
expect 200 "$url/logs/large/records?max_bytes=16777216"
expect_header Log-Next-Offset 3
[ "$(wc -l <"$work/body")" -eq 3 ] || die 'three lines'

# ---- by time ----

# at TIME FIRST: the page begins there.
at()
{
    expect 200 "$pages?at=$1"
    expect_header Log-Next-Offset 5
    [ "$(member offset)" = "$2" ] || die "?at=$1: $(head -c 200 "$work/body")"
}
expect 200 "$pages?offset=2&limit=1"
two=$(member timestamp)
expect 200 "$pages?offset=1&limit=1"
one=$(member timestamp)
[ "$one" \< "$two" ] || die "timestamps $one, $two"
at 1970-01-01T00:00:00Z 0
at "$two" 2
at "$(echo "$two" | tr TZ tz)" 2
at "${two%Z}000Z" 2
at "${two%Z}-00:00" 2
date=$(date -u -d "${two%.*}Z" +%s)
fraction=.${two##*.}
at "$(date -u -d "@$((date + 3600))" +%Y-%m-%dT%H:%M:%S)${fraction%Z}+01:00" 2
at "$(date -u -d "@$((date - 5400))" +%Y-%m-%dT%H:%M:%S)${fraction%Z}-01:30" 2
at 9999-12-31T23:59:59Z ''
expect_header Log-Committed-Offset 5
for time in '' now 2026-11-22 2026-11-22T10:00:00 2026-02-29T10:00:00Z 2026-11-22T10:00:00.1234567890Z; do
    refused 400 bad-parameter "$pages?at=$time"
done
refused 400 bad-parameter "$pages?at=1970-01-01T00:00:00Z&offset=0"
refused 400 bad-target "$pages?at=2026-11-22T10%3A00%3A00Z"
stop

# ---- HEAD ----

# The headers of GET, the length of its body included, and no body.
start
for path in /logs '/logs?prefix=p' /logs/pages /logs/pages/offsets '/logs/pages/offsets?wait_for=1' \
    /logs/pages/records '/logs/pages/records?offset=2&encoding=base64' '/logs/pages/records?offset=5' \
    '/logs/pages/records?offset=5&wait=10ms' /logs/pages/records/4; do
    for accept in application/x-ndjson application/json application/octet-stream; do
        expect 200 -H "Accept: $accept" "$url$path"
        grep -vi '^date:' "$work/headers" >"$work/wanted"
        expect 200 -I -H "Accept: $accept" "$url$path"
        grep -vi '^date:' "$work/headers" >"$work/got"
        cmp -s "$work/wanted" "$work/got" ||
            die "HEAD $path: $(diff "$work/wanted" "$work/got")"
        grep -qi '^content-length: [0-9]' "$work/got" || die "HEAD $path without a length"
    done
done
expect 406 -I -H 'Accept: text/html' "$url/logs/pages/records"
stop

# What did not fit any more costs no memory while clients take what did.
start --max-record-bytes 16MiB
head -c 6000000 /dev/zero | tr '\0' a >"$work/plain"
head -c 9000000 /dev/zero | tr '\0' '\1' >"$work/escaped" # six times as long in JSON
expect 200 --data-binary "@$work/plain" "$url/logs/tail"
expect 200 --data-binary "@$work/escaped" "$url/logs/tail"
slow_pids=()
for _ in $(seq 16); do
    curl -s --limit-rate 1k -o "$work/slow" "$url/logs/tail/records?max_bytes=16777216" &
    slow_pids+=($!)
done
for _ in $(seq 600); do
    expect 200 "$url/stats"
    begun=$(member requests_in_progress)
    [ "$begun" -lt 17 ] || break
    sleep 0.1
done
# Behind their pages, and so made when all of them are.
expect 200 -o "$work/page" "$url/logs/tail/records?limit=1"
kib=$(awk '/^VmRSS/ { print $2 }' "/proc/$server_pid/status")
kill "${slow_pids[@]}"
[ "$kib" -lt 700000 ] || die "$kib KiB for 16 pages of 6 MB"
stop
passed
