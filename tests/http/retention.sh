#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# What a log is told to retain is retained, and the rest goes by itself: by records, bytes and age, by
# what the log says or what holds for all, changed later, and over a kill -9. What is gone is told of
# with 410 at both doors.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

lines='Content-Type: application/x-ndjson'

# append LOG COUNT: records of ten bytes, in one request.
append()
{
    seq -f 'rec-%06.0f' "$2" >"$work/batch"
    expect 200 -H "$lines" --data-binary "@$work/batch" "$url/logs/$1"
}

# until_first LOG OFFSET: the log begins there, sooner or later.
until_first()
{
    for _ in $(seq 200); do
        expect 200 "$url/logs/$1/offsets"
        [ "$(member first_offset)" != "$2" ] || return 0
        sleep 0.05
    done
    die "$1 does not begin at $2: $(cat "$work/body")"
}

# passes: two passes of retention that began from now on have ended, for this log lets some go.
passes()
{
    expect 200 "$url/logs/witness/offsets"
    local next
    for _ in 1 2; do
        next=$(member next_offset)
        append witness 3
        until_first witness $((next + 2))
    done
}

trims()
{
    expect 200 "$url/stats"
    jq -r ".trims.$1.$2" "$work/body"
}

start --retain-interval 50ms --segment-bytes 16KiB
expect 201 -X PUT -d '{"retention":{"records":1}}' "$url/logs/witness"

# ---- by records, and what is told of it ----

expect 201 -X PUT -d '{"retention":{"records":5}}' "$url/logs/counted"
jq -e '.settings == {"durability":"none","retention":{"records":5}} and .retention == {"records":5}' \
    "$work/body" >/dev/null || die "settings: $(cat "$work/body")"
append counted 3
passes
expect 200 "$url/logs/counted/offsets"
expect_member first_offset 0
append counted 17
until_first counted 15
passes
expect 200 "$url/logs/counted/offsets"
expect_member first_offset 15
expect 200 "$url/logs/counted/records?offset=15"
[ "$(wc -l <"$work/body")" = 5 ] || die "kept: $(cat "$work/body")"
expect 200 "$url/logs/counted/stats"
jq -e '.trims.records.count >= 1 and .trims.records.records == 15 and .trims.request.count == 0' \
    "$work/body" >/dev/null || die "trims: $(cat "$work/body")"
before=$(trims records records)
expect 200 "$url/metrics"
grep -qx "wald_trimmed_records_total{reason=\"records\"} $before" "$work/body" || die 'metrics'
grep -q '^wald_trims_total{reason="records"} [1-9]' "$work/body" || die 'metrics: count'

# What is gone is told of at both doors, with where the log begins.
refused 410 trimmed "$url/logs/counted/records?offset=0"
expect_member first_offset 15
refused 410 trimmed "$url/logs/counted/records/14"
expect_member first_offset 15
expect 410 "$url/v1/stream/counted?offset=0000000000000003_0000000000000030"
for offset in -1 0000000000000015_0000000000000150; do
    expect 200 "$url/v1/stream/counted?offset=$offset"
    [ "$(wc -c <"$work/body")" = 50 ] || die "at the second door: $(cat "$work/body")"
done

# ---- by bytes, age, and more than one ----

expect 201 -X PUT -d '{"retention":{"bytes":75}}' "$url/logs/weighed"
append weighed 20
until_first weighed 12 # eight have 80 bytes; seven would have 70
expect 201 -X PUT -d '{"retention":{"age":1}}' "$url/logs/aged"
append aged 4
expect 201 -X PUT -d '{"retention":{"age":1,"records":3}}' "$url/logs/both"
append both 10
expect 201 -X PUT -d '{"retention":{"age":3600,"records":1}}' "$url/logs/young"
append young 10
passes
expect 200 "$url/logs/both/offsets" # a second has not passed, unless the machine is very slow
until_first aged 4
until_first both 7
passes
expect 200 "$url/logs/young/offsets"
expect_member first_offset 0
expect 200 "$url/logs/both/offsets"
expect_member first_offset 7
[ "$(trims age records)" -ge 4 ] || die "trims by age: $(cat "$work/body")"
[ "$(trims bytes records)" -ge 12 ] || die "trims by bytes: $(cat "$work/body")"

# Space comes back, file by file.
expect 201 -X PUT -d '{"retention":{"records":1}}' "$url/logs/large"
head -c 9000 /dev/zero >"$work/piece"
for _ in 1 2 3 4 5 6; do
    expect 200 --data-binary "@$work/piece" "$url/logs/large"
