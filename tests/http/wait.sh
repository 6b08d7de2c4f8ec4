#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Requests that wait for a log to grow: each is answered once, by the append it waits for, by its
# time running out, by the end of the log or of the service.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start

# wait_until_waiting COUNT: so many requests are under way besides the one that asks.
wait_until_waiting()
{
    for _ in $(seq 600); do
        expect 200 "$url/stats"
        [ "$(member requests_in_progress)" -ne $(($1 + 1)) ] || return 0
        sleep 0.05
    done
    die "$(($(member requests_in_progress) - 1)) requests wait, wanted $1"
}

# later NAME ARGUMENT...: a request in the background; its answer goes to $work/NAME.
later()
{
    local name=$1
    shift
    curl -sS --max-time 100 -D "$work/$name.headers" -o "$work/$name" -w '%{http_code}' "$@" \
        >"$work/$name.status" &
    clients="${clients-} $!"
}

# answered NAME STATUS: makes it the last answer.
answered()
{
    cp "$work/$1.headers" "$work/headers"
    cp "$work/$1" "$work/body" 2>/dev/null || : >"$work/body"
    [ "$(cat "$work/$1.status")" = "$2" ] || die "$1: $(cat "$work/$1.status"): $(cat "$work/body")"
}

expect 200 -d zero "$url/logs/tail"
tail=$url/logs/tail/records

# What is there comes at once, however long the client would wait.
expect 200 --max-time 20 "$tail?offset=0&wait=10m"
[ "$(wc -l <"$work/body")" -eq 1 ] || die "what is there: $(cat "$work/body")"
expect 200 --max-time 20 "$url/logs/tail/offsets?wait_for=1&timeout=10m"
expect_member committed_offset 1
expect 200 --max-time 20 "$url/logs/tail/offsets?wait_for=0"

# The time runs out: an empty page, and where to ask on.
for form in application/x-ndjson application/octet-stream; do
    expect 200 -H "Accept: $form" "$tail?offset=latest&wait=100ms"
    [ ! -s "$work/body" ] || die "a page at the end: $(cat "$work/body")"
    expect_header Content-Type "$form"
    expect_header Log-Next-Offset 1
    expect_header Log-Committed-Offset 1
done
expect 200 -H 'Accept: application/json' "$tail?offset=1&wait=0s"
expect_body '{"records":[],"next_offset":1}'
expect 200 -I "$tail?offset=1&wait=50ms"
expect 200 "$tail?offset=77&wait=50ms"
expect_header Log-Next-Offset 77
expect 200 "$tail?at=9999-12-31T00:00:00Z&wait=50ms"
expect_header Log-Next-Offset 1
expect 200 "$url/logs/tail/offsets?wait_for=2&timeout=50ms"
expect_member committed_offset 1
expect 200 "$url/logs/tail/offsets?wait_for=18446744073709551615&timeout=0s"
expect 404 "$url/logs/none/records?wait=10s"
expect_problem log-not-found
for query in wait=30 wait=s wait= wait=-1s wait=1.5s wait=1d wait=99999999999999999999s; do
    expect 400 "$tail?$query"
    expect_problem bad-parameter
done
for query in timeout=1s wait_for=x wait_for=-1 wait_for= 'wait_for=1&timeout=1'; do
    expect 400 "$url/logs/tail/offsets?$query"
    expect_problem bad-parameter
done

# An append wakes those whose record it is, and nobody else: the others go on waiting.
expect 200 -d other "$url/logs/other"
later next "$tail?offset=1&wait=30s"
later latest -H 'Accept: application/json' "$tail?offset=latest&wait=30s"
later head -I "$tail?offset=1&wait=30s"
later raised "$url/logs/tail/offsets?wait_for=2&timeout=30s"
later far "$tail?offset=3&wait=30s"
later far_raised "$url/logs/tail/offsets?wait_for=4"
later elsewhere "$url/logs/other/records?offset=1&wait=30s"
wait_until_waiting 7
expect 200 -d one "$url/logs/tail"
wait_until_waiting 3
expect 200 -d two "$url/logs/tail"
expect 200 "$url/stats"
expect_member requests_in_progress 4
expect 200 -d three "$url/logs/tail"
expect 200 -d two "$url/logs/other"
all_answered
answered next 200
[ "$(member data)" = one ] || die "the next record: $(cat "$work/body")"
expect_header Log-Next-Offset 2
answered latest 200
expect_member next_offset 2
answered head 200
expect_header Log-Next-Offset 2
answered raised 200
expect_member committed_offset 2
answered far 200
[ "$(member data)" = three ] || die "the record further on: $(cat "$work/body")"
answered far_raised 200
expect_member committed_offset 4
answered elsewhere 200
[ "$(member data)" = two ] || die "the other log's record: $(cat "$work/body")"

