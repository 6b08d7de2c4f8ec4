#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Many records in one request, and compressed bodies: what comes back is what was sent, byte for
# byte; what is too much, broken or empty is refused and leaves nothing behind.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

ndjson='Content-Type: application/x-ndjson'
gzip='Content-Encoding: gzip'

# ends_at LOG OFFSET
ends_at()
{
    expect 200 "$url/logs/$1/offsets"
    expect_member next_offset "$2"
    expect_member committed_offset "$2"
}

start

# Lines of every kind: long and short, of bytes that no parser would take, with CR at their ends.
mkdir "$work/lines"
for i in $(seq 0 40); do
    head -c $((i * i * 37 + 1)) /dev/urandom | tr '\n' 'n' >"$work/lines/$i"
done
printf '{"a": [1, 2}, "\\u00' >"$work/lines/1"
printf 'with CR\r' >"$work/lines/2"
printf ' ' >"$work/lines/3"
printf '\r' >"$work/lines/4"
for i in $(seq 0 40); do
    cat "$work/lines/$i" - <<<'' # a line ends with LF, and an empty one now and then follows
    [ $((i % 5)) -ne 0 ] || echo
done >"$work/batch"
bytes=$(for i in $(seq 0 40); do cat "$work/lines/$i"; done | wc -c)

# comes_back LOG FIRST: each line is the record of its offset.
comes_back()
{
    for i in $(seq 0 40); do
        expect 200 "$url/logs/$1/records/$(($2 + i))"
        cmp -s "$work/lines/$i" "$work/body" || die "line $i of $1 came back changed"
    done
}

expect 200 -H "$ndjson" --data-binary "@$work/batch" "$url/logs/lines"
expect_body '{"log":"lines","offset":0,"count":41,"next_offset":41,"committed_offset":41,'\
'"durability":"committed","bytes":'"$bytes"'}'
expect_header Location /logs/lines/records/0
comes_back lines 0

# The last line feed may be missing; parameters of the media type are free; chunks are fine.
head -c -1 "$work/batch" >"$work/cut"
expect 200 -H "Content-Type: Application/X-NDJSON; charset=utf-8" -H 'Transfer-Encoding: chunked' \
    --data-binary "@$work/cut" "$url/logs/lines"
expect_member count 41
comes_back lines 41

# The same in gzip, by either name, in one member or in two; and one record in gzip.
gzip -c "$work/batch" >"$work/batch.gz"
expect 200 -H "$ndjson" -H "$gzip" --data-binary "@$work/batch.gz" "$url/logs/packed"
expect_member bytes "$bytes"
comes_back packed 0
{ head -n 9 "$work/batch" | gzip -c1 && tail -n +10 "$work/batch" | gzip -c9; } >"$work/two.gz"
expect 200 -H "$ndjson" -H 'Content-Encoding: X-GZIP' --data-binary "@$work/two.gz" \
    "$url/logs/packed"
comes_back packed 41
head -c 1048576 /dev/urandom >"$work/random"
gzip -c "$work/random" >"$work/random.gz"
[ "$(stat -c %s "$work/random.gz")" -gt 1048576 ] || die 'this should not compress'
expect 200 -H "$gzip" --data-binary "@$work/random.gz" "$url/logs/packed"
expect_member bytes 1048576
expect 200 "$url/logs/packed/records/82"
cmp -s "$work/random" "$work/body" || die 'a record in gzip came back changed'
ends_at lines 82
ends_at packed 83

# A batch is one frame: as many records as fit, and the largest body there is.
printf 'x\n%.0s' {1..65536} >"$work/many"
expect 200 -H "$ndjson" --data-binary "@$work/many" "$url/logs/many"
expect_member count 65536
expect_member next_offset 65536
echo x >>"$work/many"
refused 413 batch-too-large -H "$ndjson" --data-binary "@$work/many" "$url/logs/many"
expect_member batch_records_max 65536
gzip -c "$work/many" >"$work/many.gz"
refused 413 batch-too-large -H "$ndjson" -H "$gzip" --data-binary "@$work/many.gz" "$url/logs/many"
head -c 1048575 "$work/random" | tr '\n' 'n' >"$work/line"
for i in $(seq 16); do
    cat "$work/line"
    echo
