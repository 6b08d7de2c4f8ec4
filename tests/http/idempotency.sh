#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# A retry is answered and not stored again: by Idempotency-Key, or by the number of a producer.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

# ends_at LOG OFFSET
ends_at()
{
    expect 200 "$url/logs/$1/offsets"
    expect_member next_offset "$2"
}

# produce STATUS LOG ID EPOCH SEQ BODY
produce()
{
    expect "$1" -H "Producer-Id: $3" -H "Producer-Epoch: $4" -H "Producer-Seq: $5" -d "$6" \
        "$url/logs/$2"
}

start

# ---- keys ----

# A replay gets the receipt of the first one, whatever has come since.
expect 200 -H 'Idempotency-Key: a' -d hello "$url/logs/keyed"
cp "$work/body" "$work/first"
place=$(header Location)
etag=$(header ETag)
expect_header Idempotency-Replayed ''
expect 200 -H 'Idempotency-Key: a' -d hello "$url/logs/keyed"
cmp "$work/first" "$work/body" || die 'another receipt for a replay'
expect_header Idempotency-Replayed true
expect_header Location "$place"
expect_header ETag "$etag"
expect 200 -d other "$url/logs/keyed"
expect 204 -H 'Idempotency-Key: a' -H 'Prefer: return=minimal' -d hello "$url/logs/keyed"
expect_header Idempotency-Replayed true
expect_header Location "$place"
ends_at keyed 2

# The same in gzip is the same body; lines of records are not the same as one record.
printf hello | gzip -c >"$work/hello.gz"
expect 200 -H 'Idempotency-Key: a' -H 'Content-Encoding: gzip' --data-binary "@$work/hello.gz" \
    "$url/logs/keyed"
expect_header Idempotency-Replayed true
expect_member offset 0
refused 422 idempotency-key-reused -H 'Idempotency-Key: a' -d hello2 "$url/logs/keyed"
refused 422 idempotency-key-reused -H 'Idempotency-Key: a' -d hell "$url/logs/keyed"
refused 422 idempotency-key-reused -H 'Idempotency-Key: a' \
    -H 'Content-Type: application/x-ndjson' -d hello "$url/logs/keyed"
printf 'x\ny\n' >"$work/lines"
for replayed in '' true; do
    expect 200 -H 'Idempotency-Key: b' -H 'Content-Type: application/x-ndjson' \
        --data-binary "@$work/lines" "$url/logs/keyed"
    expect_member offset 2
    expect_member count 2
    expect_member bytes 2
    expect_header Idempotency-Replayed "$replayed"
done
ends_at keyed 4

# A retry of what was conditional, or not to be waited for, succeeds as it did the first time.
for replayed in '' true; do
    expect 200 -H 'Idempotency-Key: c' -H 'If-Match: "4"' -d hello "$url/logs/keyed"
    expect_member offset 4
    expect_header Idempotency-Replayed "$replayed"
done
expect 202 -H 'Idempotency-Key: d' -d hello "$url/logs/keyed?ack=none"
expect 200 -H 'Idempotency-Key: d' -d hello "$url/logs/keyed?ack=none"
expect_header Idempotency-Replayed true
expect_member durability committed
expect_member offset 5
# A refused append takes no key.
expect 412 -H 'Idempotency-Key: e' -H 'If-Match: "4"' -d hello "$url/logs/keyed"
expect 200 -H 'Idempotency-Key: e' -H 'If-Match: "6"' -d hello "$url/logs/keyed"
expect_header Idempotency-Replayed ''
# Other logs know nothing of it.
expect 200 -H 'Idempotency-Key: a' -d hello "$url/logs/other"
expect_header Idempotency-Replayed ''

# Any printable name up to 255 bytes.
long=$(printf 'x%.0s' {1..255})
for key in "$long" '"8e03978e-40d5-43dd-bc93-6894a57f9324"' 'with space' '~!@#$%^&*()' 1; do
    for replayed in '' true; do
        expect 200 -H "Idempotency-Key: $key" -d hello "$url/logs/names"
        expect_header Idempotency-Replayed "$replayed"
    done
done
ends_at names 5
refused 400 bad-header -H "Idempotency-Key: x$long" -d hello "$url/logs/names"
refused 400 bad-header -H 'Idempotency-Key;' -d hello "$url/logs/names"
refused 400 bad-header -H 'Idempotency-Key: ü' -d hello "$url/logs/names"
refused 400 bad-header -H 'Idempotency-Key: a' -H 'Idempotency-Key: a' -d hello "$url/logs/names"
ends_at names 5

