#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Making a log with settings, describing it, and listing logs.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start

# put STATUS LOG [JSON]: without JSON there is no body.
put()
{
    if [ $# -eq 3 ]; then
        expect "$1" -X PUT -d "$3" "$url/logs/$2"
    else
        expect "$1" -X PUT "$url/logs/$2"
    fi
}

# The log is made empty, with what was asked for, and says so.
put 201 floor '{"durability":"committed"}'
expect_header Location /logs/floor
expect_header Content-Type application/json
expect_member log floor
expect_member durability committed
expect_member state ok
expect_member first_offset 0
expect_member committed_offset 0
expect_member next_offset 0
expect_member segments 1
[ "$(member bytes_on_disk)" -gt 0 ] || die "no bytes on disk: $(cat "$work/body")"
id=$(member id)
echo "$id" | grep -qx '[0-9a-f]\{32\}' || die "id $id"
created=$(member created)
echo "$created" | grep -qx '[0-9-]\{10\}T[0-9:]\{8\}\.[0-9]\{6\}Z' || die "created $created"
age=$(($(date +%s) - $(date -d "$created" +%s)))
((age >= -1 && age < 600)) || die "created $created"

# Again alike: there it is. Otherwise: it is another log than that.
put 200 floor '{"durability":"committed"}'
expect_member id "$id"
expect_header Location ''
put 200 floor ' { "durability" : "committed" } '
for body in '{"durability":"none"}' '{}' ''; do
    if [ -n "$body" ]; then put 409 floor "$body"; else put 409 floor; fi
    expect_problem conflict
done
put 201 plain
expect_member durability none
put 200 plain '{}'
put 200 plain '{"durability":"none"}'
put 409 plain '{"durability":"committed"}'
expect 201 -X PUT -H 'Content-Type: application/json; charset=utf-8' -d '{}' "$url/logs/typed"
expect 201 -X PUT -H 'Transfer-Encoding: chunked' -d '{"durability":"committed"}' "$url/logs/chunked"
expect_member durability committed

# The floor is heeded: no append to it is answered before it is durable.
expect 409 -d x "$url/logs/floor?ack=none"
expect_problem durability-floor
expect 202 -d x "$url/logs/plain?ack=none"
expect 200 -d x "$url/logs/chunked?ack=committed"
expect 200 "$url/logs/floor"
expect_member next_offset 0

# An append makes a log with the defaults.
expect 200 -d hello "$url/logs/appended"
expect 200 "$url/logs/appended"
expect_member durability none
expect_member committed_offset 1
put 200 appended '{"durability":"none"}'
put 409 appended '{"durability":"committed"}'

# What is not settable is refused, by name, and makes nothing.
put 400 refused '{"durability":"sometimes"}'
expect_problem bad-settings
put 400 refused '{"durability":null}'
put 400 refused '{"durability":1}'
put 400 refused '{"durability":"committed","retention":{"max_age":"1d"}}'
expect_problem bad-settings
grep -q 'max_age.*is not in' "$work/body" || die "retention: $(cat "$work/body")"
put 400 refused '{"quotas":{}}'
grep -q 'quotas.*no setting' "$work/body" || die "quotas: $(cat "$work/body")"
put 400 refused '{"durability":"none","colour":"red"}'
expect_problem bad-settings
grep -q 'colour.*no setting' "$work/body" || die "an unknown member: $(cat "$work/body")"
put 400 refused '{"Durability":"none"}'
put 400 refused '{"durability":"none","durability":"none"}'
grep -q 'twice' "$work/body" || die "a member that is there twice: $(cat "$work/body")"
for body in '[]' 'null' '"committed"' '1' '{' '{}{}' '{"durability":"none",}' "{'durability':'none'}" \
    '{"durability":"none"} x' "$(printf '{"\377":1}')" '{"a\u0000b":1}' ' ' \
    "{\"$(printf 'n%.0s' {1..300})\":1}" '{"Gr\u00fc\u00dfe \u0007 \"quoted\"":1}'; do
    put 400 refused "$body"
    expect_problem bad-settings
done
deep=$(printf '[%.0s' {1..5000})
put 400 refused "{\"durability\":$deep"
expect_problem bad-settings
{
    printf '{"durability":"none"'
    head -c 65536 /dev/zero | tr '\0' ' '
    printf '}'
} >"$work/large"
refused 413 document-too-large -X PUT --data-binary "@$work/large" "$url/logs/refused"
refused 413 document-too-large -X PATCH --data-binary "@$work/large" "$url/logs/refused"
refused 413 document-too-large -X PUT -H 'Transfer-Encoding: chunked' --data-binary "@$work/large" \
    "$url/logs/refused"
refused 400 bad-name -X PUT "$url/logs/-"
refused 400 bad-parameter -X PUT "$url/logs/refused?durability=none"
refused 400 unsupported-header -X PUT -H 'If-None-Match: *' "$url/logs/refused"
refused 404 log-not-found "$url/logs/refused"
expect 404 -I "$url/logs/refused"
expect_header Content-Type application/problem+json

# It survives a restart, kill -9 included, with its settings.
put 201 sudden '{"durability":"committed"}'
kill -KILL "$server_pid"
ended
start
for log in floor sudden; do
    expect 200 "$url/logs/$log"
    expect_member durability committed
    put 200 $log '{"durability":"committed"}'
    put 409 $log '{}'
done
expect 200 "$url/logs/floor"
expect_member id "$id"
expect_member created "$created"

# A log that was deleted is another one when it is made again.
expect 204 -X DELETE "$url/logs/floor"
put 201 floor
[ "$(member id)" != "$id" ] || die 'the id of a deleted log came back'
expect_member durability none

# How the description follows what happens to the log.
expect 200 -d one "$url/logs/plain"
expect 200 -d two "$url/logs/plain"
expect 200 -I "$url/logs/plain"
expect 200 "$url/logs/plain"
expect_member committed_offset 3
expect_member next_offset 3
expect 200 -X POST "$url/logs/plain/trim?before=2"
expect 200 "$url/logs/plain"
expect_member first_offset 2

# ---- the list ----

names()
{
    grep -o '"name":"[^"]*"' "$work/body" | cut -d'"' -f4 | tr '\n' ' '
}
expect 200 "$url/logs"
[ "$(names)" = 'appended chunked floor plain sudden typed ' ] || die "logs: $(cat "$work/body")"
expect 200 "$url/logs?limit=2"
[ "$(names)" = 'appended chunked ' ] || die "two logs: $(cat "$work/body")"
expect 200 "$url/logs?limit=4&after=$(member next_after)"
[ "$(names)" = 'floor plain sudden typed ' ] || die "the rest: $(cat "$work/body")"
! grep -q next_after "$work/body" || die 'a cursor behind the last one'
expect 200 "$url/logs?prefix=&after="
[ "$(names)" = 'appended chunked floor plain sudden typed ' ] || die "all logs: $(cat "$work/body")"
expect 200 "$url/logs?prefix=s&after=a"
[ "$(names)" = 'sudden ' ] || die "with prefix: $(cat "$work/body")"
expect 200 "$url/logs?prefix=nothing"
expect_body '{"logs":[]}'
expect 200 -I "$url/logs?limit=1"
for query in 'prefix=-' 'prefix=a~' 'after=.a' "after=$(printf 'a%.0s' {1..129})" 'prefix=a/b' limit=0 \
    limit=10001; do
    refused 400 bad-parameter "$url/logs?$query"
done
stop
passed
