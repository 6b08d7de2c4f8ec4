#!/bin/bash
# The recipe of deploy/haproxy with three real instances: every request of a log, by either door,
# reaches the instance that has it, whether others come or go; and no append is sent twice.
#
#   haproxy.sh FOLDER WALD
# shellcheck source=tests/deploy/lib.sh
. "${0%/*}/lib.sh" "$1"
needs haproxy
wald=$2
names=$work/names
declare -A ports=()

# await WHAT COMMAND...: until the command succeeds.
await()
{
    local what=$1
    shift
    for _ in $(seq 600); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.05
    done
    die "$what: $(tail -n 5 "$work"/*.log)"
}

# start NAME [PORT]: an instance of wald.
start()
{
    : >"$work/$1.log" # here, so that no earlier life is taken for this one
    "$wald" serve --data "$work/$1" --listen "127.0.0.1:${2:-0}" 2>"$work/$1.log" &
    pids[$1]=$!
    await "$1 does not start" grep -q event=ready "$work/$1.log"
    ports[$1]=$(sed -n 's/.*event=ready listen=127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$work/$1.log")
}

# stop NAME: ends an instance, or haproxy, and waits for that.
stop()
{
    kill "${pids[$1]}"
    wait "${pids[$1]}" || true
    unset "pids[$1]"
}

# balance [SED-EXPRESSION...]: starts haproxy anew, with the configuration as shipped but for the
# addresses and for how often it checks, and what the expressions change.
balance()
{
    local instance addresses=() change=()
    [ -z "${pids[haproxy]:-}" ] || stop haproxy
    for instance in "${!ports[@]}"; do
        addresses+=(-e "s/ $instance:8080 / 127.0.0.1:${ports[$instance]} /")
    done
    while [ $# -gt 0 ]; do
        change+=(-e "$1")
        shift
    done
    for _ in $(seq 10); do # its port may be taken by somebody else
        port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1])')
        # One thread: of several, one that finds another one writing to the log drops its line.
        sed -e '' "${change[@]}" "$root/deploy/haproxy/haproxy.cfg" |
            sed -e 's/^global$/&\n    nbthread 1/' -e "s/127\.0\.0\.1:8000/127.0.0.1:$port/" -e 's/inter 2s/inter 200ms/' \
                "${addresses[@]}" >"$work/haproxy.cfg"
        haproxy -c -f "$work/haproxy.cfg" >"$work/check.log" 2>&1 || die "$(cat "$work/check.log")"
        haproxy -db -f "$work/haproxy.cfg" >"$work/haproxy.log" 2>&1 &
        pids[haproxy]=$!
        url=http://127.0.0.1:$port
        for _ in $(seq 100); do
            ! curl -s -o /dev/null "$url/version" || return 0
            kill -0 "${pids[haproxy]}" 2>/dev/null || break
            sleep 0.05
        done
    done
    die "haproxy does not start: $(cat "$work/haproxy.log")"
}

# each FORMAT [CURL-ARGUMENT...]: a request for each name, which takes the place of %s; prints the
# names by status.
each()
{
    local path=$1 name
    shift
    while read -r name; do
        printf 'url = "%s%s"\noutput = /dev/null\n' "$url" "${path//%s/$name}"
    done <"$names" >"$work/urls"
    curl -sS --no-progress-meter --max-time 60 --parallel --parallel-max 20 "$@" \
        -w '%{http_code} %{url}\n' -K "$work/urls" >"$work/answers" || die "curl: $?"
}

# expect_all STATUS: all of the last answers had it.
expect_all()
{
    local others
    others=$(grep -vc "^$1 " "$work/answers" || true)
    [ "$others" -eq 0 ] ||
        die "not $1: $others times, such as $(grep -v "^$1 " "$work/answers" | head -n 1)"
}

# owners_by_disk: each log and the instance that has its files.
owners_by_disk()
{
    local instance
    for instance in "$@"; do
        find "$work/$instance/logs" -mindepth 1 -maxdepth 1 -printf "%f $instance\n"
    done | sort
}