# The newest thousand are known, and the one before them is not.
for i in $(seq 1001); do
    printf 'url = "%s/logs/window"\ndata = "x"\nheader = "Idempotency-Key: %s"\n' "$url" "$i"
    printf 'output = /dev/null\nwrite-out = "%%{http_code}\\n"\n'
    [ "$i" -eq 1001 ] || echo next
done >"$work/config"
curl -s --max-time 200 -K "$work/config" >"$work/answers" 2>/dev/null
[ "$(grep -c '^200$' "$work/answers")" -eq 1001 ] || die "$(sort "$work/answers" | uniq -c)"
expect 200 -H 'Idempotency-Key: 2' -d x "$url/logs/window"
expect_header Idempotency-Replayed true
expect_member offset 1
expect 200 -H 'Idempotency-Key: 1' -d x "$url/logs/window"
expect_header Idempotency-Replayed ''
expect_member offset 1001
expect 200 -H 'Idempotency-Key: 2' -d x "$url/logs/window"
expect_header Idempotency-Replayed ''

# ---- producers ----

# A producer that has not been heard of begins with number 0; a refusal makes no log.
produce 409 produced p 0 1 one
expect_problem producer-gap
expect_header Producer-Expected-Seq 0
expect_header Producer-Received-Seq 1
expect 404 "$url/logs/produced/offsets"

produce 200 produced p 3 0 zero
expect_header Producer-Epoch 3
expect_header Producer-Seq 0
expect_header Idempotency-Replayed ''
produce 200 produced p 3 1 one
expect_header Producer-Seq 1
expect_member offset 1

# A duplicate of the newest one gets its receipt, whatever the body; an older one hears that it is
# there, and both how far the producer is.
produce 200 produced p 3 1 changed
expect_header Idempotency-Replayed true
expect_header Producer-Seq 1
expect_member offset 1
expect_member bytes 3
produce 200 produced p 3 0 zero
expect_header Idempotency-Replayed true
expect_header Producer-Seq 1
expect_body '{"log":"produced","duplicate":true,"committed_offset":2,"durability":"committed"}'
expect 204 -H 'Producer-Id: p' -H 'Producer-Epoch: 3' -H 'Producer-Seq: 0' \
    -H 'Prefer: return=minimal' -d zero "$url/logs/produced"
expect_header Producer-Seq 1

# What is missing has to come first.
produce 409 produced p 3 3 three
expect_problem producer-gap
expect_member expected_seq 2
expect_header Producer-Expected-Seq 2
expect_header Producer-Received-Seq 3
produce 409 produced p 3 9007199254740991 x
expect_header Producer-Received-Seq 9007199254740991

# A new epoch begins with 0 and shuts the old one out; producers do not know each other.
produce 400 produced p 4 2 x
expect_problem bad-header
produce 200 produced p 4 0 again
expect_header Producer-Epoch 4
produce 403 produced p 3 2 x
expect_problem stale-epoch
expect_header Producer-Epoch 4
expect_member producer_epoch 4
produce 403 produced p 0 0 x
produce 200 produced q 0 0 x
produce 200 produced p 4 1 x
produce 200 produced p 9007199254740991 0 x
ends_at produced 6

# All three headers or none, each a number that every reader of JSON keeps, and no key beside them.
names=(Producer-Id Producer-Epoch Producer-Seq)
values=(r 0 0)
for mask in 1 2 3 4 5 6; do
    some=()
    for i in 0 1 2; do
        [ $((mask >> i & 1)) -eq 0 ] || some+=(-H "${names[i]}: ${values[i]}")
    done
    refused 400 bad-header "${some[@]}" -d x "$url/logs/produced"
done
for number in -1 +1 1.0 x 0x1 9007199254740992 18446744073709551616 99999999999999999999999 1e3; do
    produce 400 produced r "$number" 0 x
    expect_problem bad-header
    produce 400 produced r 0 "$number" x
    expect_problem bad-header
done
refused 400 bad-header -H 'Producer-Id;' -H 'Producer-Epoch: 0' -H 'Producer-Seq: 0' -d x \
    "$url/logs/produced"
refused 400 bad-header -H 'Producer-Id: r' -H 'Producer-Epoch;' -H 'Producer-Seq: 0' -d x \
    "$url/logs/produced"
produce 400 produced "x$long" 0 0 x
refused 400 bad-header -H 'Producer-Id: r' -H 'Producer-Epoch: 0' -H 'Producer-Seq: 0' \
    -H 'Idempotency-Key: a' -d x "$url/logs/produced"
