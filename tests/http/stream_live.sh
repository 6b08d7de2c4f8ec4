#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Long polls at the second door: they end with what has come, with the close of the stream, with their
# time, and with the service.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start --long-poll-timeout 300ms
s=$url/v1/stream
text='Content-Type: text/plain'
zero=0000000000000000_0000000000000000
expect 201 -X PUT -H "$text" "$s/l"

# later NAME QUERY: a long poll in the background.
later()
{
    curl -sS --max-time 60 -D "$work/$1.headers" -o "$work/$1.body" -w '%{http_code}' \
        "$s/l?live=long-poll&offset=$2" >"$work/$1.status" &
    clients="${clients-} $!"
}

# waiting COUNT: so many wait.
waiting()
{
    until_stats requests_in_progress $(($1 + 1))
}

# answered NAME STATUS: it becomes the last answer.
answered()
{
    cp "$work/$1.headers" "$work/headers"
    cp "$work/$1.body" "$work/body" 2>/dev/null || : >"$work/body"
    [ "$(cat "$work/$1.status")" = "$2" ] || die "$1: $(cat "$work/$1.status"), wanted $2"
}

# Nothing comes in time.
for offset in "$zero" -1 now; do
    expect 204 "$s/l?offset=$offset&live=long-poll"
    expect_header Stream-Next-Offset "$zero"
    expect_header Stream-Up-To-Date true
    expect_header Stream-Closed ''
done
cursor=$(header Stream-Cursor)
[ "$cursor" -gt 3000000 ] || die "cursor $cursor"

# A cursor only goes on, so that no cache answers twice with the same.
expect 204 "$s/l?offset=now&live=long-poll&cursor=$cursor"
[ "$(header Stream-Cursor)" -gt "$cursor" ] || die 'the cursor did not move'
expect 204 "$s/l?offset=now&live=long-poll&cursor=9007199254740000"
[ "$(header Stream-Cursor)" -gt 9007199254740000 ] || die 'the cursor did not move'
for odd in x -1 '' 99999999999999999999 1.5; do
    expect 204 "$s/l?offset=now&live=long-poll&cursor=$odd"
    [ "$(header Stream-Cursor)" -lt 9000000 ] || die "cursor $odd: $(header Stream-Cursor)"
done
stop

start
s=$url/v1/stream

# What is there comes at once.
expect 204 -H "$text" -d one "$s/l"
expect 200 --max-time 20 "$s/l?offset=$zero&live=long-poll"
expect_body one
expect_header Stream-Up-To-Date true
[ -n "$(header Stream-Cursor)" ] || die 'no cursor'

# What comes, comes to all who wait for it; the beginning, the end and now are places to wait at.
later a 0000000000000001_0000000000000003
later b now
waiting 2
expect 204 -H "$text" -d two "$s/l"
all_answered
for name in a b; do
    answered "$name" 200
    expect_body two
    expect_header Stream-Next-Offset 0000000000000002_0000000000000006
    expect_header Stream-Up-To-Date true
done

# The last append with its close: first what it brought, and the close with it.
later c now
waiting 1
expect 204 -H "$text" -H 'Stream-Closed: true' -d three "$s/l"
all_answered
answered c 200
expect_body three
expect_header Stream-Closed true

# Nothing more will come: at once.
expect 204 --max-time 20 "$s/l?offset=now&live=long-poll"
expect_header Stream-Closed true
expect_header Stream-Up-To-Date true
expect_header Stream-Next-Offset 0000000000000003_0000000000000011
expect 200 --max-time 20 "$s/l?offset=0000000000000002_0000000000000006&live=long-poll"
expect_body three
expect_header Stream-Closed true

# A close alone ends the waiting at this door, but not at the other.
expect 204 -X DELETE "$s/l"
expect 201 -X PUT -H "$text" "$s/l"
later d now
curl -sS --max-time 60 -o /dev/null -w '%{http_code}' "$url/logs/l/records?offset=0&wait=2s" \
    >"$work/native" &
native=$!
waiting 2
expect 204 -X POST -H 'Stream-Closed: true' "$s/l"
all_answered
answered d 204
expect_header Stream-Closed true
expect_header Stream-Next-Offset "$zero"
wait "$native"
[ "$(cat "$work/native")" = 200 ] || die "at the other door: $(cat "$work/native")"

# The end of the stream, and that of the service.
expect 201 -X PUT -H "$text" "$s/gone"
expect 204 -X DELETE "$s/l"
expect 201 -X PUT -H "$text" "$s/l"
later e now
waiting 1
expect 204 -X DELETE "$s/l"
all_answered
answered e 404
expect 201 -X PUT -H "$text" "$s/l"
later f now
waiting 1
stop
all_answered
answered f 204
expect_header Stream-Up-To-Date true
passed