# A batch wakes all who wait for any of its records. A trim wakes nobody, and what it took is told at
# once, however long the client would wait. An append that nobody waited for can be waited for here.
later batch-first "$url/logs/batch/records?offset=1&wait=30s"
expect 404 "$url/logs/batch/offsets" # not made by a reader
all_answered
answered batch-first 404
expect 200 -d zero "$url/logs/batch"
later batch-first "$url/logs/batch/records?offset=1&wait=30s"
later batch-last "$url/logs/batch/records?offset=3&wait=30s"
later behind "$url/logs/batch/records?offset=4&wait=30s"
wait_until_waiting 3
expect 200 -X POST "$url/logs/batch/trim?before=1"
wait_until_waiting 3
printf 'one\ntwo\nthree\n' |
    expect 200 -H 'Content-Type: application/x-ndjson' --data-binary @- "$url/logs/batch"
wait_until_waiting 1
expect 202 -d four "$url/logs/batch?ack=none"
expect 200 "$url/logs/batch/offsets?wait_for=$(member next_offset)&timeout=30s"
expect_member committed_offset 5
all_answered
answered batch-first 200
expect_header Log-Next-Offset 4
answered batch-last 200
[ "$(member data)" = three ] || die "the last of a batch: $(cat "$work/body")"
answered behind 200
[ "$(member data)" = four ] || die "behind the batch: $(cat "$work/body")"
expect 410 "$url/logs/batch/records?offset=0&wait=30s"
expect_problem trimmed
expect_member first_offset 1

# Reader and writer hand in hand: each record comes, once and in order.
(
    for i in $(seq 100); do
        curl -sS --max-time 60 -o /dev/null -d "record $i" "$url/logs/relay" || exit 1
    done
) &
writer=$!
expect 200 -d 'record 0' "$url/logs/relay"
: >"$work/relayed"
next=0
for _ in $(seq 1000); do
    expect 200 "$url/logs/relay/records?offset=$next&wait=10s&limit=7"
    cat "$work/body" >>"$work/relayed"
    next=$(header Log-Next-Offset)
    [ "$next" -lt 101 ] || break
done
wait "$writer" || die 'the writer failed'
sed 's/{"offset":\([0-9]*\),.*/\1/' "$work/relayed" >"$work/offsets"
seq 0 100 | cmp - "$work/offsets" || die "relayed: $(tr '\n' ' ' <"$work/offsets")"

# 500 requests on 50 logs, all woken by one append to each log.
logs=50
each=10
: >"$work/polls"
for log in $(seq $logs); do
    expect 200 -d first "$url/logs/many-$log"
    for poll in $(seq $each); do
        printf 'url = "%s/logs/many-%d/records?offset=1&wait=30s"\noutput = "%s/poll.%d.%d"\n' \
            "$url" "$log" "$work" "$log" "$poll" >>"$work/polls"
    done
done
for half in 1 2; do # curl has no more than 300 transfers at once
    sed -n "$((half * logs * each - logs * each + 1)),$((half * logs * each))p" "$work/polls" \
        >"$work/polls.$half"
    curl --no-progress-meter -Z --parallel-immediate --parallel-max 300 --max-time 100 -K "$work/polls.$half" &
    clients="${clients-} $!"
done
wait_until_waiting $((logs * each))
for log in $(seq $logs); do
    expect 200 -d "second $log" "$url/logs/many-$log"
done
all_answered
for log in $(seq $logs); do
    [ "$(cat "$work"/poll."$log".* | grep -c "\"data\":\"second $log\"")" -eq $each ] ||
        die "log $log woke $(cat "$work"/poll."$log".* | wc -l)"
