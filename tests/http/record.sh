#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# One record: its headers, a part of it, and conditions on it.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start
expect 200 -d first "$url/logs/ranges"
expect 200 -d 0123456789 "$url/logs/ranges"
record=$url/logs/ranges/records/1

expect 200 "$record"
expect_body 0123456789
expect_header Content-Type application/octet-stream
expect_header Content-Length 10
expect_header Accept-Ranges bytes
expect_header Cache-Control 'private, no-cache'
expect_header Content-Range ''
tag=$(header ETag)
stamp=$(header Log-Timestamp)
expect 200 "$url/logs/ranges/records?offset=1"
expect_member timestamp "$stamp"

# part RANGE BODY CONTENT-RANGE [ARGUMENT...]
part()
{
    expect 206 -H "Range: $1" "${@:4}" "$record"
    expect_body "$2"
    expect_header Content-Range "bytes $3"
    expect_header Content-Length "${#2}"
    expect_header ETag "$tag"
    expect_header Log-Timestamp "$stamp"
    expect_header Cache-Control 'private, no-cache'
}
# whole ARGUMENT...
whole()
{
    expect 200 "$@" "$record"
    expect_body 0123456789
    expect_header Content-Range ''
}
part bytes=0-0 0 0-0/10
part bytes=2-4 234 2-4/10
part bytes=7- 789 7-9/10
part bytes=7-99999999999999999999 789 7-9/10
part bytes=-2 89 8-9/10
part bytes=-99 0123456789 0-9/10
for range in bytes=10- bytes=10-20 bytes=-0 bytes=99999999999999999999-; do
    expect 416 -H "Range: $range" "$record"
    expect_problem range-not-satisfiable
    expect_header Content-Range 'bytes */10'
    expect_member bytes 10
done
for range in bytes=4-2 bytes=a-b bytes=5 bytes= items=0-1 bytes=0-1,4-5; do
    whole -H "Range: $range"
done

# A part of the record that the client has begun with, or the whole of another.
part bytes=2-4 234 2-4/10 -H "If-Range: $tag"
whole -H 'Range: bytes=2-4' -H 'If-Range: "other"'
whole -H 'Range: bytes=2-4' -H "If-Range: W/$tag"
whole -H 'Range: bytes=10-' -H 'If-Range: "other"'
whole -H 'Range: bytes=2-4' -H 'If-Range: Sun, 22 Nov 2026 10:00:00 GMT'
whole -H "If-Range: $tag"

# HEAD knows no ranges.
expect 200 -I -H 'Range: bytes=2-4' "$record"
expect_header Content-Length 10

# The client has it: weak tags and lists count, what only looks like the tag does not.
for list in "$tag" "W/$tag" "\"a\", $tag" "\"a\",W/$tag , \"b\"" '*'; do
    expect 304 -H "If-None-Match: $list" "$record"
    [ ! -s "$work/body" ] || die 'a body with 304'
    expect_header ETag "$tag"
    expect_header Cache-Control 'private, no-cache'
done
for list in '"a"' "\"a$tag\"" "\"a, $tag" "a $tag" "${tag%\"}0\"" "${tag//\"/}"; do
    whole -H "If-None-Match: $list"
done
expect 304 -H "If-None-Match: $tag" -H 'Range: bytes=2-4' "$record"
expect 304 -H "If-None-Match: $tag" -H 'Range: bytes=10-' "$record"
expect 304 -I -H "If-None-Match: $tag" "$record"

# The client wants exactly this one: weak tags do not count.
for list in "$tag" "\"a\", $tag" '*'; do
    whole -H "If-Match: $list"
done
for list in '"a"' "W/$tag" "a $tag"; do
    expect 412 -H "If-Match: $list" "$record"
    expect_problem precondition-failed
    expect_header ETag "$tag"
done
expect 412 -H 'If-Match: "a"' -H "If-None-Match: $tag" "$record"
expect 304 -H "If-Match: $tag" -H "If-None-Match: $tag" "$record"
part bytes=2-4 234 2-4/10 -H "If-Match: $tag" -H 'If-None-Match: "a"'
whole -H 'If-Unmodified-Since: Sun, 22 Nov 1998 10:00:00 GMT'

# Conditions say nothing about what is not there.
expect 404 -H 'If-Match: "a"' "$url/logs/ranges/records/2"
expect_problem record-not-found
expect 404 -H 'If-None-Match: *' -H 'Range: bytes=0-0' "$url/logs/none/records/0"
expect_problem log-not-found

# Binary, in parts: put together they are the whole.
head -c 100000 /dev/urandom >"$work/sent"
expect 200 --data-binary "@$work/sent" "$url/logs/binary"
: >"$work/together"
for begin in $(seq 0 7777 99999); do
    expect 206 -H "Range: bytes=$begin-$((begin + 7776))" "$url/logs/binary/records/0"
    cat "$work/body" >>"$work/together"
done
cmp -s "$work/sent" "$work/together" || die 'the parts are not the whole'
stop
passed
