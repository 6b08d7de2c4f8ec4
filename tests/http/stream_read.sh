#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# GET at the second door: from any position to the end, in chunks that end.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start --segment-bytes 1MiB
s=$url/v1/stream
text='Content-Type: text/plain'
zero=0000000000000000_0000000000000000

expect 201 -X PUT -H "$text" "$s/r"

# An empty stream, from wherever.
for query in '' '?offset=-1' "?offset=$zero" '?offset=now'; do
    expect 200 "$s/r$query"
    expect_body ''
    expect_header Content-Type text/plain
    expect_header Stream-Next-Offset "$zero"
    expect_header Stream-Up-To-Date true
    expect_header Stream-Closed ''
done
expect_header ETag ''
expect_header Cache-Control no-store

for part in one two three; do
    expect 204 -H "$text" -d "$part" "$s/r"
done
end=0000000000000003_0000000000000011
for query in '' '?offset=-1' "?offset=$zero" '?what=ever' '?x=1&offset=-1&x=2&y'; do
    expect 200 "$s/r$query"
    expect_body onetwothree
    expect_header Stream-Next-Offset "$end"
    expect_header Stream-Up-To-Date true
done
expect 200 "$s/r?offset=0000000000000001_0000000000000003"
expect_body twothree
expect 200 "$s/r?offset=$end"
expect_body ''
expect_header Stream-Up-To-Date true
expect 200 "$s/r?offset=now"
expect_body ''
expect_header Stream-Next-Offset "$end"

# A position may lie inside a record; its two numbers have to belong together.
expect 200 "$s/r?offset=0000000000000001_0000000000000005"
expect_body othree
expect_header Stream-Next-Offset "$end"
expect 200 "$s/r?offset=0000000000000002_0000000000000010"
expect_body e
for offset in 0000000000000000_0000000000000003 0000000000000001_0000000000000002 \
    0000000000000001_0000000000000006 0000000000000002_0000000000000011 \
    0000000000000003_0000000000000010 0000000000000000_9999999999999999; do
    refused 400 bad-parameter "$s/r?offset=$offset"
done

# Behind the end is the end.
for offset in 0000000000000003_0000000000000012 0000000000000004_0000000000000011 \
    9999999999999999_9999999999999999; do
    expect 200 "$s/r?offset=$offset"
    expect_body ''
    expect_header Stream-Next-Offset "$end"
    expect_header Stream-Up-To-Date true
done

# What was never a position is none.
for offset in '' ' ' -2 - NOW 0 0_0 1_3 "$zero,$zero" "$zero " "$zero/" ../x 'a=b' \
    "${zero}0" "0$zero" 0000000000000000-0000000000000000 '000000000000000x_0000000000000000'; do
    raw 400 "GET /v1/stream/r?offset=${offset// /+} HTTP/1.1\r\nHost: localhost\r\n\r\n"
done
for query in 'offset' 'offset=-1&offset=-1' "offset=$zero&x=1&offset=now" 'offset=-1%%00' \
    'offset=%%2d1' 'live=long-poll' 'live=' 'offset=-1&live=forever' 'offset=-1&live=long-poll&live=x' \
    'offset=-1&cursor=1&cursor=2'; do
    raw 400 "GET /v1/stream/r?$query HTTP/1.1\r\nHost: localhost\r\n\r\n"
done
expect 404 "$s/none?offset=now"
expect 404 "$s/none?offset=$zero"
expect 404 "$s/none?offset=$zero&live=long-poll"

# The entity tag is that of the range and of what is known of its end.
expect 200 "$s/r"
etag=$(header ETag)
expect_header Cache-Control 'private, no-cache'
for tag in "$etag" "W/$etag" "\"x\", $etag" '*'; do
    expect 304 -H "If-None-Match: $tag" "$s/r"
    expect_header ETag "$etag"
    expect_header Stream-Next-Offset "$end"
    [ ! -s "$work/body" ] || die 'a body with 304'
done
expect 200 -H "If-None-Match: $etag" "$s/r?offset=0000000000000001_0000000000000003"
expect 200 -H "If-None-Match: *" "$s/r?offset=now"
expect 204 -H "$text" -d four "$s/r"
expect 200 -H "If-None-Match: $etag" "$s/r"
expect_body onetwothreefour
etag=$(header ETag)
expect 204 -X POST -H 'Stream-Closed: true' "$s/r"
expect 200 -H "If-None-Match: $etag" "$s/r"
expect_header Stream-Closed true
etag=$(header ETag)
expect 204 -X DELETE "$s/r"
expect 201 -X PUT -H "$text" -H 'Stream-Closed: true' -d onetwothreefour "$s/r"
expect 200 -H "If-None-Match: $etag" "$s/r" # the same bytes, of another stream

# Chunks: each goes on where the last one ended, and the end is told by the last one alone.
expect 201 -X PUT "$s/long"
head -c 2500000 /dev/urandom >"$work/all"
for begin in 0 500 1000 1500 2000; do
    dd if="$work/all" of="$work/part" bs=1000 skip="$begin" count=500 status=none
    expect 204 -H 'Content-Type: application/octet-stream' --data-binary "@$work/part" "$s/long"
done
expect 204 -X POST -H 'Stream-Closed: true' "$s/long"
offset=-1
chunks=0
: >"$work/read"
while [ "$chunks" -lt 10 ]; do
    expect 200 "$s/long?offset=$offset"
    cat "$work/body" >>"$work/read"
    offset=$(header Stream-Next-Offset)
    chunks=$((chunks + 1))
    [ -z "$(header Stream-Up-To-Date)" ] || break
    expect_header Stream-Closed ''
    expect_header Cache-Control 'private, max-age=60, stale-while-revalidate=300'
    [ "$(wc -c <"$work/body")" -le 1048576 ] || die 'a chunk beyond its limit'
done
[ "$chunks" -eq 3 ] || die "$chunks chunks"
expect_header Stream-Closed true
cmp "$work/all" "$work/read" || die 'the chunks are not the stream'
expect 200 -I "$s/long"
[ "$(header Stream-Next-Offset)" = "$offset" ] || die 'the chunks do not end where the stream does'

# What was trimmed away is gone for good; the beginning is what there is.
expect 200 -X POST "$url/logs/long/trim?before=2"
refused 410 trimmed "$s/long?offset=$zero"
refused 410 trimmed "$s/long?offset=0000000000000001_0000000000500000"
expect 200 "$s/long?offset=-1"
dd if="$work/all" of="$work/part" bs=1000 skip=1000 count=1000 status=none
cmp "$work/part" "$work/body" || die 'not what is left'
expect 200 "$s/long?offset=0000000000000002_0000000001000000"
expect 200 -X POST "$url/logs/long/trim?before=5"
expect 200 "$s/long?offset=-1"
expect_body ''
expect_header Stream-Next-Offset 0000000000000005_0000000002500000
expect_header Stream-Up-To-Date true

stop
passed
