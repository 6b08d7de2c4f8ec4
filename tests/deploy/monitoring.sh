#!/bin/bash
# The monitoring that is shipped, against the program as it runs: Debian's Prometheus, started with
# docker/prometheus and nothing changed in it but where things are and how often they are asked,
# scrapes it under load; then every alert, every panel and every variable of the dashboard has to
# have a result.
#
#   monitoring.sh FOLDER WALD           starts WALD, with its data in FOLDER
#   monitoring.sh FOLDER http://H:P     asks what listens there, such as a container; it gets some
#                                       records in logs whose names begin with "monitoring-test-"
# shellcheck source=tests/deploy/lib.sh
. "${0%/*}/lib.sh" "$1"
needs prometheus promtool jq curl
here=$root/tests/deploy
rules=$root/docker/prometheus/rules.yml
dashboard=$root/docker/grafana/dashboards/wald.json
expressions=$here/expressions.py
export PYTHONDONTWRITEBYTECODE=1

# ---- the files ----

python3 "$expressions" files "$rules" "$dashboard" "$root/docs/runbook.md" || die 'see above'
cp "$root"/docker/prometheus/*.yml "$here/rules_test.yml" "$work/"
promtool check config "$root/docker/prometheus/prometheus.yml" >"$work/lint" 2>&1 ||
    die "$(cat "$work/lint")"
promtool test rules "$work/rules_test.yml" >"$work/lint" 2>&1 || die "$(cat "$work/lint")"

# Both would notice: a limit that is wrong, and a runbook that lacks an alert.
sed -i 's/< 0\.1$/< 0.01/' "$work/rules.yml"
! promtool test rules "$work/rules_test.yml" >/dev/null 2>&1 || die 'the tests of rules see nothing'
sed 's/^## WaldDown$/## WaldGone/' "$root/docs/runbook.md" >"$work/runbook.md"
! python3 "$expressions" files "$rules" "$dashboard" "$work/runbook.md" >/dev/null ||
    die 'expressions.py sees nothing in files'
cp "$rules" "$work/rules.yml"

# ---- the program, or what runs already ----

case $2 in
http://*) url=${2%/} ;;
*)
    "$2" serve --data "$work/data" --listen 127.0.0.1:0 2>"$work/wald.log" &
    pids[server]=$!
    for _ in $(seq 600); do
        ! grep -q event=ready "$work/wald.log" || break
        kill -0 "${pids[server]}" 2>/dev/null || break
        sleep 0.05
    done
    url=http://$(sed -n 's/.*event=ready listen=\([0-9.:]*\) .*/\1/p' "$work/wald.log")
    [ "$url" != http:// ] || die "wald does not start: $(cat "$work/wald.log")"
    ;;
esac

# ---- Prometheus ----

# Changed in the copy: the target, and a second instead of a quarter of a minute. All else is as
# shipped.
sed -i -e "s|'wald:8080'|'${url#http://}'|" -e 's|_interval: 15s|_interval: 1s|' \
    "$work/prometheus.yml"
grep -q "${url#http://}" "$work/prometheus.yml" || die 'prometheus.yml has no target wald:8080'
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/prometheus" \
    --web.listen-address=127.0.0.1:0 >"$work/prometheus.log" 2>&1 &
pids[prometheus]=$!
prometheus_url=''
for _ in $(seq 600); do
    prometheus_url=$(sed -n \
        's|.*msg="Listening on" address=\(127\.0\.0\.1:[0-9]*\).*|http://\1|p' \
        "$work/prometheus.log")
    [ -z "$prometheus_url" ] || break
    kill -0 "${pids[prometheus]}" 2>/dev/null || break
    sleep 0.1
done
[ -n "$prometheus_url" ] || die "prometheus does not start: $(tail -n 5 "$work/prometheus.log")"

# load: appends from several clients, reads, and a refusal.
load()
{
    curl -sS --no-progress-meter --max-time 60 --parallel --parallel-max 16 \
        -d 'a record of the test' "$url/logs/monitoring-test-[1-4]#[1-50]" >/dev/null
    curl -sS --max-time 60 "$url/logs/monitoring-test-1/records?limit=10" \
        "$url/logs/monitoring-test-none/offsets" "$url/readyz" >/dev/null
}

# value EXPRESSION: of the one series it finds.
value()
{
    curl -sS --max-time 30 -G --data-urlencode "query=$1" "$prometheus_url/api/v1/query" |
        jq -r '.data.result[0].value[1] // empty'
}

# Until Prometheus has seen numbers rise.
scrapes=0
for _ in $(seq 120); do
    load
    scrapes=$(value \
        'count_over_time(up{job="wald"}[10s]) and increase(wald_commits_total[10s]) > 0')
    [ "${scrapes:-0}" -lt 4 ] || break
    sleep 0.5
done
[ "${scrapes:-0}" -ge 4 ] || die "nothing is scraped: $(tail -n 3 "$work/prometheus.log")"

python3 "$expressions" live "$prometheus_url" "$rules" "$dashboard" || die 'see above'

# It would notice a name that no service knows.
sed 's/wald_logs_failed/wald_logs_fallen/' "$rules" >"$work/rules.yml"
! python3 "$expressions" live "$prometheus_url" "$work/rules.yml" "$dashboard" >/dev/null ||
    die 'expressions.py sees nothing live'

# The service is well, and no alert says otherwise. WaldDiskLow speaks of the disk of this machine.
firing=$(value \
    'count(ALERTS{alertstate="firing",alertname!~"WaldDisk(Low|WillFill)"}) or vector(0)')
[ "$firing" = 0 ] || die "$firing alerts fire on a service that is well"
echo passed
