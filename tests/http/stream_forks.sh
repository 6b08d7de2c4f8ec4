#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Forks of streams: what they begin with, what becomes of their sources, and what a kill -9 leaves.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

from='Stream-Forked-From: /v1/stream'
text='Content-Type: text/plain'
json='Content-Type: application/json'
zero=0000000000000000_0000000000000000

# until_gone NAME: it is removed for good, sooner or later.
until_gone()
{
    local status
    for _ in $(seq 100); do
        request -I "$s/$1"
        [ "$status" != 404 ] || return 0
        [ "$status" = 410 ] || die "$1: $status"
        sleep 0.05
    done
    die "$1 is still there"
}

start
s=$url/v1/stream

# The prefix, and then its own way.
expect 201 -X PUT -H "$text" -d one "$s/src"
expect 204 -H "$text" -d two "$s/src"
middle=$(header Stream-Next-Offset)
expect 204 -H "$text" -d three "$s/src"
end=$(header Stream-Next-Offset)
expect 201 -X PUT -H "$from/src" "$s/all"
expect_header Content-Type text/plain
expect_header Stream-Next-Offset "$end"
expect_header Location "$s/all"
expect 201 -X PUT -H "$from/src" -H "Stream-Fork-Offset: $middle" -H "$text" -d more "$s/half"
expect 201 -X PUT -H "$from/src" -H "Stream-Fork-Offset: $zero" "$s/none"
expect_header Stream-Next-Offset "$zero"
expect 204 -H "$text" -d four "$s/src"
expect 200 "$s/all"
expect_body onetwothree
expect 200 "$s/half"
expect_body onetwomore
expect 200 "$s/half?offset=$middle"
expect_body more
expect 200 "$s/none"
expect_body ''
expect 200 "$url/logs/half"
expect_member forked_from src
expect 200 "$url/logs/half/records/1"
expect_body two

# Parts of a record, and messages.
expect 201 -X PUT -H "$from/src" -H "Stream-Fork-Offset: $middle" -H 'Stream-Fork-Sub-Offset: 2' -H 'Content-Type:' -d '!' "$s/part"
expect 200 "$s/part"
expect_body 'onetwoth!'
refused 400 bad-header -X PUT -H "$from/src" -H "Stream-Fork-Offset: $middle" -H 'Stream-Fork-Sub-Offset: 10' "$s/no"
grep -q 'has 9 bytes' "$work/body" || die "how many: $(cat "$work/body")"
expect 201 -X PUT -H "$json" -d '[1,[2],"3"]' "$s/json"
expect 201 -X PUT -H "$from/json" -H "Stream-Fork-Offset: $zero" -H 'Stream-Fork-Sub-Offset: 2' -H "$json" -d '[4]' "$s/messages"
expect 200 "$s/messages"
expect_body '[1,[2],4]'
refused 400 bad-json -X PUT -H "$from/json" -H 'Content-Type:' -d '{' "$s/no"

# As good as made, or not.
expect 200 -X PUT -H "$from/src" -H "Stream-Fork-Offset: $middle" "$s/half"
expect 200 -X PUT -H "$from/src" -H "$text" "$s/half"
refused 409 conflict -X PUT -H "$from/src" -H "Stream-Fork-Offset: $end" "$s/half"
refused 409 conflict -X PUT -H "$from/json" "$s/half"
refused 409 conflict -X PUT -H "$text" "$s/half"
refused 409 conflict -X PUT -H "$from/src" "$s/json"

# What cannot be had. None of it leaves anything behind.
refused 404 log-not-found -X PUT -H "$from/nothing" "$s/no"
refused 409 content-type -X PUT -H "$from/src" -H "$json" "$s/no"
for bad in 1 nonsense 9999999999999999_9999999999999999 0000000000000001_0000000000000001; do
    refused 400 bad-header -X PUT -H "$from/src" -H "Stream-Fork-Offset: $bad" "$s/no"
done
for bad in -1 05 1.5 x; do
    refused 400 bad-header -X PUT -H "$from/src" -H "Stream-Fork-Offset: $zero" -H "Stream-Fork-Sub-Offset: $bad" "$s/no"
done
refused 400 bad-header -X PUT -H "$from/src" -H 'Stream-Fork-Sub-Offset: 1' "$s/no"
refused 400 bad-header -X PUT -H "Stream-Fork-Offset: $zero" "$s/no"
refused 400 bad-header -X PUT -H 'Stream-Forked-From: src' "$s/no"
refused 400 bad-header -X PUT -H 'Stream-Forked-From: /logs/src' "$s/no"
expect 404 "$s/no"
expect 200 -d x "$url/logs/trimmed"
expect 200 -d x "$url/logs/trimmed"
expect 200 -X POST "$url/logs/trimmed/trim?before=1"
refused 410 trimmed -X PUT -H "$from/trimmed" "$s/no"