# owners_by_log: each log and the instance its requests were sent to, as haproxy's own log has it;
# twice, if there were two.
owners_by_log()
{
    awk '$4 ~ /^owners\// {
        split($4, server, "/"); path = $(NF - 1); sub(/\?.*/, "", path); split(path, part, "/")
        print (part[2] == "logs" ? part[3] : part[4]), server[2] }' "$work/haproxy.log" | sort -u
}

# problem CURL-ARGUMENT...: prints the status and the document of an answer that is a problem.
problem()
{
    curl -sS --max-time 60 -w ' %{http_code} %{content_type}' "$@"
}

seq -f 'orders-%03g' 150 >"$names"
seq -f 'eu.sensor_%g.raw' 150 >>"$names"
for instance in wald1 wald2 wald3; do
    start "$instance"
done
balance

# ---- all requests of a log ----

each '/logs/%s' -d first
expect_all 200
each '/logs/%s' -H 'Content-Type: application/x-ndjson' --data-binary $'one\ntwo\n'
expect_all 200
each '/logs/%s/offsets'
expect_all 200
each '/logs/%s/records/1'
expect_all 200
each '/logs/%s/records?offset=0&limit=2'
expect_all 200
each '/logs/%s/stats'
expect_all 200
each '/logs/%s/trim?before=1' -X POST
expect_all 200
each '/v1/stream/%s' -I
each '/v1/stream/%s?offset=-1'

owners_by_disk wald1 wald2 wald3 >"$work/owners"
[ "$(wc -l <"$work/owners")" -eq 300 ] || die "logs on disk: $(wc -l <"$work/owners"), wanted 300"
for _ in $(seq 100); do # it answers first, and writes its log then
    requests=$(grep -c ' owners/' "$work/haproxy.log")
    [ "$requests" -lt 2700 ] || break
    sleep 0.1
done
[ "$requests" -eq 2700 ] || die "$requests requests, wanted 2700"
owners_by_log | diff "$work/owners" - >"$work/diff" ||
    die "requests went astray: $(head -n 5 "$work/diff")"
spread=$(cut -d ' ' -f 2 "$work/owners" | sort | uniq -c | awk '{ print $1 }' | tr '\n' ' ')
for count in $spread; do
    [ "$count" -ge 50 ] || die "300 logs are spread $spread"
done

# A long poll is answered by the append that comes.
one=$(head -n 1 "$names")
curl -sS --max-time 60 "$url/logs/$one/records?offset=3&wait=20s" >"$work/poll" &
poll=$!
sleep 0.5
curl -sS --max-time 60 -o /dev/null -d awaited "$url/logs/$one"
wait "$poll" || die 'the long poll was cut off'
grep -q '"data":"awaited"' "$work/poll" || die "a long poll: $(cat "$work/poll")"

# ---- what is of no log ----

for path in /logs /stats /metrics; do
    problem "$url$path" | grep -q '"Every instance has its own".* 404 application/problem+json' ||
        die "$path: $(problem "$url$path")"
done
problem "$url/version" | grep -q ' 200 application/json' ||
    die "/version: $(problem "$url/version")"

# ---- another order, and one more ----

# owners_now: where requests go at present; nothing is made by asking.
owners_now()
{
    each '/logs/%s/offsets'
    owners_by_log
}

# The ids decide, and not the order of the lines.
balance '/^    server wald1/{h;d}' '/^    server wald3/{G}'
grep -A 6 '^backend owners' "$work/haproxy.cfg" | grep -A 9 wald3 | grep -q wald1 ||
    die 'the lines are in the old order'
owners_now | diff "$work/owners" - >/dev/null || die 'another order of the lines moves logs'

start wald4
balance 's/^    server wald3 .*/&\n    server wald4 wald4:8080 id 4/'
owners_now >"$work/four"
moved=$(diff "$work/owners" "$work/four" | grep -c '^>' || true)
astray=$(diff "$work/owners" "$work/four" | grep '^>' | grep -vc ' wald4$' || true)
if [ "$moved" -lt 30 ] || [ "$moved" -gt 120 ]; then
    die "a fourth instance moves $moved of 300 logs"
fi
[ "$astray" -eq 0 ] || die "$astray logs moved, and not to the new instance"

# ---- one is down ----

