#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Settings come from flags, the environment and a file, in this order, and each of them acts. Those
# that limit something are in limits.sh and errors.sh, those that end something in deadlines.sh and
# drain.sh.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

# All from a file and the environment, none from a flag.
cat >"$work/wald.conf" <<END
# What an operator would write.
data = $work/nowhere
listen = 127.0.0.1:1
io = $backend
max-record-bytes = 10
log-format = json
END
: >"$work/log"
(
    export WALD_CONFIG="$work/wald.conf" WALD_DATA="$data" WALD_LISTEN=127.0.0.1:0
    export WALD_MAX_RECORD_BYTE=11
    exec "$wald" serve 2>"$work/log"
) &
server_pid=$!
if ! wait_for '"event":"ready"'; then
    [ "$backend" = posix ] || ! grep -q io_uring "$work/log" || skip "$(cat "$work/log")"
    die 'the program did not become ready'
fi
port=$(sed -n 's/.*"listen":"127\.0\.0\.1:\([0-9]*\)".*/\1/p' "$work/log")
url=http://127.0.0.1:$port
grep -q '"level":"warning","event":"unknown_setting","variable":"WALD_MAX_RECORD_BYTE"' \
    "$work/log" || die 'a misspelt variable went unnoticed'
expect 200 -d 1234567890 "$url/logs/small"
expect 413 -d 12345678901 "$url/logs/small"
[ ! -e "$work/nowhere" ] || die 'the file went before the environment'
[ -d "$data/logs/small" ] || die 'the environment did not set the data directory'
kill -TERM "$server_pid"
ended
[ "$ended_status" -eq 0 ] || die "exit status $ended_status"
grep -q '"event":"stopping","signal":"SIGTERM"' "$work/log" || die 'no event of the stop'
grep -vq '^{"time":"[0-9TZ:.-]*","level":"[a-z]*","event":"[a-z_]*".*}$' "$work/log" &&
    die "not only lines of JSON: $(cat "$work/log")"

# What is printed can be used as a file, and sets the same.
"$wald" serve --config "$work/wald.conf" --data "$data" --listen 127.0.0.1:0 \
    --host a.example,b.example --cors-origin https://a.example --max-record-bytes 20 --log-format logfmt --print-config \
    >"$work/printed"
grep -qx '# from --max-record-bytes' "$work/printed" || die 'no origin is printed'
: >"$work/log"
(exec "$wald" serve --config "$work/printed" 2>"$work/log") &
server_pid=$!
wait_for 'event=ready' || die "$(cat "$work/log")"
port=$(sed -n 's/.* listen=127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$work/log")
url=http://127.0.0.1:$port
expect 200 -H 'Host: b.example' -d 12345678901234567890 "$url/logs/small"
expect 421 -H 'Host: c.example' -d x "$url/logs/small"
expect 200 -H 'Origin: https://a.example' "$url/logs"
expect 403 -H 'Origin: https://b.example' "$url/logs"
stop

# Logs are made by appends, or not.
start --auto-create off
expect 404 -d x "$url/logs/new"
expect_problem log-not-found
[ ! -e "$data/logs/new" ] || die 'a log was made'
expect 200 -d x "$url/logs/small"
stop

# Many records in one body have a limit of their own.
start --max-batch-bytes 100
lines='Content-Type: application/x-ndjson'
printf '%049d\n%049d\n' 1 2 >"$work/batch"
expect 200 -H "$lines" --data-binary "@$work/batch" "$url/logs/batches"
expect_member count 2
echo x >>"$work/batch"
expect 413 -H "$lines" --data-binary "@$work/batch" "$url/logs/batches"
expect 200 --data-binary "@$work/batch" "$url/logs/batches"
expect_member offset 2
stop

# What monitoring is told.
start --space-floor 1TiB --metrics-logs-max 1
expect 503 "$url/readyz"
refused 507 space-floor -d x "$url/logs/one"
stop
start --space-floor 0 --metrics-logs-max 1
expect 200 "$url/readyz"
expect 200 -d x "$url/logs/one"
expect 200 -d x "$url/logs/two"
expect 200 "$url/metrics"
[ "$(grep -c '^wald_log_committed_offset{' "$work/body")" = 1 ] || die 'one log has series'
stop
start --space-floor 1%
expect 200 "$url/readyz"
stop

# How it is written, and into files of what size.
start --direct off --segment-bytes 16KiB
expect 200 "$url/stats"
grep -q '"direct":false' "$work/body" || die "direct: $(cat "$work/body")"
head -c 10000 /dev/zero >"$work/piece"
for _ in 1 2 3 4; do
    expect 200 --data-binary "@$work/piece" "$url/logs/segments"
done
expect 200 "$url/logs/segments/stats"
[ "$(member segments)" -ge 3 ] || die "segments: $(cat "$work/body")"
stop

# Two appends within the delay share a commit.
start --batch-delay 3s
curl -sS --max-time 60 -o /dev/null -d one "$url/logs/company" &
first=$!
for _ in $(seq 100); do
    expect 200 "$url/stats"
    [ "$(member appends_waiting)" != 1 ] || break
    sleep 0.1
done
expect 200 -d two "$url/logs/company"
wait "$first" || die 'the first of two appends failed'
expect 200 "$url/logs/company/stats"
expect_member commits 1
expect_member total_operations 2
stop
passed