done
until_first large 5
for _ in $(seq 100); do
    expect 200 "$url/logs/large"
    [ "$(member segments)" -gt 2 ] || break
    sleep 0.05
done
[ "$(member segments)" -le 2 ] || die "no space came back: $(cat "$work/body")"

# ---- told later, and otherwise ----

patch()
{
    expect "$1" -X PATCH -d "$3" "$url/logs/$2"
}

append told 30
patch 200 told '{"retention":{"records":20}}'
jq -e '.settings.retention == {"records":20}' "$work/body" >/dev/null || die "$(cat "$work/body")"
until_first told 10
patch 200 told '{"retention":{"records":null,"bytes":100}}'
jq -e '.settings.retention == {"bytes":100} and .retention == {"bytes":100}' "$work/body" >/dev/null ||
    die "$(cat "$work/body")"
until_first told 20
patch 200 told '{}'
jq -e '.settings.retention == {"bytes":100}' "$work/body" >/dev/null || die "$(cat "$work/body")"
patch 200 told '{"retention":null,"quota":{"records":1000}}'
jq -e '.settings == {"durability":"none","quota":{"records":1000}} and .retention == null and
    .quota == {"records":1000}' "$work/body" >/dev/null || die "$(cat "$work/body")"
append told 30
passes
expect 200 "$url/logs/told/offsets"
expect_member first_offset 20
# PUT makes sure that a log is there, and takes nothing away.
expect 200 -X PUT "$url/logs/told"
expect 200 -X PUT -d '{"quota":{"records":1000}}' "$url/logs/told"
refused 409 conflict -X PUT -d '{"retention":{"records":1}}' "$url/logs/told"
refused 409 conflict -X PUT -d '{"quota":{"records":null}}' "$url/logs/told"
refused 409 conflict -X PATCH -d '{"durability":"committed"}' "$url/logs/told"
patch 200 told '{"durability":"none"}'
refused 404 log-not-found -X PATCH -d '{}' "$url/logs/missing"
refused 400 bad-settings -X PATCH "$url/logs/told"
for body in '{"retention":5}' '{"retention":{"age":"1d"}}' '{"retention":{"age":1.5}}' \
    '{"retention":{"records":-1}}' '{"retention":{"bytes":9007199254740992}}' '[]' \
    '{"quota":{"age":1}}' '{"retention":{"age":10000000001}}' '{"quotas":{}}' \
    '{"retention":{"records":1,"records":2}}'; do
    refused 400 bad-settings -X PATCH -d "$body" "$url/logs/told"
done
refused 400 bad-settings -X PUT -d '{"quota":{"records":"1"}}' "$url/logs/unmade"
refused 404 log-not-found "$url/logs/unmade"
expect 200 "$url/logs/told"
jq -e '.settings == {"durability":"none","quota":{"records":1000}}' "$work/body" >/dev/null ||
    die "$(cat "$work/body")"

# ---- what holds for all, logs that nobody asks for, and a kill -9 ----

append plain 40
append kept 40
patch 200 kept '{"retention":{"records":0}}'
jq -e '.settings.retention == {"records":0} and .retention == null' "$work/body" >/dev/null ||
    die "$(cat "$work/body")"
patch 200 told '{"retention":{"age":1,"records":50}}'
kill -KILL "$server_pid"
ended
start --retain-interval 50ms --retain-records 25 --retain-age 500ms --quota-bytes 1MiB
for _ in $(seq 200); do # nobody has asked for them
    [ "$(trims age count)" -lt 1 ] || [ "$(trims records count)" -lt 1 ] || break
    sleep 0.05
done
until_first plain 15
expect 200 "$url/logs/plain"
jq -e '.settings == {"durability":"none"} and .retention == {"age":0.500,"records":25} and
    .quota == {"bytes":1048576}' "$work/body" >/dev/null || die "$(cat "$work/body")"
expect 200 "$url/logs/told"
jq -e '.settings.retention == {"age":1,"records":50}' "$work/body" >/dev/null || die "$(cat "$work/body")"
until_first kept 40 # the age of all holds for it, and its own count says nothing
patch 200 kept '{"retention":{"age":0}}'
append kept 40
append witness 1
sleep 1
expect 200 "$url/logs/kept/offsets"
expect_member first_offset 40
expect 200 "$url/stats"
jq -e '.retention_paused == false' "$work/body" >/dev/null || die 'the clock is not believed'
stop
passed
