#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# What one client may have: connections by its address, requests and bytes a second by its token or
# address. Who has had enough is told when to come again, and that is true; others notice nothing.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

tokens=$work/tokens

# By default nothing is limited.
start
for _ in $(seq 30); do
    printf 'url = "%s/livez"\noutput = "/dev/null"\n' "$url/logs"
done >"$work/many"
curl -sS -K "$work/many" || die 'without a limit there is one'
stop

# ---- requests ----

# burst COUNT ARGUMENT...: so many requests over one connection; prints how many had each status.
burst()
{
    local count=$1
    shift
    for _ in $(seq "$count"); do
        printf 'url = "%s/logs"\noutput = "/dev/null"\n' "$url"
    done >"$work/many"
    curl -sS -K "$work/many" -w '%{http_code}\n' "$@" | sort | uniq -c | awk '{ printf "%s:%s ", $2, $1 }'
}

"$wald" token --tokens "$tokens" one read,append '*' >"$work/one"
"$wald" token --tokens "$tokens" two read,append '*' >"$work/two"
one=(-H "Authorization: Bearer $(cat "$work/one")")
two=(-H "Authorization: Bearer $(cat "$work/two")")
start --client-requests-per-second 5 --tokens "$tokens"
got=$(burst 100 "${one[@]}")
[[ $got =~ ^200:([0-9]+)\ 429:([0-9]+)\ $ ]] || die "a hundred at once: $got"
[ "${BASH_REMATCH[1]}" -ge 5 ] || die "fewer than a second's worth: $got"

# refused_once ARGUMENT...: until it is refused, which is the last answer then.
refused_once()
{
    for _ in $(seq 200); do
        request "$@"
        [ "$status" != 429 ] || return 0
    done
    die 'never refused'
}
refused_once "${one[@]}" "$url/logs"
expect_problem too-many-requests
after=$(header Retry-After)
[ "$after" -eq 1 ] || die "Retry-After: $after"
# Another token is another client, also from the same address; and so is who has none.
expect 200 "${two[@]}" "$url/logs"
expect 401 "$url/logs"
# Whoever watches over the service, and who asks what he may ask, is answered.
refused_once "$url/logs"
for _ in $(seq 10); do
    expect 200 "$url/readyz"
    expect 200 -X OPTIONS "$url/logs"
done
# When it is said to come again, it may.
for _ in 1 2 3; do
    refused_once "${one[@]}" "$url/logs"
    sleep "$(header Retry-After)"
    expect 200 "${one[@]}" "$url/logs"
done
# What is refused has not been done.
refused_once "${one[@]}" "$url/logs"
request "${one[@]}" -d x "$url/logs/new"
if [ "$status" = 429 ]; then
    sleep 1
    expect 404 "${one[@]}" "$url/logs/new"
fi
stop

# ---- bytes ----

head -c 1000000 /dev/zero >"$work/large"
start --client-bytes-per-second 400KiB
expect 200 --data-binary "@$work/large" "$url/logs/large" # as large as it is: it is paid for afterwards
refused 429 too-many-requests -d x "$url/logs/large"
after=$(header Retry-After)
[[ $after = [1-3] ]] || die "Retry-After: $after"
refused 429 too-many-requests "$url/logs/large/records/0"
expect 200 "$url/livez"
sleep "$after"
expect 200 "$url/logs/large/records/0" # what is read is paid for, too
refused 429 too-many-requests "$url/logs/large/offsets"
sleep "$(header Retry-After)"
expect 200 "$url/logs/large/offsets"
expect_member next_offset 1
stop

# ---- connections ----

start --client-connections-max 4
cat >"$work/hold.py" <<'PYTHON'
import socket, sys, time
port, count, address = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
clients = []
for _ in range(count):
    client = socket.create_connection((address, port), timeout=30)
    clients.append(client)
open_ones = []
for client in clients:
    try:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if client.recv(4096).startswith(b"HTTP/1.1 200"):
            open_ones.append(client)
    except OSError:
        pass
print(len(open_ones), flush=True)
sys.stdin.readline()
PYTHON
# hold COUNT: holds connections until release; sets `answered`, how many of them are.
hold()
{
    coproc HOLDER { python "$work/hold.py" "$port" "$1" "${2-127.0.0.1}"; }
    # shellcheck disable=SC2153 # coproc sets it
    holder_pid=$HOLDER_PID
    read -r -t 60 answered <&"${HOLDER[0]}"
}
release()
{
    echo >&"${HOLDER[1]}"
    wait "$holder_pid"
}
hold 10
[ "$answered" -eq 4 ] || die "$answered of 10 connections of one address are served, wanted 4"
if curl -sS --max-time 20 -o "$work/body" "$url/livez" 2>"$work/err"; then
    die 'one more is served'
fi
# Another address is another client.
expect 200 --interface 127.0.0.2 "$url/stats"
expect_member connections 5
[ "$(member connections_refused)" -ge 7 ] || die "refused: $(cat "$work/body")"
expect 200 --interface 127.0.0.2 "$url/metrics"
grep -q '^wald_http_connections_refused_total [1-9]' "$work/body" || die 'no count of them'
release
# Those that are gone count no more, however they went.
for _ in $(seq 100); do
    hold 4
    release
    [ "$answered" -lt 4 ] || break
    sleep 0.1
done
[ "$answered" -eq 4 ] || die 'what was closed counts on'
until_free()
{
    for _ in $(seq 100); do
        ! curl -sS -o "$work/body" -d x "$url/logs/orders" 2>/dev/null || return 0
        sleep 0.1
    done
    die 'the address is not let in again'
}
until_free

# Streams of events are connections of their address as well, and are given back.
pids=()
for _ in 1 2 3 4; do
    curl -sN -H 'Accept: text/event-stream' "$url/logs/orders/records?offset=latest" >/dev/null &
    pids+=("$!")
done
for _ in $(seq 100); do
    expect 200 --interface 127.0.0.2 "$url/stats"
    [ "$(member followers)" != 4 ] || break
    sleep 0.1
done
expect_member followers 4
! curl -sS --max-time 20 -o "$work/body" "$url/livez" 2>/dev/null || die 'one more than four streams'
kill "${pids[@]}"
wait "${pids[@]}" 2>/dev/null || true
until_free
stop
passed
