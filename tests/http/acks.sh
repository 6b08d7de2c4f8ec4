#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# A receipt says what was done and never more: durable, queued, or trimmed away, in a body or in
# headers alone.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start

# Durable is the default; its headers tell how long it took, in milliseconds.
for query in '' '?ack=committed'; do
    expect 200 -d hello "$url/logs/orders$query"
    expect_member durability committed
    header Server-Timing | grep -qE '^queue;dur=[0-9]+\.[0-9]{3}, commit;dur=[0-9]+\.[0-9]{3}$' ||
        die "Server-Timing: $(header Server-Timing)"
done

# Asked for little, the answer is the headers.
for preference in return=minimal 'respond-async, return=minimal; x=1' 'Return=Minimal,wait=5'; do
    expect 204 -H "Prefer: $preference" -d small "$url/logs/orders"
    [ ! -s "$work/body" ] || die "a body with 204"
    expect_header Preference-Applied return=minimal
    expect_header Content-Type ''
    [ -n "$(header ETag)" ] || die 'no ETag with 204'
    [ -n "$(header Server-Timing)" ] || die 'no Server-Timing with 204'
    place=$(header Location)
    expect_header Log-Next-Offset $((${place##*/} + 1))
    expect 200 "$url$place"
    [ "$(cat "$work/body")" = small ] || die "$place is another record"
done
for preference in return=representation 'return=representation, return=minimal' return=minimalist \
    handling=strict ''; do
    expect 200 -H "Prefer: $preference" -d small "$url/logs/orders"
    expect_header Preference-Applied ''
    expect_member count 1
done

# ?ack=none promises nothing, not even in headers, and yet the record comes.
expect 202 -d quick "$url/logs/orders?ack=none"
expect_member durability none
expect_member next_offset 11
[ "$(member committed_offset)" -le 11 ] || die "$(cat "$work/body")"
expect_header Location /logs/orders/records/10
expect_header Server-Timing ''
expect 202 -H 'Prefer: return=minimal' -d quick "$url/logs/orders?ack=none"
[ ! -s "$work/body" ] || die 'a body although it was not wanted'
expect_header Preference-Applied return=minimal
printf 'a\nb\n' >"$work/lines"
expect 202 -H 'Content-Type: application/x-ndjson' --data-binary "@$work/lines" \
    "$url/logs/orders?ack=none"
expect_member count 2

# The barrier makes certain of it.
expect 200 -X POST "$url/logs/orders/sync"
expect_body '{"log":"orders","first_offset":0,"committed_offset":14,"next_offset":14}'
for offset in 10 11; do
    expect 200 "$url/logs/orders/records/$offset"
    [ "$(cat "$work/body")" = quick ] || die "record $offset is another"
done
expect 200 -X POST "$url/logs/orders/sync"
expect_member committed_offset 14

for ack in '' none1 NONE 'committed,' 1 true; do
    refused 400 bad-parameter -d x "$url/logs/orders?ack=$ack"
done
refused 400 bad-parameter -d x "$url/logs/orders?ack=none&ack=committed"
refused 400 bad-parameter -X POST "$url/logs/orders/sync?ack=none"
refused 400 unexpected-body -d x "$url/logs/orders/sync"
refused 404 log-not-found -X POST "$url/logs/none/sync"
refused 405 method-not-allowed "$url/logs/orders/sync"
expect_header Allow 'POST, OPTIONS'
expect 200 -X OPTIONS "$url/logs/orders/trim"
expect_header Allow 'POST, OPTIONS'

# Trimmed is gone when the answer is there, also for the next life; twice is as good as once.
expect 200 -X POST "$url/logs/orders/trim?before=5"
expect_body '{"log":"orders","first_offset":5,"committed_offset":14,"next_offset":14}'
for before in 5 3 0; do
    expect 200 -X POST "$url/logs/orders/trim?before=$before"
    expect_member first_offset 5
done
refused 410 trimmed "$url/logs/orders/records/4"
refused 409 conflict -X POST "$url/logs/orders/trim?before=15"
expect_member committed_offset 14
refused 409 conflict -X POST "$url/logs/orders/trim?before=18446744073709551615"
for query in '' '?before=' '?before=-1' '?before=x' '?before=05' \
    '?before=18446744073709551616' '?before=1&before=2'; do
    refused 400 bad-parameter -X POST "$url/logs/orders/trim$query"
done
refused 400 unexpected-body -d x "$url/logs/orders/trim?before=6"
refused 400 unsupported-header -X POST -H 'If-Match: "14"' "$url/logs/orders/trim?before=6"
refused 404 log-not-found -X POST "$url/logs/none/trim?before=0"
expect 404 "$url/logs/none/offsets"
kill -KILL "$server_pid"
ended
start
expect 200 "$url/logs/orders/offsets"
expect_body '{"log":"orders","first_offset":5,"committed_offset":14,"next_offset":14}'
expect 200 -X POST "$url/logs/orders/trim?before=14"
expect 200 "$url/logs/orders/records"
[ ! -s "$work/body" ] || die 'records behind a trim of everything'

# A stop in good order waits for what nobody waits for. These are queued while it begins.
for i in $(seq 200); do
    printf 'url = "%s/logs/late?ack=none"\ndata = "late %s"\nwrite-out = "%%{http_code} late %s\\n"\n' \
        "$url" "$i" "$i"
    printf 'output = /dev/null\nnext\n'
done >"$work/config"
curl -s --max-time 60 -K "$work/config" >"$work/answers" 2>/dev/null &
client=$!
for _ in $(seq 200); do
    # Asked of the service: what curl has to say waits in its buffer.
    queued=$(curl -s --max-time 10 "$url/logs/late/offsets" | sed -n 's/.*"next_offset":\([0-9]*\).*/\1/p')
    [ "${queued:-0}" -lt 20 ] || break
    sleep 0.05
done
stop
wait "$client" || true
sed -n 's/^202 //p' "$work/answers" >"$work/taken"
[ -s "$work/taken" ] || die 'nothing was taken'
start
expect 200 "$url/logs/late/records?limit=10000"
sed 's/.*"data":"\(.*\)"}/\1/' "$work/body" | sort >"$work/there"
lost=$(sort "$work/taken" | comm -23 - "$work/there")
[ -z "$lost" ] || die "taken, stopped in good order, and lost: $lost"
stop

# A log whose settings want everything durable takes no such append, and says so. So does a log
# that was told later.
"$helper" state "$data" orders s:durability committed
start
refused 409 durability-floor -d x "$url/logs/orders?ack=none"
expect 200 -d x "$url/logs/orders?ack=committed"
expect_member offset 14
expect 202 -d x "$url/logs/late?ack=none"
stop

# When such an append fails after all, the operator hears of it; the client cannot.
file_kib=64
start
head -c 100000 /dev/zero >"$work/large"
expect 200 -d small "$url/logs/filled"
expect 202 --data-binary "@$work/large" "$url/logs/filled?ack=none"
wait_for 'event=unheard_append_failed log=filled ' || die 'the operator was not told'
expect 503 -X POST "$url/logs/filled/sync"
expect_problem log-failed
expect 503 -d x "$url/logs/filled?ack=none"
expect_problem log-failed
expect 503 -X POST "$url/logs/filled/trim?before=1"
expect_problem log-failed
kill "$server_pid"
ended
[ "$ended_status" -eq 1 ] || die "exit status $ended_status although a log failed"
passed