balance
stop wald2
each '/logs/%s' -d 'while one is down'
awk -v url="$url/logs/" 'NR == FNR { owner[url $1] = $2; next }
    $1 != (owner[$2] == "wald2" ? 503 : 200) { print; exit 1 }' "$work/owners" "$work/answers" ||
    die 'not 503 for the logs of the instance that is down, and 200 for the others'
owners_by_disk wald1 wald2 wald3 | diff "$work/owners" - >/dev/null ||
    die 'a log began anew on another instance'
lost=$(awk '$2 == "wald2" { print $1; exit }' "$work/owners")
problem -i "$url/logs/$lost/offsets" >"$work/answer"
for wanted in '"The instance of this log is down".* 503 application/problem+json' \
    '^retry-after: 1'; do
    grep -qi "$wanted" "$work/answer" || die "one is down: $(cat "$work/answer")"
done
problem "$url/readyz" | grep -q ' 200 ' || die 'two are up, and the balancer is not ready'

start wald2 "${ports[wald2]}"
each '/logs/%s' -d 'all are back'
expect_all 200

# ---- no append is sent twice ----

# An instance that takes requests and breaks off before it answers.
cat >"$work/broken.py" <<'EOF'
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    link, _ = listener.accept()
    with link, open(sys.argv[1], "ab") as log:
        log.write(link.recv(65536) + b"\n")
EOF
ports_of_wald3=${ports[wald3]}
python3 "$work/broken.py" "$work/taken" >"$work/broken.port" 2>"$work/broken.log" &
pids[broken]=$!
await 'the broken instance does not start' test -s "$work/broken.port"
ports[wald3]=$(cat "$work/broken.port")
broken=$(awk '$2 == "wald3" { print $1; exit }' "$work/owners")

balance '/^backend any/,$ s/ check / /' # of requests alone
: >"$work/taken"
problem -d once -H 'Host: logs.example' -H 'X-Forwarded-For: 10.1.1.1' \
    -H 'Forwarded: for=10.1.1.1' "$url/logs/$broken" >"$work/answer"
grep -q '"outcome":"unknown".* 502 application/problem+json' "$work/answer" ||
    die "broken off: $(cat "$work/answer")"
[ "$(grep -c '^POST' "$work/taken")" -eq 1 ] || die "an append was sent twice: $(cat "$work/taken")"
for wanted in 'host: logs\.example' 'x-forwarded-host: logs\.example' \
    'x-forwarded-for: 127\.0\.0\.1' 'x-forwarded-proto: http'; do
    grep -qi "^$wanted.\$" "$work/taken" || die "no $wanted: $(cat "$work/taken")"
done
! grep -q '10\.1\.1\.1' "$work/taken" || die "what the client said: $(cat "$work/taken")"

# It would be noticed.
balance '/^backend any/,$ s/ check / /' 's/retry-on conn-failure/retry-on all-retryable-errors/'
: >"$work/taken"
problem -d twice "$url/logs/$broken" >/dev/null
[ "$(grep -c '^POST' "$work/taken")" -gt 1 ] || die 'a second append would not be noticed'

# ---- the fourth stays, and gets what is its own ----

ports[wald3]=$ports_of_wald3
for instance in wald1 wald2 wald3 wald4; do
    stop "$instance"
done
join "$work/owners" "$work/four" | while read -r name old new; do
    [ "$old" = "$new" ] || mv "$work/$old/logs/$name" "$work/$new/logs/$name"
done
for instance in wald1 wald2 wald3 wald4; do
    start "$instance" "${ports[$instance]}"
done
balance 's/^    server wald3 .*/&\n    server wald4 wald4:8080 id 4/'
each '/logs/%s/records/2'
expect_all 200
each '/logs/%s' -d last
expect_all 200
owners_by_disk wald1 wald2 wald3 wald4 | diff "$work/four" - >/dev/null ||
    die 'logs that were moved are not where they are asked for'

# ---- none is left ----

for instance in wald1 wald2 wald3 wald4; do
    stop "$instance"
done
not_ready()
{
    problem "$url/readyz" | grep -q ' 503 '
}
await 'the balancer is ready without any instance' not_ready
echo "300 logs spread $spread; a fourth instance moves $moved"
echo passed
