#!/bin/bash
# shellcheck disable=SC2119 # start, serve and stop take arguments of their own
# ls, stats and trim.
# shellcheck source=tests/cli/lib.sh
. "${0%/*}/lib.sh" "$@"
serve

prints '' ls
for log in b a-1 a-2 a-10; do
    seq 5 | wald append "$log" --lines --quiet >/dev/null
done
prints 'a-1\na-10\na-2\nb\n' ls
prints 'a-1\na-10\n' ls a-1
prints '' ls zzz
fails 64 'is no name of a log' ls '&'
prints '{"name":"b"}\n' ls b --json
[ "$(wald ls -l b | awk '{ print $1, $2, $3, $4, NF }')" = 'b 0 5 5 5' ] || die 'ls -l'
[ "$(wald ls --long --json a-2 | jq -c '[.log, .next_offset]')" = '["a-2",5]' ] || die 'ls -l --json'

# More names than one answer holds.
for i in $(seq 1005); do
    printf 'url = "%s/logs/many-%s"\nrequest = "PUT"\n' "$url" "$i"
done >"$work/make"
curl -sSf --max-time 100 -o "$work/made" -K "$work/make" >/dev/null || die 'logs could not be made'
[ "$(wald ls many | sort -u | wc -l)" -eq 1005 ] || die 'ls over pages'

[ "$(wald stats b | awk '$1 == "committed_offset" { print $2 }')" = 5 ] || die 'stats of a log'
wald stats b | grep '^commit_latency_us\.p50  *[0-9]' >/dev/null || die 'stats of a log: latency'
wald stats | grep '^disk\.writable  *yes$' >/dev/null || die 'stats'
[ "$(wald stats --json | jq .logs_open)" -ge 1000 ] || die 'stats --json'
[ "$(wald stats b --json | jq -r .log)" = b ] || die 'stats --json of a log'
fails 1 '(404 log-not-found)' stats none

prints '2\n' trim b --before 2
prints '3\n4\n5\n' read b
prints '4\n' trim b --keep 1
prints '4\n' trim b --keep 4
prints '4\n' trim b --before 1
[ "$(wald trim b --before 4 --json | jq .first_offset)" = 4 ] || die 'trim --json'
fails 1 '(409 conflict)' trim b --before 6
prints '5\n' trim b --keep 0
prints '' read b
fails 1 '(404 log-not-found)' trim none --keep 1
[ "$(wald ls -l b | awk '{ print $2, $3, $4 }')" = '5 5 0' ] || die 'ls -l of a trimmed log'
stop
passed
