#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# 200 clients at once, each over a connection that it keeps: every append is acknowledged, and no
# two get the same offset.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

clients=200
each=5
start
urls='' # one command, and so one connection
for _ in $(seq "$each"); do
    urls="$urls $url/logs/busy"
done
# shellcheck disable=SC2086
seq "$clients" | xargs -P "$clients" -I{} \
    curl -sS --max-time 100 -w '%{http_code} %{num_connects}\n' -d 'client {}' $urls \
    >"$work/answers" || die 'a client failed'
acknowledged=$(grep -o '"offset":[0-9]*' "$work/answers" | sort -u | wc -l)
[ "$acknowledged" -eq $((clients * each)) ] || die "$acknowledged different offsets"
expect 200 "$url/logs/busy/offsets"
expect_member committed_offset $((clients * each))
for client in 1 77 200; do
    there=0
    next=0
    while :; do
        expect 200 "$url/logs/busy/records?offset=$next"
        [ -s "$work/body" ] || break
        there=$((there + $(grep -c "\"data\":\"client $client\"" "$work/body" || true)))
        next=$(header Log-Next-Offset)
    done
    [ "$there" -eq "$each" ] || die "client $client has $there records"
done
expect 200 "$url/stats"
expect_member requests_in_progress 1
expect_member appends_waiting 0

# Clients that hang up while their append is on its way do no harm.
for _ in $(seq 50); do
    exec 7<>"/dev/tcp/127.0.0.1/$port"
    printf 'POST /logs/gone HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\ngone' >&7
    exec 7>&-
done
for _ in $(seq 100); do
    expect 200 "$url/logs/gone/offsets"
    [ "$(member committed_offset)" -lt 50 ] || break
    sleep 0.1
done
expect_member committed_offset 50
stop
passed