done >"$work/large"
[ "$(stat -c %s "$work/large")" -eq 16777216 ] || die 'not 16 MiB'
expect 200 -H "$ndjson" --data-binary "@$work/large" "$url/logs/many"
expect_member count 16
expect 200 "$url/logs/many/records/65551"
cmp -s "$work/line" "$work/body" || die 'the last line of 16 MiB came back changed'
echo >>"$work/large"
refused 413 batch-too-large -H "$ndjson" --data-binary "@$work/large" "$url/logs/many"
expect_member batch_bytes_max 16777216
refused 413 batch-too-large -H "$ndjson" -H 'Expect: 100-continue' --data-binary "@$work/large" \
    "$url/logs/many"
! grep -q '100 Continue' "$work/headers" || die 'the body was asked for before it was refused'
gzip -c1 "$work/large" >"$work/large.gz"
refused 413 batch-too-large -H "$ndjson" -H "$gzip" --data-binary "@$work/large.gz" \
    "$url/logs/many"
ends_at many 65552

# One line too long refuses all of them, also the ones before it.
{ echo short && head -c 1048577 /dev/zero | tr '\0' x && echo && echo short; } >"$work/long"
refused 413 record-too-large -H "$ndjson" --data-binary "@$work/long" "$url/logs/lines"
expect_member record_bytes_max 1048576

# Bombs: 256 MiB in a quarter of one, as one record and as lines, and the smallest thing that is too
# large. None costs the memory it claims.
head -c 268435456 /dev/zero | gzip -c9 >"$work/bomb.gz"
head -c 1048577 /dev/zero | gzip -c9 >"$work/small.gz"
peak_before=$(awk '/^VmHWM/ { print $2 }' "/proc/$server_pid/status")
for name in bomb small; do
    refused 413 record-too-large -H "$gzip" -H 'Expect:' --data-binary "@$work/$name.gz" \
        "$url/logs/lines"
done
head -c 268435456 /dev/zero | tr '\0' '\n' | gzip -c9 >"$work/feeds.gz"
refused 413 batch-too-large -H "$ndjson" -H "$gzip" --data-binary "@$work/feeds.gz" \
    "$url/logs/lines"
peak=$(awk '/^VmHWM/ { print $2 }' "/proc/$server_pid/status")
[ $((peak - peak_before)) -lt 65536 ] || die "bombs took $((peak - peak_before)) KiB"

# Broken: cut off, damaged, with something behind it, not gzip at all, gzip twice.
head -c -1 "$work/batch.gz" >"$work/broken.1"
head -c 100 "$work/batch.gz" >"$work/broken.2"
{ head -c 200 "$work/batch.gz" && printf 'XXXX' && tail -c +205 "$work/batch.gz"; } \
    >"$work/broken.3"
{ cat "$work/batch.gz" && echo; } >"$work/broken.4"
{ cat "$work/batch.gz" && head -c 30 "$work/batch.gz"; } >"$work/broken.5"
echo plain >"$work/broken.6"
printf '\037' >"$work/broken.7"
for i in $(seq 7); do
    refused 400 bad-encoding -H "$gzip" --data-binary "@$work/broken.$i" "$url/logs/lines"
    refused 400 bad-encoding -H "$ndjson" -H "$gzip" --data-binary "@$work/broken.$i" \
        "$url/logs/lines"
done

# Nothing in it: no bytes, no bytes in gzip, and lines of no bytes.
refused 400 empty-record -H "$ndjson" -X POST "$url/logs/lines"
refused 400 empty-record -H "$gzip" -X POST "$url/logs/lines"
gzip -c </dev/null >"$work/nothing.gz"
refused 400 empty-record -H "$gzip" --data-binary "@$work/nothing.gz" "$url/logs/lines"
printf '\n\n\n' >"$work/feeds"
refused 400 empty-record -H "$ndjson" --data-binary "@$work/feeds" "$url/logs/lines"
gzip -c "$work/feeds" >"$work/feeds.gz"
refused 400 empty-record -H "$ndjson" -H "$gzip" --data-binary "@$work/feeds.gz" "$url/logs/lines"

# No refusal left anything, nor made a log.
ends_at lines 82
refused 413 record-too-large -H "$gzip" --data-binary "@$work/small.gz" "$url/logs/none"
refused 400 bad-encoding -H "$gzip" --data-binary "@$work/broken.1" "$url/logs/none"
refused 400 empty-record -H "$ndjson" --data-binary "@$work/feeds" "$url/logs/none"
expect 404 "$url/logs/none/offsets"

# And a restart keeps what was there.
stop
start
comes_back lines 41
comes_back packed 0
stop
passed
