#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Alive, ready, and which program: what load balancers, orchestrators and people ask first. Readiness
# is asked of the disk itself: a write that fails is told, and forgotten once the disk works again.
# Disks that are full or hang are in health_disk.sh.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

# outwait: until what was known of the disk is too old to be told again without a new write.
outwait()
{
    sleep 2.2
}

start
for path in /livez /healthz /readyz; do
    expect 200 "$url$path"
    expect_body ok
    expect_header Content-Type 'text/plain; charset=utf-8'
    expect_header Cache-Control no-store
    expect 200 "$url$path?verbose"
    expect_header Content-Type application/json
    [ "$(jq -r .status "$work/body")" = ok ] || die "$path: $(cat "$work/body")"
    expect 200 -I "$url$path?verbose"
    expect 400 "$url$path?verbose=yes"
    expect_problem bad-parameter
    expect 405 -d x "$url$path"
done
expect 200 -d hello "$url/logs/orders"
expect 200 "$url/readyz?verbose"
for name in recovery disk space logs stopping; do
    expect_check "$name" '^ok: ....'
done
expect_check disk 'succeeded'
expect_check logs '1 open, 0 failed, 0 damaged'

# On a quiet service a write is made to know, whoever and however many ask.
outwait
for _ in 1 2 3 4 5 6 7 8; do
    curl -sS --max-time 60 -o /dev/null -w '%{http_code}\n' "$url/readyz" >>"$work/answers" &
done
wait -n 2>/dev/null || true
for _ in $(seq 600); do
    [ "$(wc -l <"$work/answers")" -lt 8 ] || break
    sleep 0.05
done
[ "$(sort "$work/answers" | uniq -c | tr -s ' ')" = ' 8 200' ] || die "$(cat "$work/answers")"
[ "$(stat -c %s "$data/probe")" -eq 4096 ] || die 'no probe was made'

expect 200 "$url/version"
[ "wald $(jq -r .version "$work/body")" = "$("$wald" --version)" ] || die "$(cat "$work/body")"
[ "$(jq -r .kernel "$work/body")" = "$(uname -r)" ] || die "kernel: $(cat "$work/body")"
[ "$(jq -r .io.backend "$work/body")" = "$backend" ] || die "backend: $(cat "$work/body")"
for name in name build_type compiler libmicrohttpd jansson io.reason io.direct; do
    [ -n "$(jq -r ".$name | select(. != null)" "$work/body")" ] || die "no $name"
done

# A disk that refuses: here something stands where the probe goes.
rm "$data/probe"
mkdir "$data/probe"
outwait
expect 503 "$url/readyz"
expect_problem not-ready
[ -n "$(header Retry-After)" ] || die '503 without Retry-After'
expect 503 "$url/readyz?verbose"
expect_problem not-ready
expect_check disk '^failed: .*Is a directory'
expect_check space '^ok'
expect 200 "$url/livez"
expect 200 "$url/stats"
[ "$(jq -r .disk.writable "$work/body")" = false ] || die "disk: $(cat "$work/body")"
expect 200 "$url/metrics"
grep -qx 'wald_disk_writable 0' "$work/body" || die 'wald_disk_writable'
# A commit is as good as a probe, for as long as it is fresh.
for _ in $(seq 50); do
    expect 200 -d hello "$url/logs/orders"
    ready=$(curl -sS --max-time 60 -o /dev/null -w '%{http_code}' "$url/readyz")
    [ "$ready" != 200 ] || break
done
[ "$ready" = 200 ] || die "after a commit: $ready"
rmdir "$data/probe"
outwait
expect 200 "$url/readyz"
stop

# One log that failed does not take the others away; when all have, there is nothing to be ready for.
# shellcheck disable=SC2034 # lib.sh uses it
file_kib=64
start
head -c 100000 /dev/zero >"$work/large"
expect 500 --data-binary "@$work/large" "$url/logs/filled"
outwait # the failed write itself is known for a while
expect 503 "$url/readyz?verbose"
expect_check disk '^ok'
expect_check logs '^failed: 1 open, 1 failed'
expect 200 -d fine "$url/logs/other"
expect 200 "$url/readyz?verbose"
expect_check logs '^ok: 2 open, 1 failed'
kill "$server_pid"
ended
[ "$ended_status" -eq 1 ] || die "exit status $ended_status although a log failed"
file_kib=unlimited
passed
