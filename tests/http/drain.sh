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
exec 7<>"/dev/tcp/127.0.0.1/$port" 8<>"/dev/tcp/127.0.0.1/$port"
printf 'POST /logs/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nha' >&7
printf 'GET /logs/orders/records?offset=0 HTTP/1.1\r\nHost: localhost\r\n' >&8
sleep 0.3
kill -TERM "$server_pid"
wait_for 'event=stopping signal=SIGTERM' || die 'it did not say that it is stopping'
curl -s -o /dev/null "$url/livez" && die 'a new connection was taken'
printf 'lf' >&7
printf '\r\n' >&8
timeout 20 cat <&7 >"$work/late"
timeout 20 cat <&8 >"$work/read"
exec 7>&- 8>&-
grep -q '^HTTP/1.1 503' "$work/late" || die "a late append: $(cat "$work/late")"
grep -qi '^Retry-After:' "$work/late" || die "503 without Retry-After: $(cat "$work/late")"
grep -q '"data":"hello"' "$work/read" || die "a late read: $(cat "$work/read")"
grep -qi '^Connection: close' "$work/read" || die "the connection stays: $(cat "$work/read")"
ended
[ "$ended_status" -eq 0 ] || die "exit status $ended_status"

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
