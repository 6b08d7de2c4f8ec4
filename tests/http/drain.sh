#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# SIGTERM under load: what was acknowledged is durable, nothing else is promised, and the exit
# status is 0.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

# An upload that has begun is read to its end and then refused; a reader on an old connection is
# still answered, and told that it was the last time.
start
expect 200 -d hello "$url/logs/orders"
exec 6<>"/dev/tcp/127.0.0.1/$port" 7<>"/dev/tcp/127.0.0.1/$port" 8<>"/dev/tcp/127.0.0.1/$port"
printf 'POST /logs/never HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nha' >&6
printf 'POST /logs/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nha' >&7
printf 'GET /logs/orders/records?offset=0 HTTP/1.1\r\nHost: localhost\r\n' >&8
sleep 0.3
kill -TERM "$server_pid"
wait_for 'event=stopping signal=SIGTERM' || die 'it did not say that it is stopping'
curl -s -o /dev/null "$url/livez" && die 'a new connection was taken'
printf 'lf' >&6
printf 'lf' >&7
printf '\r\n' >&8
timeout 20 cat <&6 >"$work/never"
timeout 20 cat <&7 >"$work/late"
timeout 20 cat <&8 >"$work/read"
exec 6>&- 7>&- 8>&-
grep -q '^HTTP/1.1 503' "$work/never" || die "a late append to a new log: $(cat "$work/never")"
[ ! -e "$data/logs/never" ] || die 'a refused append has made its log'
grep -q '^HTTP/1.1 503' "$work/late" || die "a late append: $(cat "$work/late")"
grep -qi '^Retry-After:' "$work/late" || die "503 without Retry-After: $(cat "$work/late")"
grep -q '"data":"hello"' "$work/read" || die "a late read: $(cat "$work/read")"
grep -qi '^Connection: close' "$work/read" || die "the connection stays: $(cat "$work/read")"
ended
[ "$ended_status" -eq 0 ] || die "exit status $ended_status"

# From the signal on readiness says no and nothing new is appended, while what waits for the disk is
# committed and answered. An old connection is told, and closed.
start --batch-delay 2s --shutdown-timeout 1h
curl -sS --max-time 60 -o "$work/waiting" -w '%{http_code}' -d waiting "$url/logs/orders" \
    >"$work/waiting.status" &
client=$!
ask()
{
    exec {ask_fd}<>"/dev/tcp/127.0.0.1/$port"
    printf 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n' >&$ask_fd
    for _ in 1 2 3 4 5 6 7 8 9; do
        IFS= read -r -t 30 line <&$ask_fd || die 'no answer'
        [ "$line" != ok ] || return 0
    done
    die "no ok: $line"
}
# answer REQUEST WANTED TEXT: over the connection of an earlier ask; it is closed behind it.
answer()
{
    printf '%b' "$2" >&"$1"
    timeout 60 cat <&"$1" >"$work/late" || die "it stays open: $2"
    grep -q "^HTTP/1.1 $3" "$work/late" || die "$2: $(cat "$work/late")"
    grep -qi '^Connection: close' "$work/late" || die "the connection stays: $(cat "$work/late")"
}
ask
first=$ask_fd
ask
second=$ask_fd
ask
third=$ask_fd
exec 9<>"/dev/tcp/127.0.0.1/$port" # keeps it from ending before all have asked
printf 'POST /logs/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nha' >&9
until_stats appends_waiting 1
until_stats requests_in_progress 3
kill -TERM "$server_pid"
wait_for 'event=stopping' || die 'it did not say that it is stopping'
answer "$first" 'GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n' 503
answer "$second" \
    'POST /logs/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx' 503
grep -qi '^Retry-After:' "$work/late" || die "503 without Retry-After: $(cat "$work/late")"
answer "$third" 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n' 200
wait "$client" || die 'the append that waited for the disk was cut off'
[ "$(cat "$work/waiting.status")" = 200 ] || die "the append that waited: $(cat "$work/waiting")"
kill -0 "$server_pid" || die 'it ended before a request that was arriving'
answer 9 'lf' 503
exec 9>&-
ended
[ "$ended_status" -eq 0 ] || die "exit status $ended_status"

# Who never finishes his request is not waited for without an end.
start --shutdown-timeout 1s
exec 7<>"/dev/tcp/127.0.0.1/$port"
printf 'POST /logs/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nha' >&7
until_stats requests_in_progress 2
stop
exec 7>&-

# Under load each client ends with an answer or with a lost connection. 200 means: it is there.
start
for client in $(seq 20); do
    (
        for i in $(seq 1000); do
            status=$(curl -s -o /dev/null -w '%{http_code}' -d "client $client record $i" \
                "$url/logs/load") || true
            [ "$status" = 200 ] || break
            echo "client $client record $i"
        done >"$work/acknowledged.$client"
        echo "$status" >"$work/last.$client"
    ) &
    clients="${clients-} $!"
done
sleep 1
kill -TERM "$server_pid"
ended
[ "$ended_status" -eq 0 ] || die "exit status $ended_status"
# shellcheck disable=SC2086
wait $clients
for client in $(seq 20); do
    case $(cat "$work/last.$client") in
    503 | 000) ;;
    *) die "a client ended with $(cat "$work/last.$client")" ;;
    esac
done
start
: >"$work/there"
next=0
while :; do
    expect 200 "$url/logs/load/records?offset=$next&limit=10000"
    [ -s "$work/body" ] || break
    sed 's/.*"data":"\(.*\)"}/\1/' "$work/body" >>"$work/there"
    next=$(header Log-Next-Offset)
done
sort "$work"/acknowledged.* >"$work/a"
sort "$work/there" >"$work/t"
[ -s "$work/a" ] || die 'nothing was acknowledged'
lost=$(comm -23 "$work/a" "$work/t")
[ -z "$lost" ] || die "acknowledged and lost: $lost"
expect 200 "$url/logs/load/stats"
grep -q '"recovery":{"clean":true' "$work/body" || die "not closed cleanly: $(cat "$work/body")"

# A second signal does not wait for anybody.
exec 7<>"/dev/tcp/127.0.0.1/$port"
printf 'POST /logs/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nha' >&7
sleep 0.3
kill -TERM "$server_pid"
wait_for 'event=stopping' || die 'it did not say that it is stopping'
kill -TERM "$server_pid"
ended
exec 7>&-
[ "$ended_status" -eq 143 ] || die "exit status $ended_status after a second signal"
passed
