#!/bin/bash
# shellcheck disable=SC2119 # start, serve and stop take arguments of their own
# What is appended is there byte for byte, and the receipt says where.
# shellcheck source=tests/cli/lib.sh
. "${0%/*}/lib.sh" "$@"
serve --max-record-bytes 16MiB

# One record: stdin, a file, files; its newline is part of it.
echo hello | prints '0\n' append whole
printf 'a\0b\n\n\377' >"$work/binary"
prints '1\n' append whole "$work/binary"
prints '2..3\n' append whole "$work/binary" - <<<'from stdin'
wald read whole --offset 1 --limit 1 -s none >"$work/back"
same "$work/binary" "$work/back" 'a binary record came back changed'
head -c 16777216 /dev/urandom >"$work/large"
prints '4\n' append whole "$work/large"
wald read whole --last 1 -s none >"$work/back"
same "$work/large" "$work/back" 'a record of 16 MiB came back changed'

# Lines, whatever is in them: what is no UTF-8, a CR, a NUL; empty ones are none, the last needs no end.
printf 'one\n\n\377\376\r\nwith\0nul\n\nlast' >"$work/lines"
prints '0..3\n' append lines --lines "$work/lines"
prints 'one\n\377\376\r\nwith\0nul\nlast\n' read lines
prints '4..7\n' append lines -l - <"$work/lines"
prints '8..15\n' append lines -l "$work/lines" "$work/lines"
grep -q 'appended 8 records, 36 B' "$work/errors" || die "no summary: $(cat "$work/errors")"
prints '16..19\n' append lines -l -q "$work/lines"
[ ! -s "$work/errors" ] || die "not quiet: $(cat "$work/errors")"
prints '' append lines --lines </dev/null
printf 'x\ny\n' | wald append lines --lines --json |
    grep -q '^{"log":"lines","offset":20,"count":2,' || die 'no receipt'

# Lines of 16 MiB, and a batch that is larger than the service takes: it is sent in parts.
{
    head -c 16000000 /dev/zero | tr '\0' 'z'
    echo
    seq 100000
} >"$work/lines"
prints '0..100000\n' append long --lines "$work/lines"
wald read long >"$work/back"
same "$work/lines" "$work/back" 'long lines came back changed'
stop
serve --max-batch-bytes 1000 --max-record-bytes 500
seq 5000 >"$work/lines"
prints '0..4999\n' append parts --lines "$work/lines"
wald read parts >"$work/back"
same "$work/lines" "$work/back" 'lines in parts came back changed'

# What is refused: why, and what was appended before is there.
fails 65 'is empty, and a record has at least one byte' append whole /dev/null
fails 74 'cannot be opened: No such file' append whole "$work/none"
fails 74 'cannot be read: Is a directory' append whole "$work"
fails 74 'cannot be read: Is a directory' append whole --lines "$work"
rm "$work/large"
truncate -s 16777217 "$work/large"
fails 65 'is larger than 16777216 bytes' append whole "$work/large"
fails 65 'Line 1 of .* is longer than 16777216 bytes' append whole --lines "$work/large"
fails 1 'at most 500 bytes here.* (413 record-too-large)' append whole "$work/lines"
{
    seq 3
    head -c 501 /dev/zero | tr '\0' 'z'
} >"$work/bad"
fails 1 'The append of lines 1 to 4 to bad was refused: .*(413 record-too-large)' \
    append bad --lines "$work/bad"
fails 1 'was refused: There is no .* (404 log-not-found)' read bad
stop

# A service that cannot do it now is asked again, until the time is up; and when it can, it is there
# once, although nobody knew what had become of the first attempt.
file_kib=64
serve
echo small | wald append failing >/dev/null
head -c 100000 /dev/zero | tr '\0' 'z' >"$work/large"
fails 75 '(500 outcome-unknown) An attempt before .* may have been done' \
    append failing --retry-for 300ms "$work/large"
grep -q 'status 500; trying again' "$work/errors" || die "not tried again: $(cat "$work/errors")"
"$wald" append failing "$work/large" >"$work/late" 2>"$work/late.errors" &
late=$!
for _ in $(seq 200); do
    ! grep -q 'trying again' "$work/late.errors" || break
    sleep 0.05
done
kill_service
file_kib=unlimited
serve
wait "$late" || die "the late append: $(cat "$work/late.errors")"
[ "$("$wald" read failing | grep -c '^zzz')" -le 2 ] || die 'an append was doubled'
[ "$(wald tail failing -n 1 | wc -c)" -eq 100001 ] || die 'the late append is not there'
stop
serve --auto-create off
fails 1 '(404 log-not-found)' append new "$work/lines"
stop

# Producers: a later process takes over from an earlier one.
serve
mkfifo "$work/pipe"
"$wald" append shop --lines --producer till-1 <"$work/pipe" >"$work/first" 2>"$work/first.errors" &
first=$!
exec 8>"$work/pipe"
echo one >&8
for _ in $(seq 200); do
    expect 200 "$url/stats"
    [ "$("$wald" read shop 2>/dev/null)" != one ] || break
    sleep 0.05
done
prints '1\n' append shop --lines --producer till-1 <<<two
echo three >&8
exec 8>&-
first_status=0
wait "$first" || first_status=$?
[ "$first_status" -eq 1 ] || die "the older producer: exit status $first_status"
grep -q '(403 stale-epoch)' "$work/first.errors" || die "$(cat "$work/first.errors")"
prints 'one\ntwo\n' read shop

# As lines arrive: each is durable while the next is not there yet.
"$wald" append slowly --lines <"$work/pipe" >"$work/slow" 2>"$work/slow.errors" &
first=$!
exec 8>"$work/pipe"
for i in 1 2 3; do
    echo "line $i" >&8
    for _ in $(seq 200); do
        [ "$("$wald" tail slowly -n 1 2>/dev/null)" != "line $i" ] || continue 2
        sleep 0.05
    done
    die "line $i did not arrive"
done
exec 8>&-
wait "$first"
[ "$(cat "$work/slow")" = 0..2 ] || die "receipt: $(cat "$work/slow")"

# Answers that are lost do not double anything.
lossy
seq 3000 >"$work/lines"
prints '0..2999\n' append lossy --lines "$work/lines"
for i in $(seq 20); do
    echo "$i" | wald append lossy >/dev/null
done
seq 20 | wald append lossy --lines --producer p >/dev/null
WALD_URL=$url wald read lossy -s none >"$work/back"
{
    tr -d '\n' <"$work/lines"
    seq 20
    seq 20 | tr -d '\n'
} >"$work/wanted"
same "$work/wanted" "$work/back" 'not every line exactly once'
stop
passed
