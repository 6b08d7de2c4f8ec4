#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# What Prometheus makes of /metrics: its own checker finds nothing to say, and a real server scrapes
# the service and answers queries with its numbers.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

for program in prometheus promtool; do
    command -v "$program" >/dev/null || skip "there is no $program"
done

start
for _ in 1 2 3; do
    expect 200 -d hello "$url/logs/orders"
done
expect 404 "$url/logs/none/offsets"
expect 200 "$url/metrics"
promtool check metrics <"$work/body" >"$work/lint" 2>&1 || die "promtool: $(cat "$work/lint")"
[ ! -s "$work/lint" ] || die "promtool: $(cat "$work/lint")"
# It does find something where there is something.
sed 's/wald_commits_total/wald_commits/' "$work/body" | promtool check metrics >"$work/lint" 2>&1 &&
    die 'promtool sees nothing'

# A server of its own on a port of its own, with a folder of its own: the one that Debian's package
# would start where systemd runs has nothing to do with it, and is not needed.
prometheus_pid=''
end_prometheus()
{
    if [ -n "$prometheus_pid" ]; then
        kill -KILL "$prometheus_pid" 2>/dev/null || true
        wait "$prometheus_pid" 2>/dev/null || true
    fi
    cleanup
}
trap end_prometheus EXIT
cat >"$work/prometheus.yml" <<EOF
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: wald
    static_configs:
      - targets: ['127.0.0.1:$port']
EOF
promtool check config "$work/prometheus.yml" >"$work/lint" 2>&1 || die "$(cat "$work/lint")"
: >"$work/prometheus.log"
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/prometheus" \
    --web.listen-address=127.0.0.1:0 >"$work/prometheus.log" 2>&1 &
prometheus_pid=$!
prometheus_port=''
for _ in $(seq 600); do
    prometheus_port=$(sed -n 's/.*msg="Listening on" address=127\.0\.0\.1:\([0-9]*\).*/\1/p' \
        "$work/prometheus.log")
    [ -z "$prometheus_port" ] || break
    kill -0 "$prometheus_pid" 2>/dev/null || break
    sleep 0.1
done
[ -n "$prometheus_port" ] || die "prometheus does not start: $(tail -n 5 "$work/prometheus.log")"

# query EXPRESSION: the value of the one series that it finds; nothing if there is none yet.
query()
{
    curl -sS --max-time 30 -G --data-urlencode "query=$1" \
        "http://127.0.0.1:$prometheus_port/api/v1/query" 2>/dev/null |
        sed -n 's/.*"result":\[{[^]]*"value":\[[^,]*,"\([^"]*\)"\].*/\1/p'
}

# expect_query VALUE EXPRESSION: until it has that value; a scrape may be a second away.
expect_query()
{
    local got
    for _ in $(seq 300); do
        got=$(query "$2")
        [ "$got" != "$1" ] || return 0
        sleep 0.2
    done
    die "$2: wanted $1, got \"$got\": $(tail -n 3 "$work/prometheus.log")"
}

expect_query 1 'up{job="wald"}'
expect_query 3 wald_committed_records_total
expect_query 15 wald_committed_bytes_total
expect_query 3 'wald_log_committed_offset{log="orders"}'
expect_query 3 'wald_http_requests_total{route="/logs/{log}",method="POST",code="200"}'
expect_query 1 'wald_http_refusals_total{type="log-not-found"}'
expect_query 1 "wald_io_info{backend=\"$backend\"}"
expect_query 3 'wald_commit_duration_seconds_bucket{le="+Inf"}'
# Most monitoring is made of these three.
expect_query 1 'histogram_quantile(0.99, wald_commit_duration_seconds_bucket) > bool 0'
expect_query 1 'rate(process_cpu_seconds_total[1m]) >= bool 0'
expect_query 1 'time() - process_start_time_seconds < bool 3600'

# The next scrape has what came since, and no series of a log that is gone.
expect 200 -d more "$url/logs/orders"
expect_query 4 wald_committed_records_total
expect 204 -X DELETE "$url/logs/orders"
expect_query 0 'count(wald_log_committed_offset) or vector(0)'
expect_query 4 wald_committed_records_total

kill "$prometheus_pid"
wait "$prometheus_pid" || die "prometheus: exit status $?: $(tail -n 5 "$work/prometheus.log")"
prometheus_pid=''
stop
passed
