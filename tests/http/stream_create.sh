#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# PUT, HEAD and DELETE at the second door: streams are made once, whole, and as they were asked for.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start
s=$url/v1/stream
zero=0000000000000000_0000000000000000

# Nothing is there before it is made, whatever --auto-create says.
for method in GET HEAD DELETE; do
    head=()
    [ "$method" != HEAD ] || head=(-I)
    expect 404 "${head[@]}" -X "$method" "$s/none"
done
refused 404 log-not-found -H 'Content-Type: text/plain' -d x "$s/none"
refused 404 log-not-found -X POST -H 'Stream-Closed: true' "$s/none"
grep -q 'PUT' "$work/body" || die "what to do: $(cat "$work/body")"

# Made, and as good as made: the media type counts, in whatever letters and with whatever parameters.
expect 201 -X PUT -H 'Content-Type: Text/Plain; charset=utf-8' "$s/text"
expect_header Location "$s/text"
expect_header Content-Type 'Text/Plain; charset=utf-8'
expect_header Stream-Next-Offset "$zero"
expect_header Stream-Closed ''
for type in text/plain 'TEXT/PLAIN; charset=latin1' 'text/plain;x=y'; do
    expect 200 -X PUT -H "Content-Type: $type" "$s/text"
    expect_header Content-Type 'Text/Plain; charset=utf-8'
    expect_header Location ''
done
for type in text/html text/plainer text application/json; do
    refused 409 conflict -X PUT -H "Content-Type: $type" "$s/text"
done
refused 409 conflict -X PUT "$s/text"
refused 409 conflict -X PUT -H 'Content-Type: text/plain' -H 'Stream-Closed: true' "$s/text"

# Without a type, or with something else than one, it is bytes.
for type in '' 'Content-Type: nonsense' 'Content-Type: /x' 'Content-Type: x/' 'Content-Type: a;b/c'; do
    expect 201 -X PUT -H "$type" "$s/bytes"
    expect_header Content-Type application/octet-stream
    expect 204 -X DELETE "$s/bytes"
done
refused 400 bad-header -X PUT -H "Content-Type: text/$(printf '%0251d' 0)" "$s/long"
refused 400 bad-header -X PUT -H $'Content-Type: text/pl\xc3\xa4in' "$s/long"
expect 201 -X PUT -H "Content-Type: text/$(printf '%0250d' 0)" "$s/long"

# With content from its beginning on; the content of a repeated request is not looked at.
expect 201 -X PUT -H 'Content-Type: text/plain' -d hello "$s/hello"
expect_header Stream-Next-Offset 0000000000000001_0000000000000005
expect 200 -X PUT -H 'Content-Type: text/plain' -d 'another' "$s/hello"
expect_header Stream-Next-Offset 0000000000000001_0000000000000005
expect 200 "$s/hello"
expect_body hello
expect 201 -X PUT -H 'Content-Type: application/json' -d ' [1, {"a": 2}]' "$s/json"
expect_header Stream-Next-Offset 0000000000000002_0000000000000009
expect 201 -X PUT -H 'Content-Type: application/json' -d '[]' "$s/empty-json"
expect_header Stream-Next-Offset "$zero"
expect 200 "$s/empty-json"
expect_body '[]'
for body in '[1,' '1 2' '{a:1}' "'x'" '[1,]'; do
    refused 400 bad-json -X PUT -H 'Content-Type: application/json' -d "$body" "$s/broken"
done
expect 404 "$s/broken"

# Closed from its beginning on.
expect 201 -X PUT -H 'Stream-Closed: true' "$s/closed"
expect_header Stream-Closed true
expect 200 -X PUT -H 'stream-closed: TRUE' "$s/closed"
expect_header Stream-Closed true
refused 409 conflict -X PUT "$s/closed"
expect 201 -X PUT -H 'Content-Type: text/plain' -H 'Stream-Closed: true' -d all "$s/all"
expect_header Stream-Closed true
expect_header Stream-Next-Offset 0000000000000001_0000000000000003
refused 409 closed -H 'Content-Type: text/plain' -d more "$s/all"
expect 201 -X PUT -H 'Stream-Closed: false' "$s/open"
expect_header Stream-Closed ''

# HEAD tells what it is, and is not kept by anybody.
expect 200 -I "$s/all"
expect_header Content-Type text/plain
expect_header Stream-Next-Offset 0000000000000001_0000000000000003
expect_header Stream-Closed true
expect_header Cache-Control no-store
expect 200 -I "$s/hello"
expect_header Stream-Closed ''

# Names: as everywhere, but for one that is kept for others.
for name in -x .x %41 'a%2fb' "$(printf '%0129d' 0)"; do
    expect 400 -X PUT "$s/$name"
done
for path in __ds __ds/jwks.json __ds/subscriptions/x a/b; do
    refused 404 path-not-found -X PUT "$s/$path"
done
expect 200 -X OPTIONS "$s/any"
expect_header Allow 'GET, HEAD, PUT, POST, DELETE, OPTIONS'
expect 405 -X PATCH "$s/any"

# What has been deleted is gone, with all that it had.
expect 204 -X DELETE "$s/hello"
expect 404 "$s/hello"
expect 404 -X DELETE "$s/hello"
expect 201 -X PUT -H 'Content-Type: text/html' "$s/hello"
expect_header Stream-Next-Offset "$zero"
expect 200 "$s/hello"
expect_body ''

# Of many who make the same stream at once each hears that it is there; one has made it.
for i in $(seq 12); do
    curl -sS -o /dev/null -w '%{http_code}\n' -X PUT -H 'Content-Type: text/plain' -d "by $i" \
        "$s/race" >"$work/race.$i" &
    clients="${clients-} $!"
done
# shellcheck disable=SC2086
wait $clients
sort "$work"/race.* | uniq -c >"$work/race"
grep -q '^ *1 201$' "$work/race" || die "made more than once: $(cat "$work/race")"
grep -qv ' 20[01]$\| 503$' "$work/race" && die "not idempotent: $(cat "$work/race")"
expect 200 "$s/race"
grep -q '^by [0-9]*$' "$work/body" || die "not one content: $(cat "$work/body")"

# All of it is as it was after a restart.
stop
start
s=$url/v1/stream
expect 200 -I "$s/text"
expect_header Content-Type 'Text/Plain; charset=utf-8'
expect 200 "$s/all"
expect_body all
expect_header Stream-Closed true
expect 200 -X PUT -H 'Content-Type: text/plain' -H 'Stream-Closed: true' "$s/all"
expect 404 "$s/broken"
stop
passed