done
expect 200 "$url/stats"
expect_member requests_in_progress 1

# 300 that nobody wakes end by themselves.
for poll in $(seq 300); do
    printf 'url = "%s/logs/many-%d/records?offset=2&wait=%dms"\noutput = "%s/timed.%d"\n' \
        "$url" $((poll % logs + 1)) $((100 + poll * 7 % 900)) "$work" "$poll"
done >"$work/polls"
curl --no-progress-meter -Z --parallel-immediate --parallel-max 300 --max-time 100 -w '%{http_code}\n' \
    -K "$work/polls" >"$work/statuses" || die 'a client failed'
[ "$(grep -cx 200 "$work/statuses")" -eq 300 ] || die "$(sort "$work/statuses" | uniq -c)"
[ "$(cat "$work"/timed.* 2>/dev/null | wc -c)" -eq 0 ] || die 'records out of nothing'

# A client that hangs up costs its place until that is noticed, and nothing else.
for _ in $(seq 20); do
    exec 7<>"/dev/tcp/127.0.0.1/$port"
    printf 'GET /logs/tail/records?offset=4&wait=10m HTTP/1.1\r\nHost: localhost\r\n\r\n' >&7
    exec 7>&-
done
wait_until_waiting 0
expect 200 -d four "$url/logs/tail"

# The log is deleted: it is gone for those who wait, and they learn it now.
for i in 1 2 3; do
    later "deleted-$i" "$tail?offset=latest&wait=30s"
done
later deleted-offsets "$url/logs/tail/offsets?wait_for=99&timeout=30s"
later kept "$url/logs/other/records?offset=2&wait=30s"
wait_until_waiting 5
expect 204 -X DELETE "$url/logs/tail"
wait_until_waiting 1
for name in deleted-1 deleted-2 deleted-3 deleted-offsets; do
    answered $name 404
    expect_problem log-not-found
done
# A new log of the name has nothing to do with those who waited for the old one.
expect 200 -d anew "$url/logs/tail"
expect 200 -d three "$url/logs/other"
all_answered
answered kept 200

# Readers, writers and somebody who deletes, all on the same two logs: every request has its answer,
# and nobody is left over.
churn()
{
    local client=$1 log=$url/logs/churn-$(($1 % 2)) statuses
    case $((client % 9)) in
    0) statuses='204\|404' && set -- -X DELETE "$log" ;;
    [1-4]) statuses='200\|404' && set -- "$log/records?offset=latest&wait=200ms" ;;
    5) statuses='200\|404' && set -- "$log/offsets?wait_for=7&timeout=100ms" ;;
    *) statuses='200\|503' && set -- -d x "$log" ;;
    esac
    for _ in $(seq 12); do
        curl -sS --max-time 60 -o /dev/null -w '%{http_code}\n' "$@"
    done | grep -vx "$statuses"
}
for client in $(seq 36); do
    churn "$client" &
    clients="${clients-} $!"
done >"$work/unexpected" 2>&1
# shellcheck disable=SC2086
wait $clients || true
clients=''
[ ! -s "$work/unexpected" ] || die "in the churn: $(sort "$work/unexpected" | uniq -c)"
wait_until_waiting 0

# A stop answers all who wait, at once and whole: one that forgot them would end by a signal.
for i in $(seq 20); do
    later "stopped-$i" "$tail?offset=latest&wait=30s"
done
later stopped-offsets "$url/logs/tail/offsets?wait_for=99"
wait_until_waiting 21
stop
all_answered
for i in $(seq 20); do
    answered "stopped-$i" 200
    [ ! -s "$work/body" ] || die "a page at the end: $(cat "$work/body")"
    expect_header Log-Next-Offset 1
    expect_header Connection close
done
answered stopped-offsets 200
expect_member committed_offset 1

# Nobody waits longer than the service lets them, whatever they ask for, or if they say nothing.
start --long-poll-timeout 1s
later capped "$url/logs/tail/records?offset=latest&wait=1h"
later capped-offsets "$url/logs/tail/offsets?wait_for=99"
all_answered
answered capped 200
expect_header Log-Next-Offset 1
answered capped-offsets 200
expect_member committed_offset 1
stop
passed
