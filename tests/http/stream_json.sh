#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Streams of JSON: a message is a record, in its own words, and readers get arrays of them.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start --max-record-bytes 64KiB --max-batch-bytes 1MiB
s=$url/v1/stream
json='Content-Type: application/json'

expect 201 -X PUT -H 'Content-Type: application/json; charset=utf-8' "$s/j"
expect 200 "$s/j"
expect_body '[]'
expect_header Content-Type 'application/json; charset=utf-8'

# An array is as many messages as it has elements, one level deep; all else is one.
expect 204 -H "$json" -d '{"a":1}' "$s/j"
expect_header Stream-Next-Offset 0000000000000001_0000000000000007
expect 204 -H "$json" -d '[[1,2],[3]]' "$s/j"
expect_header Stream-Next-Offset 0000000000000003_0000000000000015
expect 204 -H "$json" -d '[[[1]]]' "$s/j"
expect 204 -H "$json" -d '"text"' "$s/j"
expect 204 -H "$json" -d 'null' "$s/j"
expect 200 "$s/j"
expect_body '[{"a":1},[1,2],[3],[[1]],"text",null]'
expect_header Stream-Next-Offset 0000000000000006_0000000000000030
expect 200 "$s/j?offset=0000000000000003_0000000000000015"
expect_body '[[[1]],"text",null]'
expect 200 "$s/j?offset=now"
expect_body '[]'
expect 200 "$s/j?offset=0000000000000006_0000000000000030"
expect_body '[]'

# Their own text: large numbers, the order of members, white space, escapes.
expect 201 -X PUT -H "$json" "$s/text"
printf ' [ 1.50 , {"b" : 2,\n "a":12345678901234567890123, "c":null} ,"\\u00e4 \xc3\xa4 \\/" ] \n' \
    >"$work/odd"
expect 204 -H "$json" --data-binary "@$work/odd" "$s/text"
printf '[1.50,{"b" : 2,\n "a":12345678901234567890123, "c":null},"\\u00e4 \xc3\xa4 \\/"]' \
    >"$work/wanted"
expect 200 "$s/text"
cmp "$work/wanted" "$work/body" || die "not its own text: $(cat "$work/body")"
text_end=$(header Stream-Next-Offset)
expect 200 "$url/logs/text/records/0"
expect_body 1.50

# What is none changes nothing: not the stream, not the producer, not Stream-Seq.
tail=0000000000000006_0000000000000030
for body in '' ' ' '[]' ' [ ] ' '{' '[1,]' '[1' '1 2' '{"a":}' "{'a':1}" 'nul' '01' '"a' $'"\t"' '"\ud800"' \
    $'"\xff"' $'"\xed\xa0\x80"' '[1]x' '[1][2]'; do
    expect 400 -H "$json" --data-binary "$body" "$s/j"
    expect 400 -H "$json" -H 'Stream-Seq: 9' -H 'Producer-Id: p' -H 'Producer-Epoch: 0' \
        -H 'Producer-Seq: 0' --data-binary "$body" "$s/j"
done
refused 400 bad-json -H "$json" -d '[1, 2, x]' "$s/j"
expect_member position 7
expect 400 -H "$json" -H 'Stream-Closed: true' -d '[]' "$s/j"
expect 200 -I "$s/j"
expect_header Stream-Next-Offset "$tail"
expect_header Stream-Closed ''
expect 200 -H "$json" -H 'Stream-Seq: 1' -H 'Producer-Id: p' -H 'Producer-Epoch: 0' \
    -H 'Producer-Seq: 0' -d 7 "$s/j"

# Nesting has an end: a reader's stack has one, too.
printf '%0512d' 0 | tr 0 '[' >"$work/deep"
printf '%0512d' 0 | tr 0 ']' >>"$work/deep"
printf '[%s]' "$(cat "$work/deep")" >"$work/fits"
printf '[[%s]]' "$(cat "$work/deep")" >"$work/deeper"
expect 201 -X PUT -H "$json" --data-binary "@$work/fits" "$s/deep"
refused 400 bad-json -H "$json" --data-binary "@$work/deeper" "$s/deep"
grep -q '512 deep' "$work/body" || die "what is wrong: $(cat "$work/body")"

# Sizes: of a message, of all of them, and how many.
printf '"%065000d"' 0 >"$work/message"
expect 204 -H "$json" --data-binary "@$work/message" "$s/j"
printf '"%066000d"' 0 >"$work/message"
refused 413 record-too-large -H "$json" --data-binary "@$work/message" "$s/j"
printf '[1%s]' "$(printf ',1%.0s' $(seq 65536))" >"$work/many"
refused 413 batch-too-large -H "$json" --data-binary "@$work/many" "$s/j"
sed 's/^\[1,/[/' "$work/many" >"$work/most"
expect 204 -H "$json" --data-binary "@$work/most" "$s/j"
expect 200 "$url/logs/j/offsets"
expect_member committed_offset 65544
head -c 1100000 /dev/zero | tr '\0' ' ' >"$work/large"
expect 413 -H "$json" -H 'Expect: 100-continue' --data-binary "@$work/large" "$s/j"

# At the other door a JSON log takes JSON: a message a record, each line one.
expect 200 -d '{"from": "logs"}' "$url/logs/text"
expect_member offset 3
expect 200 -d '[1, 2]' "$url/logs/text" # one message: nothing is flattened here
printf '{"l":1}\n\n{"l":2}\n' >"$work/lines"
expect 200 -H 'Content-Type: application/x-ndjson' --data-binary "@$work/lines" "$url/logs/text"
expect_member count 2
refused 400 bad-json -d 'no json' "$url/logs/text"
refused 400 bad-json -d '[1' "$url/logs/text?ack=none"
printf '{"l":1}\n{"l":\n' >"$work/lines"
refused 400 bad-json -H 'Content-Type: application/x-ndjson' --data-binary "@$work/lines" \
    "$url/logs/text"
grep -q 'one of the lines' "$work/body" || die "what is wrong: $(cat "$work/body")"
expect 200 "$s/text?offset=$text_end"
expect_body '[{"from": "logs"},[1, 2],{"l":1},{"l":2}]'
jq -e length "$work/body" >/dev/null || die 'the stream is no JSON any more'

stop
passed
