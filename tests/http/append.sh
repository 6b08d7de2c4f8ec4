#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Appends come back as they were, byte for byte, with the offsets that were promised, also after a
# restart.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start

# The first append makes the log; its receipt says what was done, in the body and in headers.
expect 200 -d hello "$url/logs/orders"
expect_header Content-Type application/json
expect_header Location /logs/orders/records/0
first_etag=$(header ETag)
expect_body '{"log":"orders","offset":0,"count":1,"next_offset":1,"committed_offset":1,'\
'"durability":"committed","bytes":5}'
expect 200 -d world "$url/logs/orders"
expect_member offset 1

expect 200 "$url/logs/orders/records/0"
[ "$(cat "$work/body")" = hello ] || die 'another record came back'
expect_header ETag "$first_etag"
expect_header Content-Type application/octet-stream
expect_header Cache-Control 'private, no-cache'

# A client that has the record already is told so, and nothing more.
expect 304 -H "If-None-Match: \"other\", $first_etag" "$url/logs/orders/records/0"
[ ! -s "$work/body" ] || die 'a body with 304'
expect 200 -H 'If-None-Match: "other"' "$url/logs/orders/records/0"

# Bytes of all kinds and sizes, with a length and in chunks.
for size in 1 255 4095 4096 8191 70000 1048576; do
    head -c "$size" /dev/urandom >"$work/sent"
    expect 200 --data-binary "@$work/sent" "$url/logs/binary"
    expect_member bytes "$size"
    offset=$(member offset)
    expect 200 "$url/logs/binary/records/$offset"
    cmp -s "$work/sent" "$work/body" || die "$size bytes came back changed"
    expect 200 -H 'Transfer-Encoding: chunked' --data-binary "@$work/sent" "$url/logs/binary"
    expect 200 "$url/logs/binary/records/$(member offset)"
    cmp -s "$work/sent" "$work/body" || die "$size bytes in chunks came back changed"
done
expect 200 -H 'Content-Type: application/json' -d '{"a":1}' "$url/logs/typed"
expect 200 --http1.0 -d old "$url/logs/typed"

# Many records as lines of JSON: text as text, other bytes in base64.
printf 'a\000b' | expect 200 --data-binary @- "$url/logs/orders"
printf '\377\376' | expect 200 --data-binary @- "$url/logs/orders"
printf 'quote " and \\ and Grüße' | expect 200 --data-binary @- "$url/logs/orders"
expect 200 "$url/logs/orders/records"
expect_header Content-Type application/x-ndjson
expect_header Log-Next-Offset 5
expect_header Log-Committed-Offset 5
sed 's/"timestamp":"[0-9]\{4\}\(-[0-9][0-9]\)\{2\}T[0-9:]\{8\}\.[0-9]\{6\}Z"/T/' "$work/body" \
    >"$work/lines"
cat >"$work/wanted" <<'END'
{"offset":0,T,"data":"hello"}
{"offset":1,T,"data":"world"}
{"offset":2,T,"data":"a\u0000b"}
{"offset":3,T,"data_base64":"//4="}
{"offset":4,T,"data":"quote \" and \\ and Grüße"}
END
cmp "$work/wanted" "$work/lines" || die "lines: $(cat "$work/lines")"

# page QUERY OFFSETS NEXT
page()
{
    expect 200 "$url/logs/orders/records?$1"
    [ "$(sed 's/{"offset":\([0-9]*\),.*/\1/' "$work/body" | tr '\n' ' ')" = "$2" ] ||
        die "?$1: $(cat "$work/body")"
    expect_header Log-Next-Offset "$3"
}
page 'offset=1&limit=2' '1 2 ' 3
page 'offset=earliest&limit=1' '0 ' 1
page 'offset=latest' '' 5
page 'offset=-2' '3 4 ' 5
page 'offset=-99' '0 1 2 3 4 ' 5
page 'offset=5' '' 5
page 'offset=77' '' 77

# A page ends before it gets large, and the next one goes on there; a large record has its own.
expect 200 "$url/logs/binary/records"
expect_header Log-Next-Offset 12
expect 200 "$url/logs/binary/records?offset=12"
expect_header Log-Next-Offset 13
expect 200 "$url/logs/binary/records?offset=13"
expect_header Log-Next-Offset 14

# HEAD has the headers of GET and no body.
for path in /logs /logs/orders/offsets /logs/orders/records /logs/orders/records/0 \
    /logs/orders/stats /stats /livez /readyz /version; do
    expect 200 "$url$path"
    type=$(header Content-Type)
    expect 200 -I "$url$path"
    expect_header Content-Type "$type"
done

expect 200 "$url/logs/orders/offsets"
expect_body '{"log":"orders","first_offset":0,"committed_offset":5,"next_offset":5}'
expect 200 "$url/logs"
expect_body '{"logs":[{"name":"binary"},{"name":"orders"},{"name":"typed"}]}'
expect 200 "$url/logs?limit=1&after=binary"
expect_member next_after orders
expect 200 "$url/logs?prefix=ty"
expect_body '{"logs":[{"name":"typed"}]}'

expect 200 "$url/logs/orders/stats"
expect_member total_operations 5
expect_member current_offset 5
expect_member pending_entries 0
expect_member state ok
expect_member backend "$backend"
expect 200 "$url/stats"
expect_member backend "$backend"
expect 200 "$url/version"
[ "wald $(member version)" = "$("$wald" --version)" ] || die "version: $(cat "$work/body")"
expect 200 "$url/livez"
expect 200 "$url/readyz"

# A restart keeps all of it, tags included, and goes on where it stopped.
stop
start
expect 200 "$url/logs/orders/records/0"
expect_header ETag "$first_etag"
expect 200 "$url/logs/binary/records/13"
cmp -s "$work/sent" "$work/body" || die 'a restart changed a record'
expect 200 -d more "$url/logs/orders"
expect_member offset 5

# A deleted log is gone, and a new one of the same name shares nothing with it.
expect 204 -X DELETE "$url/logs/orders"
expect 404 "$url/logs/orders/records/0"
expect 404 -X DELETE "$url/logs/orders"
expect 200 -d hello "$url/logs/orders"
expect_member offset 0
[ "$(header ETag)" != "$first_etag" ] || die 'the tag of a deleted log came back'
stop INT
passed
