#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# A socket in the file system instead of a port: all that there is works over it, only those get in whom
# its mode lets in, and it is gone when the service is.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

socket=$work/socket
url=http://localhost

# start_there [ARGUMENT...]: on the socket, until it is ready.
start_there()
{
    launch --listen "unix:$socket" "$@"
    if ! wait_for 'event=ready'; then
        [ "$backend" = posix ] || ! grep -q io_uring "$work/log" || skip "$(cat "$work/log")"
        die 'the program did not become ready'
    fi
}

# there STATUS ARGUMENT...: as expect, over the socket.
there()
{
    expect "$1" --unix-socket "$socket" "${@:2}"
}

start_there
grep -q " listen=unix:$socket " "$work/log" || die 'it does not say where it listens'
! grep -q 'level=warning' "$work/log" || die 'what is there to warn of?'
[ "$(stat -c %a "$socket")" = 660 ] || die "the mode of the socket: $(stat -c %a "$socket")"

there 200 -d zero "$url/logs/orders"
there 200 --data-binary $'one\ntwo\n' -H 'Content-Type: application/x-ndjson' "$url/logs/orders"
there 200 "$url/logs/orders/records/1"
expect_body one
there 200 "$url/logs/orders/records"
head -c 1048576 /dev/urandom >"$work/large"
there 200 --data-binary "@$work/large" "$url/logs/large"
there 200 "$url/logs/large/records/0"
cmp -s "$work/body" "$work/large" || die 'a large record came back changed'
there 200 "$url/readyz"

# Names of the loopback, as there; web pages get no further than there.
there 421 -H 'Host: other.example' "$url/logs"
there 403 -H 'Origin: https://app.example.com' "$url/logs"

# Streams of events, which are sockets past the HTTP library, too.
curl -sN --unix-socket "$socket" -H 'Accept: text/event-stream' \
    "$url/logs/orders/records?offset=0&limit=4" >"$work/events" &
follower_pid=$!
there 200 -d three "$url/logs/orders"
wait "$follower_pid" || die 'the stream of events'
[ "$(grep -c '^id: ' "$work/events")" -eq 4 ] || die "events: $(cat "$work/events")"

# Malformed requests are cut off here as well: the bytes are looked at before the library reads them.
python - "$socket" <<'PYTHON' || die 'a request that two readers could read in two ways'
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(30)
client.connect(sys.argv[1])
client.sendall(b"POST /logs/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
               b"Content-Length: 2\r\n\r\nxxGET /logs HTTP/1.1\r\nHost: localhost\r\n\r\n")
answer = b""
while data := client.recv(65536):
    answer += data
sys.exit(not (answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1))
PYTHON

# The commands, and the question after health.
[ "$("$wald" tail --url "unix:$socket" orders -n 1)" = three ] || die 'wald tail'
printf 'four\n' | WALD_URL=unix:$socket "$wald" append --quiet --lines orders >/dev/null
there 200 "$url/logs/orders/offsets"
expect_member next_offset 5
"$wald" healthcheck --listen "unix:$socket" >"$work/out" || die "wald healthcheck: $(cat "$work/out")"

# Another service does not take it over.
first_pid=$server_pid
first_data=$data
data=$work/other
launch --listen "unix:$socket"
ended
[ "$ended_status" -eq 1 ] || die "a second service: exit status $ended_status"
grep -q 'already in use' "$work/log" || die "a second service: $(cat "$work/log")"
server_pid=$first_pid
data=$first_data
there 200 "$url/livez"
kill -TERM "$server_pid"
ended
[ "$ended_status" -eq 0 ] || die "exit status $ended_status"
[ ! -e "$socket" ] || die 'the socket is still there'

# What a killed one left is in nobody's way; what is no socket is not touched.
start_there --socket-mode 600
kill -KILL "$server_pid"
ended
[ -S "$socket" ] || die 'there is nothing to be left'
start_there --socket-mode 666
[ "$(stat -c %a "$socket")" = 666 ] || die "the mode of the socket: $(stat -c %a "$socket")"
there 200 "$url/logs/orders/records/3"
expect_body three

# A stop leaves the socket of a successor alone.
rm "$socket"
python -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$socket"
stop
[ -S "$socket" ] || die 'the socket of another was removed'
rm "$socket"
echo keep >"$socket"
launch --listen "unix:$socket"
ended
[ "$ended_status" -eq 1 ] || die "a file in its place: exit status $ended_status"
[ "$(cat "$socket")" = keep ] || die 'the file was touched'
rm "$socket"

# refused_address ADDRESS TEXT
refused_address()
{
    launch --listen "$1"
    ended
    [ "$ended_status" -eq 1 ] || die "$1: exit status $ended_status"
    grep -q "event=start_failed .*$2" "$work/log" || die "$1: $(cat "$work/log")"
}
refused_address unix: 'wants the path'
refused_address "unix:$work/$(printf 'a%.0s' {1..108})" 'wants the path'
refused_address "unix:$work/none/socket" 'No such file or directory'
for mode in 66 6660 888 rw; do
    launch --listen "unix:$socket" --socket-mode "$mode"
    ended
    [ "$ended_status" -eq 2 ] || die "--socket-mode $mode: exit status $ended_status"
done
passed
