#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Records that are damaged on the disk are a gap that every reader is told of, in each form and at both
# doors: what is intact before it and behind it is served, nobody gets a wrong byte, and everybody is
# told where to go on.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

# hurt LOG TEXT: changes a byte of the record with this text.
hurt()
{
    local segment place
    segment=$(echo "$data/logs/$1"/*.seg)
    place=$(grep -abo "$2" "$segment" | head -n 1 | cut -d: -f1)
    printf 'X' | dd of="$segment" bs=1 seek="$((place + 3))" conv=notrunc status=none
}


start
expect 201 -X PUT -H 'Content-Type: text/plain' "$url/v1/stream/texts"
expect 201 -X PUT -H 'Content-Type: application/json' "$url/v1/stream/messages"
expect 201 -X PUT -H 'Content-Type: application/octet-stream' "$url/v1/stream/bytes"
for log in texts messages bytes; do
    expect 200 -H 'Content-Type: text/plain' -d '"record zero"' "$url/logs/$log"
    # Two records of one append: each has a checksum of its own.
    printf '"record one"\n"record two"\n' >"$work/lines"
    expect 200 -H 'Content-Type: application/x-ndjson' --data-binary "@$work/lines" "$url/logs/$log"
    expect 200 -H 'Content-Type: text/plain' -d '"record three"' "$url/logs/$log"
done
stop
for log in texts messages bytes; do
    hurt "$log" 'record one'
    hurt "$log" 'record two'
done
start

# /logs: pages end before it, and begin behind it.
for form in application/x-ndjson application/json application/octet-stream; do
    expect 200 -H "Accept: $form" "$url/logs/texts/records"
    expect_header Log-Next-Offset 1
    grep -aq 'record zero' "$work/body" || die "$form: $(cat "$work/body")"
    for offset in 1 2; do
        refused 500 record-damaged -H "Accept: $form" "$url/logs/texts/records?offset=$offset"
        expect_member gap_end $((offset + 1))
        expect_header Log-Next-Offset $((offset + 1))
    done
    expect 200 -H "Accept: $form" "$url/logs/texts/records?offset=3"
    grep -aq 'record three' "$work/body" || die "$form: $(cat "$work/body")"
    expect_header Log-Next-Offset 4
done
# One record, and a part of one.
refused 500 record-damaged "$url/logs/texts/records/1"
expect_header Log-Next-Offset 2
refused 500 record-damaged -H 'Range: bytes=0-1' "$url/logs/texts/records/1"
[ -z "$(header ETag)" ] || die 'an entity tag of what is not there'
expect 500 -I "$url/logs/texts/records/1"
expect 200 "$url/logs/texts/records/3"
expect_body '"record three"'
# Events.
expect 200 -H 'Accept: text/event-stream' "$url/logs/texts/records?limit=2"
[ "$(grep -c '^event: gap$' "$work/body")" -eq 2 ] || die "the gap: $(cat "$work/body")"
grep -A 2 '^event: gap$' "$work/body" | grep -q '^data: {"begin":1,"end":2}$' || die "$(cat "$work/body")"
grep -q 'record three' "$work/body" || die "$(cat "$work/body")"
! grep -q 'record two\|record one' "$work/body" || die "a damaged record: $(cat "$work/body")"

# /v1/stream: the same, with positions that are followed to the end.
# walk STREAM ARGUMENT...: reads on from each Stream-Next-Offset; what was served is in $work/served.
walk()
{
    local next=-1 gaps=0
    : >"$work/served"
    for _ in 1 2 3 4 5 6; do
        request "${@:2}" "$url/v1/stream/$1?offset=$next"
        if [ "$status" = 200 ]; then
            cat "$work/body" >>"$work/served"
        else
            [ "$status" = 500 ] || die "$1 at $next: $status $(cat "$work/body")"
            expect_problem record-damaged
            gaps=$((gaps + 1))
        fi
        next=$(header Stream-Next-Offset)
        [ -n "$next" ] || die "no Stream-Next-Offset: $status $(cat "$work/body")"
        [ "$(header Stream-Up-To-Date)" != true ] || break
    done
    [ "$gaps" -eq 2 ] || die "$1: $gaps gaps were told"
}
walk texts
[ "$(cat "$work/served")" = '"record zero""record three"' ] || die "$(cat "$work/served")"
walk bytes
[ "$(cat "$work/served")" = '"record zero""record three"' ] || die "$(cat "$work/served")"
walk messages
[ "$(jq -c . "$work/served" | xargs -d '\n')" = '["record zero"] ["record three"]' ] ||
    die "$(cat "$work/served")"
# Live: what there is, and then why it does not go on, before the stream begins.
first=$(printf '%016d_%016d' 1 13)
refused 500 record-damaged "$url/v1/stream/texts?offset=$first&live=long-poll"
expect_header Stream-Next-Offset "$(printf '%016d_%016d' 2 25)"
refused 500 record-damaged "$url/v1/stream/texts?offset=$first&live=sse"
expect_header Stream-Next-Offset "$(printf '%016d_%016d' 2 25)"
for stream in texts messages bytes; do
    expect 200 "$url/v1/stream/$stream?offset=-1&live=sse"
    grep -q "\"streamNextOffset\":\"$first\"" "$work/body" || die "$stream: $(cat "$work/body")"
    ! grep -q 'record t' "$work/body" || die "$stream: $(cat "$work/body")"
done
refused 500 record-damaged -X PUT -H 'Stream-Forked-From: /v1/stream/texts' "$url/v1/stream/fork"

# It is told, and counted.
grep -q 'event=record_damaged log=texts ' "$work/log" || die 'the operator was not told'
expect 200 "$url/logs/texts/stats"
expect_member state damaged
expect 200 "$url/stats"
[ "$(jq -r '.refusals."record-damaged"' "$work/body")" -gt 10 ] || die "$(cat "$work/body")"
expect 200 "$url/readyz?verbose"
expect_check logs '3 damaged'
stop
passed