# A source that has ended is none; one that is closed is.
expect 204 -X POST -H 'Stream-Closed: true' "$s/json"
expect 201 -X PUT -H "$from/json" -H 'Stream-Closed: true' -H 'Stream-TTL: 3600' -H "$json" -d '[5]' "$s/closed"
expect_header Stream-Closed true
expect 201 -X PUT -H "$from/closed" "$s/inherits"
expect_header Stream-Closed ''
expect 200 -I "$s/inherits"
expect_header Stream-TTL 3600

# A source with forks is deleted softly, at both doors, and goes with the last of them.
expect 204 -X DELETE "$s/src"
refused 410 deleted "$s/src"
expect 410 -I "$s/src"
refused 410 deleted -H "$text" -d x "$s/src"
refused 410 deleted -X DELETE "$s/src"
refused 409 conflict -X PUT -H "$text" "$s/src"
refused 409 conflict -X PUT -H "$from/src" "$s/no"
refused 410 deleted "$url/logs/src"
refused 410 deleted -X PUT "$url/logs/src"
refused 410 deleted -X PATCH -d '{"quota":{"records":1}}' "$url/logs/src"
refused 410 deleted -d x "$url/logs/src"
refused 410 deleted -X DELETE "$url/logs/src"
refused 410 deleted "$url/logs/src/offsets"
refused 410 deleted "$url/logs/src/records"
refused 410 deleted "$url/logs/src/records/0"
refused 410 deleted "$url/logs/src/stats"
refused 410 deleted -X POST "$url/logs/src/sync"
refused 410 deleted -X POST "$url/logs/src/trim?before=1"
expect 201 -X PUT -H "$from/all" "$s/grandchild"
expect 204 -X DELETE "$s/all"
expect 410 -I "$s/all"
for name in half none part; do
    expect 204 -X DELETE "$url/logs/$name"
done
expect 410 -I "$s/src" # all is still there for grandchild
stop
start
s=$url/v1/stream
expect 410 -I "$s/src"
expect 200 "$s/grandchild"
expect_body onetwothree
expect 204 -X DELETE "$s/grandchild"
until_gone all
until_gone src
expect 201 -X PUT -H "$json" "$s/src"
expect 204 -X DELETE "$s/src"
expect 404 -I "$s/src"

# kill -9 in the middle: the fork is there whole or not at all, its source is untouched, and the same
# request makes it then. Three MiB take several commits.
head -c 2359296 /dev/urandom | base64 -w 0 >"$work/content"
expect 201 -X PUT -H "$text" "$s/large"
for i in 0 1 2 3 4 5; do
    head -c $(((i + 1) * 524288)) "$work/content" | tail -c 524288 >"$work/part"
    expect 204 -H "$text" --data-binary "@$work/part" "$s/large"
done

# whole NAME BYTES: it has these, and they are the source's and then "!".
whole()
{
    local next=-1
    : >"$work/all"
    for _ in 1 2 3 4 5 6 7 8; do
        curl -sS --max-time 60 -o "$work/chunk" -D "$work/headers" "$s/$1?offset=$next"
        cat "$work/chunk" >>"$work/all"
        next=$(header Stream-Next-Offset)
        [ "$(header Stream-Up-To-Date)" != true ] || break
    done
    cmp -s "$work/all" <(cat "$work/content" && printf '!') || die "$1: not its content"
}

made=0 unmade=0
for round in $(seq 30); do
    curl -s --max-time 60 -o "$work/answer" -w '%{http_code}' -X PUT -H "$from/large" -H "$text" \
        -d '!' "$s/copy" >"$work/status" 2>/dev/null &
    client=$!
    # The time it takes is not known: the rounds find the middle of it by themselves.
    sleep "$(awk -v made="$made" -v unmade="$unmade" -v round="$round" \
        'BEGIN { srand(round); print (0.01 + rand() * 0.03) * (1 + unmade) / (1 + made) }')"
    kill -KILL "$server_pid"
    ended 2>/dev/null # the shell would tell of each
    wait "$client" || true
    start
    s=$url/v1/stream
    status=$(curl -s -o /dev/null -w '%{http_code}' "$s/copy")
    case $status in
    200) made=$((made + 1)) ;;
    404)
        unmade=$((unmade + 1))
        [ "$(cat "$work/status")" != 201 ] || die 'a fork was acknowledged and is gone'
        expect 201 -X PUT -H "$from/large" -H "$text" -d '!' "$s/copy"
        ;;
    *) die "the fork after a kill: $status" ;;
    esac
    whole copy
    expect 200 -I "$s/large"
    expect_header Stream-Next-Offset 0000000000000006_0000000003145728
    expect 204 -X DELETE "$s/copy"
done
echo "made $made times, unmade $unmade times"
[ "$unmade" -gt 0 ] || die 'no kill came in the middle'

# None of the forks that are gone holds the source, and nothing is left of those that came to nothing.
expect 204 -X DELETE "$s/large"
expect 404 -I "$s/large"
for name in closed inherits json messages trimmed; do
    expect 204 -X DELETE "$url/logs/$name"
done
for _ in $(seq 200); do
    expect 200 "$url/logs"
    [ "$(jq '.logs | length' "$work/body")" -gt 0 ] || break
    sleep 0.05
done
expect_body '{"logs":[]}'
stop
passed
