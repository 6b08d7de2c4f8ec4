#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# POST at the second door: appending, closing, and all that stands against it, in its order.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start
s=$url/v1/stream
text='Content-Type: text/plain'

# append BODY ARGUMENT...: of text.
append()
{
    local body=$1
    shift
    expect 204 -H "$text" --data-binary "$body" "$@"
}

expect 201 -X PUT -H "$text" "$s/a"
append hello "$s/a"
expect_header Stream-Next-Offset 0000000000000001_0000000000000005
expect_header Stream-Closed ''
expect 204 -H 'Content-Type: TEXT/plain; charset=utf-8' -d ' world' "$s/a"
expect_header Stream-Next-Offset 0000000000000002_0000000000000011
expect 200 "$s/a"
expect_body 'hello world'

# Bytes are bytes: zeros, and whatever else there is.
expect 201 -X PUT "$s/bytes"
printf 'a\0b\xff\r\n\xc3' >"$work/some"
expect 204 -H 'Content-Type: application/octet-stream' --data-binary "@$work/some" "$s/bytes"
expect 204 -H 'Content-Type: application/octet-stream' -H 'Transfer-Encoding: chunked' \
    --data-binary "@$work/some" "$s/bytes"
gzip -c "$work/some" >"$work/some.gz"
expect 204 -H 'Content-Type: application/octet-stream' -H 'Content-Encoding: gzip' \
    --data-binary "@$work/some.gz" "$s/bytes"
cat "$work/some" "$work/some" "$work/some" >"$work/all"
expect 200 "$s/bytes"
cmp "$work/all" "$work/body" || die 'not the bytes that were sent'

# More than a record holds goes into several, in one piece for readers; too much is refused.
head -c 5000000 /dev/urandom >"$work/large"
expect 201 -X PUT "$s/large"
expect 204 -H 'Content-Type: application/octet-stream' --data-binary "@$work/large" "$s/large"
expect_header Stream-Next-Offset 0000000000000005_0000000005000000
expect 204 -H 'Content-Type: application/octet-stream' -d end "$s/large"
expect 200 "$url/logs/large/records?offset=4&limit=1"
expect_header Log-Next-Offset 5
head -c 17000000 /dev/zero >"$work/huge"
for method in PUT POST; do
    expect 413 -X "$method" -H 'Content-Type: application/octet-stream' \
        -H 'Expect: 100-continue' --data-binary "@$work/huge" "$s/large"
    expect_problem batch-too-large
done

# What is missing or malformed.
refused 400 empty-record -X POST -H "$text" "$s/a"
refused 400 empty-record -X POST -H 'Stream-Closed: false' "$s/a"
refused 400 bad-header -H 'Content-Type:' -d x "$s/a"
refused 409 content-type -H 'Content-Type: text/html' -d x "$s/a"
refused 409 content-type -d x "$s/a"
refused 400 unsupported-header -H "$text" -H 'Idempotency-Key: k' -d x "$s/a"
refused 400 unsupported-header -H "$text" -H 'If-Match: *' -d x "$s/a"
expect 204 -H "$text" -d x "$s/a?ack=none&what=ever"
expect 415 -H "$text" -H 'Content-Encoding: br' -d x "$s/a"

# Stream-Seq only rises, byte by byte; what is refused leaves it where it was.
expect 201 -X PUT -H "$text" "$s/seq"
append a -H 'Stream-Seq: 0009' "$s/seq"
append b -H 'Stream-Seq: 001' "$s/seq"
refused 400 bad-header -H "$text" -H 'Stream-Seq;' -d x "$s/seq"
for seq in 001 0009 000 00; do
    refused 409 stream-seq -H "$text" -H "Stream-Seq: $seq" -d x "$s/seq"
done
refused 409 content-type -H 'Content-Type: a/b' -H 'Stream-Seq: 9' -d x "$s/seq"
append c "$s/seq"
append d -H 'Stream-Seq: 2' "$s/seq"
refused 409 stream-seq -H "$text" -H 'Stream-Seq: 10' -d x "$s/seq"
append e -H 'Stream-Seq: B' "$s/seq"
refused 409 stream-seq -H "$text" -H 'Stream-Seq: A' -d x "$s/seq"
append f -H 'Stream-Seq: a' "$s/seq"
refused 400 bad-header -H "$text" -H "Stream-Seq: $(printf '%0256d' 0)" -d x "$s/seq"
expect 200 "$s/seq"
expect_body abcdef

# Closing: without a body as often as one likes, with whatever type.
expect 204 -X POST -H 'Stream-Closed: true' "$s/a"
expect_header Stream-Closed true
expect_header Stream-Next-Offset 0000000000000003_0000000000000012
expect 204 -X POST -H 'Stream-Closed: True' -H 'Content-Type: application/json' "$s/a"
expect_header Stream-Closed true
expect_header Stream-Next-Offset 0000000000000003_0000000000000012
for closes in 'Stream-Closed: true' 'X: y'; do
    for type in text/plain application/json; do
        refused 409 closed -H "Content-Type: $type" -H "$closes" -d more "$s/a"
        expect_header Stream-Closed true
        expect_header Stream-Next-Offset 0000000000000003_0000000000000012
    done
done
refused 400 bad-header -H 'Content-Type:' -d x "$s/a"
refused 400 empty-record -X POST -H "$text" "$s/a"

# With a last append, in one: once.
expect 201 -X PUT -H "$text" "$s/last"
append first "$s/last"
append last -H 'Stream-Closed: true' "$s/last"
expect_header Stream-Closed true
expect_header Stream-Next-Offset 0000000000000002_0000000000000009
refused 409 closed -H "$text" -H 'Stream-Closed: true' -d last "$s/last"
expect 200 "$s/last"
expect_body firstlast
expect_header Stream-Closed true
expect_header Stream-Up-To-Date true

# Of many at once none is lost, and none is there twice.
expect 201 -X PUT -H "$text" "$s/many"
for i in $(seq 10 29); do
    curl -sS -o /dev/null -w '%{http_code}\n' -H "$text" -d "$i," "$s/many" >"$work/many.$i" &
    clients="${clients-} $!"
done
# shellcheck disable=SC2086
wait $clients
[ "$(sort -u "$work"/many.*)" = 204 ] || die "appends at once: $(cat "$work"/many.*)"
expect 200 "$s/many"
[ "$(tr ',' '\n' <"$work/body" | sort | tr -d '\n')" = "$(seq 10 29 | tr -d '\n')" ] ||
    die "appends at once: $(cat "$work/body")"

# A restart changes none of it.
stop
start
s=$url/v1/stream
refused 409 closed -H "$text" -d more "$s/last"
expect_header Stream-Next-Offset 0000000000000002_0000000000000009
refused 409 stream-seq -H "$text" -H 'Stream-Seq: a' -d x "$s/seq"
append g -H 'Stream-Seq: b' "$s/seq"
expect_header Stream-Next-Offset 0000000000000007_0000000000000007
stop
passed
