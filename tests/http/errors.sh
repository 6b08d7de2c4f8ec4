#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Every refusal has its status, is a problem document, and changes nothing.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start --max-record-bytes 1000
expect 200 -d hello "$url/logs/orders"

for name in -a .a _a a%41 "a~" "$(printf 'a%.0s' {1..129})" ''; do
    type=bad-name
    [ "$name" != a%41 ] || type=bad-target
    refused 400 $type -d x "$url/logs/$name"
    refused 400 $type "$url/logs/$name/stats"
done
refused 400 empty-record -X POST "$url/logs/orders"
refused 400 empty-record -H 'Transfer-Encoding: chunked' -d '' "$url/logs/orders"
refused 400 bad-parameter -d x "$url/logs/orders?ack=soon"
refused 400 bad-parameter "$url/logs/orders/records/-1"
refused 400 bad-parameter "$url/logs/orders/records/01"
refused 400 bad-parameter "$url/logs/orders/records/18446744073709551616"
for query in offset=x offset=-0 offset= offset=+1 limit=0 limit=10001 limit=x offset=1\&offset=2 \
    colour=red a\&b\&c\&d\&e\&f\&g\&h\&i; do
    refused 400 bad-parameter "$url/logs/orders/records?$query"
done
refused 400 bad-target "$url/logs/orders/records?offset=%31"
refused 400 unexpected-body -X GET -d x "$url/logs"
refused 400 unexpected-body -X DELETE -d x "$url/logs/orders"
for name in If-None-Match If-Unmodified-Since; do
    refused 400 unsupported-header -H "$name: \"1\"" -d x "$url/logs/orders"
done
for name in If-Match Idempotency-Key Producer-Id; do
    refused 400 unsupported-header -H "$name: \"1\"" -X DELETE "$url/logs/orders"
done

refused 404 path-not-found "$url/"
refused 404 path-not-found "$url/logs/orders/record"
refused 404 path-not-found "$url/a/b/c/d/e/f"
refused 404 log-not-found "$url/logs/none/stats"
refused 404 log-not-found "$url/logs/none/offsets"
refused 404 log-not-found "$url/logs/none/records"
refused 404 log-not-found "$url/logs/none/records/0"
refused 404 log-not-found -X DELETE "$url/logs/none"
refused 404 record-not-found "$url/logs/orders/records/1"
expect_member committed_offset 1

refused 405 method-not-allowed -X LINK "$url/logs/orders"
expect_header Allow 'GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS'
expect 200 -X OPTIONS "$url/logs/orders"
expect_header Allow 'GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS'
refused 405 method-not-allowed -X PUT "$url/logs/orders/offsets"
refused 405 method-not-allowed -X DELETE "$url/logs"
expect_header Allow 'GET, HEAD, OPTIONS'
refused 405 method-not-allowed -d x "$url/stats"

# One byte too many, announced or not, and with the client waiting to be asked for it.
head -c 1000 /dev/zero >"$work/fits"
head -c 1001 /dev/zero >"$work/large"
expect 200 --data-binary "@$work/fits" "$url/logs/orders"
refused 413 record-too-large --data-binary "@$work/large" "$url/logs/orders"
expect_member record_bytes_max 1000
refused 413 record-too-large -H 'Expect: 100-continue' --data-binary "@$work/large" \
    "$url/logs/orders"
! grep -q '100 Continue' "$work/headers" || die 'the body was asked for before it was refused'
refused 413 record-too-large -H 'Transfer-Encoding: chunked' --data-binary "@$work/large" \
    "$url/logs/orders"
refused 414 target-too-long "$url/logs?prefix=$(printf 'a%.0s' {1..1100})"

# As many headers as are read at all are answered too, on the longest path there is.
long=$url/logs/$(printf 'a%.0s' {1..128})
expect 200 -d x -H "A: $(head -c 5500 /dev/zero | tr '\0' a)" "$long"
refused 431 too-many-headers -d x -H "A: $(head -c 5900 /dev/zero | tr '\0' a)" "$long"
expect 431 -d x -H "A: $(head -c 60000 /dev/zero | tr '\0' a)" "$long"
many=()
for i in $(seq 59); do
    many+=(-H "H$i: 123456789012345678901234567")
done
expect 200 -d x "${many[@]}" "$long"
expect 431 -d x "${many[@]}" "${many[@]}" "$long"
for coding in br zstd deflate compress 'gzip, gzip' gzip2; do
    refused 415 unsupported-encoding -H "Content-Encoding: $coding" -d x "$url/logs/orders"
done
expect 200 -H 'Content-Encoding: identity' -d x "$url/logs/orders"

# A refusal leaves the connection usable: all of these go over one.
connections=$(curl -sS -o /dev/null -o /dev/null -o /dev/null -w '%{num_connects}' \
    -d x "$url/logs/-" "$url/nope" "$url/logs/orders")
[ "$connections" = 100 ] || die "connections per refused request: $connections"
stop

# What was trimmed away is gone for good, and the answer tells where to go on.
start
for i in 1 2 3 4; do
    expect 200 -d "record $i" "$url/logs/trimmed"
done
stop
"$helper" trim "$data" trimmed 2
start
refused 410 trimmed "$url/logs/trimmed/records/1"
expect_member first_offset 2
refused 410 trimmed "$url/logs/trimmed/records?offset=0"
expect 200 "$url/logs/trimmed/records"
expect_header Log-Next-Offset 4

# A record that the disk has changed is told of, never delivered; its neighbours are. The log takes
# no more appends.
for i in 1 2 3 4; do
    expect 200 -d "sound record $i" "$url/logs/damaged"
done
stop
segment=$(echo "$data"/logs/damaged/*)
place=$(grep -abo 'sound record 2' "$segment" | cut -d: -f1)
printf 'X' | dd of="$segment" bs=1 seek="$place" conv=notrunc status=none
start
expect 200 "$url/logs/damaged/records/0"
refused 500 record-damaged "$url/logs/damaged/records/1"
expect_member gap_end 2
grep -q 'event=record_damaged log=damaged ' "$work/log" || die 'the operator was not told'
expect 200 "$url/logs/damaged/records/2"
expect 200 "$url/logs/damaged/records"
expect_header Log-Next-Offset 1
refused 500 record-damaged "$url/logs/damaged/records?offset=1"
refused 503 log-damaged -d x "$url/logs/damaged"
grep -q 'wald repair' "$work/body" || die 'it is not said what helps'
[ -n "$(header Retry-After)" ] || die '503 without Retry-After'
expect 200 "$url/logs/damaged/stats"
expect_member state damaged
stop

# A disk that fails under a write: nobody can tell what became of it. Then the log takes no more,
# and still reads; other logs go on.
file_kib=64
start
head -c 100000 /dev/zero >"$work/large"
expect 200 -d small "$url/logs/filled"
refused 500 outcome-unknown --data-binary "@$work/large" "$url/logs/filled"
expect_member outcome unknown
grep -q 'event=append_failed log=filled ' "$work/log" || die 'the operator was not told'
refused 503 log-failed -d x "$url/logs/filled"
[ -n "$(header Retry-After)" ] || die '503 without Retry-After'
expect 200 "$url/logs/filled/records/0"
expect 404 "$url/logs/filled/records/1"
expect 200 "$url/logs/filled/stats"
expect_member state failed
expect 200 -d fine "$url/logs/other"
kill "$server_pid"
ended
[ "$ended_status" -eq 1 ] || die "exit status $ended_status although a log failed"
grep -q 'level=error event=stopped' "$work/log" || die 'it did not say so'
passed
