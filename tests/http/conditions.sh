#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# If-Match: an append goes where the client expects it, or nowhere; of many that expect the same
# place exactly one gets it.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

# moved NEXT ARGUMENT...: refused, with the place where the next append would go.
moved()
{
    local next=$1
    shift
    expect 412 "$@"
    expect_problem precondition-failed
    expect_member next_offset "$next"
}

start

# A log that is not there matches nothing, and is not made.
for tag in '*' '"0"' '"1"'; do
    expect 412 -H "If-Match: $tag" -d x "$url/logs/orders"
    expect_problem precondition-failed
    expect 404 "$url/logs/orders/offsets"
done

expect 200 -d zero "$url/logs/orders"
etag=$(header ETag)
id=${etag%-*}
id=${id#\"}

# By the offset alone, with the log's id, or in a list; a star is satisfied with any log.
expect 200 -H 'If-Match: "1"' -d one "$url/logs/orders"
expect_member offset 1
expect 200 -H "If-Match: \"$id-2\"" -d two "$url/logs/orders"
expect_member offset 2
expect 200 -H "If-Match: \"7\", \"$id-3\"" -d three "$url/logs/orders"
expect_member offset 3
expect 200 -H 'If-Match: *' -d four "$url/logs/orders"
expect_member offset 4
printf 'five\nsix\n' >"$work/lines"
expect 200 -H 'If-Match: "5"' -H 'Content-Type: application/x-ndjson' \
    --data-binary "@$work/lines" "$url/logs/orders"
expect_member next_offset 7
expect 202 -H 'If-Match: "7"' -d seven "$url/logs/orders?ack=none"
expect 204 -H 'If-Match: "8"' -H 'Prefer: return=minimal' -d eight "$url/logs/orders"

# Any other place is refused, near or far; so are the tags of records and of other logs.
for tag in '"8"' '"10"' '"0"' '"09"' '"+9"' '""' '"x"' "\"$id-8\"" "\"${id%?}-9\"" \
    "\"00000000000000000000000000000000-9\"" 'W/"9"' "W/\"$id-9\"" '"8", "10"' \
    '"18446744073709551625"' "$etag"; do
    moved 9 -H "If-Match: $tag" -d x "$url/logs/orders"
    moved 9 -H "If-Match: $tag" -d x "$url/logs/orders?ack=none"
done

# What is no tag is no condition, and not for guessing.
for tag in 9 "'9'" '"9' '9"' "$id-9" '"9" "9"' '"9",' '**' 'any'; do
    expect 400 -H "If-Match: $tag" -d x "$url/logs/orders"
    expect_problem bad-header
done
expect 400 -H 'If-None-Match: *' -d x "$url/logs/orders"
expect_problem unsupported-header

# None of them left anything. A successor of the same name is another log.
expect 200 "$url/logs/orders/offsets"
expect_member next_offset 9
expect 204 -X DELETE "$url/logs/orders"
expect 200 -d zero "$url/logs/orders"
moved 1 -H "If-Match: \"$id-1\"" -d x "$url/logs/orders"
expect 200 -H 'If-Match: "1"' -d one "$url/logs/orders"

# Twenty at once expect the same place, twenty times. Exactly one of each round gets it, the others
# hear where the log has come to, and what they then read is there.
expect 200 -d start "$url/logs/race"
for round in $(seq 20); do
    for client in $(seq 20); do
        printf 'url = "%s/logs/race"\ndata = "round %s client %s"\nheader = "If-Match: \\"%s\\""\n' \
            "$url" "$round" "$client" "$round"
        printf 'output = "%s/answer.%s"\nwrite-out = "%%{http_code} %s\\n"\n' "$work" "$client" \
            "$client"
        [ "$client" -eq 20 ] || echo next
    done >"$work/config"
    curl -sS --max-time 60 --parallel --parallel-immediate --parallel-max 20 -K "$work/config" \
        >"$work/answers" 2>"$work/meter" || die "curl: $(cat "$work/meter")"
    [ "$(grep -c '^200' "$work/answers")" -eq 1 ] || die "round $round: $(sort "$work/answers")"
    [ "$(grep -c '^412' "$work/answers")" -eq 19 ] || die "round $round: $(sort "$work/answers")"
    winner=$(sed -n 's/^200 //p' "$work/answers")
    for client in $(seq 20); do
        [ "$client" -eq "$winner" ] ||
            grep -q "\"next_offset\":$((round + 1))}" "$work/answer.$client" ||
            die "round $round: $(cat "$work/answer.$client")"
    done
    expect 200 "$url/logs/race/records/$round"
    [ "$(cat "$work/body")" = "round $round client $winner" ] || die "round $round: another won"
done
expect 200 "$url/logs/race/offsets"
expect_member next_offset 21
stop
passed
