#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Clients that repeat each append until they are answered, across kill -9 and restart: every record
# is there exactly once, where its receipt says, and those of each client are in order.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

records=60
clients=6

# client KIND NUMBER: appends its records one by one, by idempotency keys or as a producer.
client()
{
    local i try status headers
    for i in $(seq 0 $((records - 1))); do
        status=none
        for try in $(seq 600); do
            if [ "$1" = key ]; then
                headers=(-H "Idempotency-Key: client $2 record $i")
            else
                headers=(-H "Producer-Id: client $2" -H 'Producer-Epoch: 0' -H "Producer-Seq: $i")
            fi
            status=$(curl -s --max-time 20 -o "$work/answer.$2" -w '%{http_code}' "${headers[@]}" \
                -d "client $2 record $i" "$(cat "$work/url")/logs/exact") || true
            [ "$status" != 200 ] || break
            sleep 0.05
        done
        [ "$status" = 200 ] || return 1
        sed -n "s/.*\"offset\":\([0-9]*\),.*/\1 client $2 record $i/p" "$work/answer.$2"
        [ "$try" -eq 1 ] || echo "client $2 record $i" >>"$work/retried"
    done >"$work/receipts.$2"
    echo yes >"$work/done.$2"
}

start
echo "$url" >"$work/url"
: >"$work/retried"
pids=''
for number in $(seq "$clients"); do
    kind=key
    [ $((number % 2)) -eq 0 ] || kind=producer
    client "$kind" "$number" &
    pids="$pids $!"
done
for life in 1 2 3 4 5 6; do
    sleep "0.$((3 + life % 4))"
    kill -KILL "$server_pid"
    ended
    start
    echo "$url" >"$work/url.new"
    mv "$work/url.new" "$work/url"
done
# shellcheck disable=SC2086
wait $pids
for number in $(seq "$clients"); do
    [ -e "$work/done.$number" ] || die "client $number gave up: $(tail -n 1 "$work/answer.$number")"
done
[ -s "$work/retried" ] || die 'no append had to be repeated'

expect 200 "$url/logs/exact/records?limit=10000"
sed 's/{"offset":\([0-9]*\),.*"data":"\(.*\)"}/\1 \2/' "$work/body" >"$work/there"
[ "$(wc -l <"$work/there")" -eq $((clients * records)) ] ||
    die "$(wc -l <"$work/there") records: $(cut -d' ' -f2- "$work/there" | sort | uniq -d)"
for number in $(seq "$clients"); do
    grep " client $number " "$work/there" >"$work/mine"
    cmp "$work/mine" "$work/receipts.$number" || die "client $number: not what its receipts say"
done
echo "$(wc -l <"$work/retried") of $((clients * records)) appends were repeated"
stop
passed
