#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Each ceiling holds, is told of in a way that a client can act on, and lets go again.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

host='Host: localhost\r\n'

# expect_busy TYPE: 503, and when to come back.
expect_busy()
{
    expect_problem "$1"
    [ -n "$(header Retry-After)" ] || die '503 without Retry-After'
}

# Connections: the last one waits in the backlog, until another is closed; nothing else may have to
# happen for it to be taken in.
start --connections-max 3
exec 4<>"/dev/tcp/127.0.0.1/$port" 5<>"/dev/tcp/127.0.0.1/$port" 6<>"/dev/tcp/127.0.0.1/$port"
for fd in 4 5 6; do
    printf 'GET /livez HTTP/1.1\r\n%b\r\n' "$host" >&$fd
    IFS= read -r -t 30 line <&$fd || die "connection $fd got no answer"
done
exec 7<>"/dev/tcp/127.0.0.1/$port"
printf 'GET /livez HTTP/1.1\r\n%b\r\n' "$host" >&7
! IFS= read -r -t 1 line <&7 || die "a fourth connection was served: $line"
exec 5>&-
IFS= read -r -t 30 line <&7 || die 'the place of a closed connection was not filled'
[ "${line%$'\r'}" = 'HTTP/1.1 200 OK' ] || die "the fourth connection: $line"
exec 4>&- 6>&- 7>&-
stop

# Bodies that are arriving.
start --body-memory 70000
head -c 60000 /dev/zero >"$work/piece"
expect 200 --data-binary "@$work/piece" "$url/logs/bodies"
head -c 69000 /dev/zero >"$work/most" # there is no more left, but it fits
expect 200 --data-binary "@$work/most" "$url/logs/bodies"
exec 7<>"/dev/tcp/127.0.0.1/$port"
printf 'POST /logs/bodies HTTP/1.1\r\n%bContent-Length: 60001\r\n\r\n' "$host" >&7
cat "$work/piece" >&7
for _ in $(seq 100); do
    status=$(curl -s -o "$work/body" -D "$work/headers" -w '%{http_code}' \
        --data-binary "@$work/piece" "$url/logs/bodies")
    [ "$status" = 200 ] || break # until all of the first has arrived
    sleep 0.1
done
[ "$status" = 503 ] || die "bodies beyond the memory for them: $status"
expect_busy no-memory
expect 200 -d small "$url/logs/bodies"
exec 7>&-
until_stats requests_in_progress 1
expect 200 --data-binary "@$work/piece" "$url/logs/bodies"
stop

# Answers that are being taken. What has been appended is told in any case.
start --answer-memory 64KiB --max-record-bytes 16MiB --max-header-bytes 32KiB
head -c 16777216 /dev/zero >"$work/large"
head -c 20000 /dev/zero >"$work/medium"
expect 200 --data-binary "@$work/large" "$url/logs/answers"
expect 200 --data-binary "@$work/medium" "$url/logs/answers"
exec 7<>"/dev/tcp/127.0.0.1/$port"
printf 'GET /logs/answers/records/0 HTTP/1.1\r\n%b\r\n' "$host" >&7
IFS= read -r -t 30 line <&7 || die 'no answer'
expect 503 "$url/logs/answers/records/1"
expect_busy no-memory
expect 200 "$url/logs/answers/offsets"
expect 200 -d more "$url/logs/answers"
exec 7>&-
until_stats requests_in_progress 1
expect 200 "$url/logs/answers/records/1"
cmp -s "$work/medium" "$work/body" || die 'the record came back changed'

# Headers, up and down.
expect 200 -H "A: $(head -c 30000 /dev/zero | tr '\0' a)" -d x "$url/logs/headers"
stop
start --max-header-bytes 2KiB
expect 200 -H "A: $(head -c 1500 /dev/zero | tr '\0' a)" -d x "$url/logs/headers"
expect 431 -H "A: $(head -c 2000 /dev/zero | tr '\0' a)" -d x "$url/logs/headers"
expect_problem too-many-headers
stop

# Records that wait for the disk: of one log, and of all.
start --queue-bytes 4KiB --queue-memory 1MiB --batch-delay 3s
head -c 4000 /dev/zero >"$work/piece"
curl -sS --max-time 60 -o /dev/null --data-binary "@$work/piece" "$url/logs/queue" &
first=$!
until_stats appends_waiting 1
expect 503 --data-binary "@$work/piece" "$url/logs/queue"
expect_busy busy
curl -sS --max-time 60 -o /dev/null --data-binary "@$work/piece" "$url/logs/other" &
second=$!
until_stats appends_waiting 2
wait "$first" "$second" || die 'an append that was waiting failed'
expect 200 "$url/logs/queue/offsets"
expect_member committed_offset 1

head -c 600000 /dev/zero >"$work/piece"
curl -sS --max-time 60 -o /dev/null --data-binary "@$work/piece" "$url/logs/one" &
first=$!
until_stats appends_waiting 1
expect 503 --data-binary "@$work/piece" "$url/logs/two"
expect_busy busy
wait "$first" || die 'an append that was waiting failed'

stop

# Logs that are in use at once; one that is not makes room.
start --logs-max 1 --batch-delay 2s
curl -sS --max-time 60 -o /dev/null -d x "$url/logs/one" &
first=$!
until_stats appends_waiting 1
expect 503 -d x "$url/logs/two"
expect_busy too-many-files
grep -q -- '--logs-max' "$work/body" || die 'it does not say which limit that may be'
wait "$first" || die 'an append that was waiting failed'
for _ in $(seq 100); do
    status=$(curl -s -o /dev/null -w '%{http_code}' -d x "$url/logs/two")
    [ "$status" = 503 ] || break
    sleep 0.1
done
[ "$status" = 200 ] || die "no room was made for another log: $status"
stop

# A client that is gone before its receipt loses the receipt and nothing else.
start --batch-delay 1s
exec 7<>"/dev/tcp/127.0.0.1/$port"
printf 'POST /logs/gone HTTP/1.1\r\n%bContent-Length: 4\r\n\r\ngone' "$host" >&7
until_stats appends_waiting 1
exec 7>&-
until_stats appends_waiting 0
expect 200 "$url/logs/gone/records/0"
[ "$(cat "$work/body")" = gone ] || die "the record: $(cat "$work/body")"
until_stats requests_in_progress 1
stop
passed