refused 400 bad-header -H 'Producer-Seq: 0' -H 'Idempotency-Key: a' -d x "$url/logs/produced"
ends_at produced 6
produce 200 produced "$long" 00 000 x

# The largest receipt there is goes out even if the head of its request was as large as can be.
name=$(printf 'a%.0s' {1..128})
expect 204 -H "Producer-Id: $long" -H 'Producer-Epoch: 9007199254740991' -H 'Producer-Seq: 0' \
    -H 'Prefer: return=minimal' -H "A: $(head -c 4900 /dev/zero | tr '\0' a)" -d x "$url/logs/$name"
expect 204 -H "Producer-Id: $long" -H 'Producer-Epoch: 9007199254740991' -H 'Producer-Seq: 0' \
    -H 'Prefer: return=minimal' -H "A: $(head -c 4900 /dev/zero | tr '\0' a)" -d x "$url/logs/$name"

# A thousand producers are remembered for ever, and no more are taken; those go on.
for i in $(seq 1000); do
    printf 'url = "%s/logs/crowd"\ndata = "x"\nheader = "Producer-Id: %s"\n' "$url" "$i"
    printf 'header = "Producer-Epoch: 0"\nheader = "Producer-Seq: 0"\n'
    printf 'output = /dev/null\nwrite-out = "%%{http_code}\\n"\n'
    [ "$i" -eq 1000 ] || echo next
done >"$work/config"
curl -s --max-time 200 -K "$work/config" >"$work/answers" 2>/dev/null
[ "$(grep -c '^200$' "$work/answers")" -eq 1000 ] || die "$(sort "$work/answers" | uniq -c)"
produce 409 crowd 1001 0 0 x
expect_problem too-many-producers
expect_member producers_max 1000
produce 200 crowd 1 0 1 x
produce 200 crowd 2 1 0 x
expect 200 -d plain "$url/logs/crowd"
expect 200 -H 'Idempotency-Key: a' -d x "$url/logs/crowd"
ends_at crowd 1004

# ---- at once ----

# Thirty retries of one append at the same moment: one record, one receipt.
for round in $(seq 10); do
    for client in $(seq 30); do
        printf 'url = "%s/logs/storm"\ndata = "round %s"\n' "$url" "$round"
        case $((round % 2)) in
        0) printf 'header = "Idempotency-Key: %s"\n' "$round" ;;
        1)
            printf 'header = "Producer-Id: storm"\nheader = "Producer-Epoch: %s"\n' "$round"
            printf 'header = "Producer-Seq: 0"\n'
            ;;
        esac
        printf 'write-out = "%%{http_code}\\n"\n'
        [ "$client" -eq 30 ] || echo next
    done >"$work/config"
    curl -s --max-time 60 --parallel --parallel-immediate --parallel-max 30 -K "$work/config" \
        >"$work/answers" 2>/dev/null
    [ "$(grep -c '^200$' "$work/answers")" -eq 30 ] || die "$(sort "$work/answers" | uniq -c)"
    [ "$(grep -c "\"offset\":$((round - 1))," "$work/answers")" -eq 30 ] ||
        die "round $round: $(sort "$work/answers" | uniq -c)"
    ends_at storm "$round"
done

# ---- another life ----

kill -KILL "$server_pid"
ended
start
expect 200 -H 'Idempotency-Key: a' -d hello "$url/logs/keyed"
expect_header Idempotency-Replayed true
expect_member offset 0
refused 422 idempotency-key-reused -H 'Idempotency-Key: a' -d hello2 "$url/logs/keyed"
produce 200 produced p 9007199254740991 0 x
expect_header Idempotency-Replayed true
expect_member offset 5
produce 403 produced p 4 2 x
produce 200 produced q 0 1 x
expect_header Idempotency-Replayed ''
expect 200 -H 'Idempotency-Key: 3' -d x "$url/logs/window"
expect_header Idempotency-Replayed ''
expect 200 -H 'Idempotency-Key: 1001' -d x "$url/logs/window"
expect_header Idempotency-Replayed true
produce 409 crowd 1001 0 0 x
expect_problem too-many-producers

# A log that is made anew remembers nothing of the one before.
expect 204 -X DELETE "$url/logs/keyed"
expect 200 -H 'Idempotency-Key: a' -d hello "$url/logs/keyed"
expect_header Idempotency-Replayed ''
stop
passed
