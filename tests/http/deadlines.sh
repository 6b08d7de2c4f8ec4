#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Clients that do not go on are cut off: whatever they have to do next, it has to be done in time as
# a whole. A byte now and then does not help them. Who waits for the disk is not cut off.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

connect()
{
    exec 7<>"/dev/tcp/127.0.0.1/$port"
}

# drip TEXT: sends a byte of it every fifth of a second, until the other side has had enough. Never
# silent for as long as any time-out here.
drip()
{
    (
        trap '' PIPE
        for ((i = 0; i < ${#1}; i++)); do
            printf '%s' "${1:i:1}" >&7 || exit 0
            sleep 0.2
        done
    ) 2>/dev/null &
    dripping=$!
}

# all_said: what the other side sends until it closes, which it has to do by itself.
all_said()
{
    timeout 60 cat <&7 >"$work/said" 2>/dev/null || [ $? -ne 124 ] || die "$1: it stays open"
    exec 7>&-
    if [ -n "${dripping-}" ]; then
        kill "$dripping" 2>/dev/null || true
        wait "$dripping" || true
        dripping=''
    fi
}

# expect_late WHAT: 408, a problem document that says what to do, and the end.
expect_late()
{
    all_said "$1"
    tr -d '\r' <"$work/said" >"$work/headers"
    sed '1,/^$/d' "$work/headers" >"$work/body"
    head -n 1 "$work/headers" | grep -qx 'HTTP/1.1 408 Request Timeout' ||
        die "$1: $(cat "$work/said")"
    expect_problem timeout
    expect_header Connection close
    expect_header Content-Length "$(sed '1,/^\r$/d' "$work/said" | wc -c)"
    [ -n "$(header Date)" ] || die "$1: no Date"
}

host='Host: localhost\r\n'
long=$(printf 'a%.0s' {1..200})

start --header-timeout 1s --body-timeout 1s --idle-timeout 1h
connect
expect_late 'a silent connection'
connect
drip "GET /$long"
expect_late 'a request line that never ends'
connect
printf 'GET /livez HTTP/1.1\r\nHost: localhost\r\nA: ' >&7
drip "$long"
expect_late 'a header that never ends'
connect
printf 'GET /livez HTTP/1.1\r\n%b\r\nGET /livez HTTP/1.1\r\nA: ' "$host" >&7
all_said 'a second head that never ends'
grep -q '^HTTP/1.1 200' "$work/said" || die "the first of two: $(cat "$work/said")"
grep -q '^HTTP/1.1 408' "$work/said" || die "the second of two: $(cat "$work/said")"

# A length that is a lie, and chunks without an end. Nothing of it is written.
post="POST /logs/late HTTP/1.1\r\n$host"
connect
printf '%bContent-Length: 1000\r\n\r\nonly this' "$post" >&7
expect_late 'a body that is not all there'
connect
printf '%bContent-Length: 1000\r\n\r\n' "$post" >&7
drip "$long"
expect_late 'a body that drips'
connect
printf '%bTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n' "$post" >&7
expect_late 'chunks without an end'
connect
printf '%bContent-Length: 10\r\nExpect: 100-continue\r\n\r\n' "$post" >&7
all_said 'a body that was asked for'
grep -q '^HTTP/1.1 100' "$work/said" || die "no 100: $(cat "$work/said")"
grep -q '^HTTP/1.1 408' "$work/said" || die "no 408: $(cat "$work/said")"
connect
printf 'POST /logs/- HTTP/1.1\r\n%bContent-Length: 10\r\n\r\nx' "$host" >&7
expect_late 'the body of a request that is refused'
expect 404 "$url/logs/late/offsets"
until_stats requests_in_progress 1 # after bodies that were cut off

# All of that is in the metrics: the silent connection and the line without an end are no requests.
expect 200 "$url/metrics"
expect_line()
{
    grep -qxF -- "$1" "$work/body" || die "wanted $1: $(grep -F -- "${1% *}" "$work/body" || true)"
}
expect_line 'wald_http_refusals_total{type="timeout"} 9'
expect_line 'wald_http_requests_total{method="POST",route="/logs/{log}",code="408"} 5'
expect_line 'wald_http_requests_total{method="other",route="other",code="408"} 2'
expect_line 'wald_http_requests_aborted_total 0'

# A connection that is used goes on for longer than any one of these times.
connect
for i in 1 2 3 4 5; do
    printf 'POST /logs/steady HTTP/1.1\r\n%bContent-Length: 1\r\n\r\n%s' "$host" "$i" >&7
    IFS= read -r -t 30 line <&7 || die 'no answer on a connection that is used'
    [ "${line%$'\r'}" = 'HTTP/1.1 200 OK' ] || die "request $i: $line"
    while IFS= read -r -t 30 line <&7 && [ "$line" != $'\r' ]; do :; done
    read -r -t 30 line <&7 || die 'no body'
    sleep 0.5
done
exec 7>&-
expect 200 "$url/logs/steady/offsets"
expect_member committed_offset 5
stop

# Each of the times is its own: a head in time leaves the body all of its time, and no more.
start --header-timeout 1s --body-timeout 1h
connect
printf '%bContent-Length: 12\r\nConnection: close\r\n\r\n' "$post" >&7
drip 'in its time.'
all_said 'a slow body that is in time'
grep -q '^HTTP/1.1 200' "$work/said" || die "a slow body that is in time: $(cat "$work/said")"
stop
start --header-timeout 1h --body-timeout 1s
connect
printf '%bContent-Length: 12\r\n\r\n' "$post" >&7
expect_late 'a body that is not there'
stop

# An idle connection is closed without a word: nobody asked for anything.
start --idle-timeout 1s --header-timeout 1h
connect
printf 'GET /livez HTTP/1.1\r\n%b\r\n' "$host" >&7
all_said 'an idle connection'
[ "$(grep -c '^HTTP/1.1' "$work/said")" = 1 ] || die "an idle connection: $(cat "$work/said")"
stop

# Who waits for the disk waits as long as it takes.
start --header-timeout 500ms --body-timeout 500ms --idle-timeout 500ms --answer-timeout 500ms \
    --batch-delay 3s
expect 200 -d patience "$url/logs/slow"
expect_member offset 0
stop

# An answer that nobody takes is not kept for ever, and what has been cut off gives its memory back.
start --answer-timeout 1s --max-record-bytes 16MiB
head -c 16777216 /dev/zero >"$work/large"
expect 200 --data-binary "@$work/large" "$url/logs/large"
connect
printf 'GET /logs/large/records/0 HTTP/1.1\r\n%b\r\n' "$host" >&7
until_stats requests_in_progress 1 # an answer that is not taken
timeout 60 cat <&7 >"$work/said" 2>/dev/null || true
exec 7>&-
[ "$(wc -c <"$work/said")" -lt 16777216 ] || die 'all of the answer came after the time-out'
expect 200 "$url/logs/large/records/0"
cmp -s "$work/large" "$work/body" || die 'the record came back changed'
stop

# A client that goes away in the middle of a request is gone at once, also if its end comes together
# with the last it sent.
start --header-timeout 1h --body-timeout 1h
kill -STOP "$server_pid"
for request in 'GET /livez HTTP/1.1\r\nA: ' "${post}Content-Length: 9\r\n\r\nonly" \
    "${post}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"; do
    connect
    send "$request"
    exec 7>&-
done
kill -CONT "$server_pid"
sleep 0.5
until_stats requests_in_progress 1 # after clients that went away
stop
passed
