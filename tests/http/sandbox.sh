#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# What the process gives up: told as it is, held against the kernel and against somebody who has taken
# the process over; and nothing of a request gets into a line of events or a series.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

here=${0%/*}
intruder=${helper%/*}/libhttp_intruder.so
umask 0 # modes are wald's own doing

# status_of KEY: of each of its threads. A worker of the kernel that is left over from before does what is
# submitted with the rights of who submits it, and none with its own.
status_of()
{
    awk -v key="$1:" '$1 == "Name:" { worker = $2 ~ /^iou-/ } $1 == key && !worker { print $2 }' \
        "/proc/$server_pid/task/"*/status | sort -u
}

# layer NAME: whether the last answer of /stats says that it is there, and what else it says.
layer()
{
    jq -r --arg name "$1" '.sandbox[$name] | "\(.active) \(.text)"' "$work/body"
}

expect_layer()
{
    layer "$1" | grep -q -- "$2" || die "$1: wanted $2, got $(layer "$1")"
}

# ---- what is there is told, and what is told is there ----

start
expect 200 -d hello "$url/logs/orders"
expect 200 "$url/stats"
if ldd "$wald" | grep -q 'lib[at]san'; then
    for name in privileges dumps files calls; do
        expect_layer "$name" '^false a build with sanitizers has no sandbox'
    done
    grep -q ' sandbox_lacks=privileges,dumps,files,calls ' "$work/log" || die "$(cat "$work/log")"
    stop
    passed
    exit 0
fi
"$wald" doctor --json "$work" >"$work/doctor" || [ $? -eq 1 ]
lacks=$(jq -r '.checks[] | select(.name | startswith("sandbox")) | select(.ok | not) | .text' "$work/doctor")
[ "$(jq '[.checks[] | select(.name | startswith("sandbox"))] | length' "$work/doctor")" -eq 2 ] ||
    die "doctor says nothing of the sandbox: $(cat "$work/doctor")"
if [ -n "$lacks" ]; then
    grep -q ' sandbox_lacks=' "$work/log" || die "doctor misses $lacks, and the service says nothing"
    skip "$lacks"
fi
grep -q ' sandbox=privileges,dumps,files,calls,ring ' "$work/log" || die "$(cat "$work/log")"
for name in privileges dumps files calls ring; do
    expect_layer "$name" '^true ..'
done
[ "$(status_of Seccomp)" = 2 ] || die "not all threads have a filter: $(status_of Seccomp)"
[ "$(status_of NoNewPrivs)" = 1 ] || die 'new privileges can be had'
[ "$(status_of CapEff)" = 0000000000000000 ] || die "capabilities are left: $(status_of CapEff)"
strangers=$(find "$data" ! -type l -perm /077)
[ -z "$strangers" ] || die "others may look: $strangers"
stop
for setting in "--sandbox on" "--sandbox auto"; do
    # shellcheck disable=SC2086 # two words
    start $setting
    grep -q ' sandbox=privileges,dumps,files,calls,ring ' "$work/log" || die "$(cat "$work/log")"
    stop
done

# ---- what is not there is told, too ----

start --sandbox off
filtered=$(status_of Seccomp)
expect 200 "$url/stats"
for name in privileges dumps files calls; do
    expect_layer "$name" '^false switched off'
done
expect_layer ring '^true'
grep -q ' sandbox=ring sandbox_lacks=privileges,dumps,files,calls ' "$work/log" ||
    die "$(cat "$work/log")"
[ "$filtered" = "$(awk '$1 == "Seccomp:" { print $2 }' /proc/self/status)" ] || die "off, and a filter: $filtered"
stop

# without CALL ERRNO: the program where the kernel, or a container, has not got this call.
program=$wald
without()
{
    printf '#!/bin/sh\nexec /usr/bin/python3 "%s" --call %s %s "%s" "$@"\n' \
        "$here/../files/without.py" "$1" "$2" "$program" >"$work/without"
    chmod +x "$work/without"
    wald=$work/without
}
create_ruleset=444
without $create_ruleset 38
start
expect 200 "$url/stats"
expect_layer files '^false no Landlock (ENOSYS)'
expect_layer calls '^true'
grep -q ' sandbox_lacks=files sandbox_reason="no Landlock' "$work/log" || die "$(cat "$work/log")"
expect 200 -d hello "$url/logs/orders"
stop
launch --sandbox on
ended
[ "$ended_status" -eq 1 ] || die "--sandbox on without Landlock: exit status $ended_status"
grep -q 'event=start_failed reason="--sandbox on: files: no Landlock' "$work/log" ||
    die "$(cat "$work/log")"
"$wald" doctor --json "$work" >"$work/doctor" || [ $? -eq 1 ]
jq -e '.checks[] | select(.name == "sandbox files") | (.ok | not) and (.remedy | length > 20)' \
    "$work/doctor" >/dev/null || die "doctor: $(cat "$work/doctor")"
wald=$program

# ---- somebody inside ----

echo secret >"$work/outside"
ln -s "$work/outside" "$data/link"
cat >"$work/taken-over" <<END
#!/bin/sh
export INTRUDER_REPORT="$work/report" INTRUDER_DATA="$data" LD_PRELOAD="$intruder"
exec "$program" "\$@"
END
chmod +x "$work/taken-over"
wald=$work/taken-over

# intrude: what the intruder has to say when it is done.
intrude()
{
    rm -f "$work/report"
    start "$@"
    kill -USR2 "$server_pid"
    for _ in $(seq 100); do
        ! grep -q '^end' "$work/report" || break
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.05
    done
}

expect_attempt()
{
    grep -qx "$1 $2" "$work/report" || die "wanted $1 $2: $(cat "$work/report")"
}

intrude
for attempt in read-outside list-outside write-outside through-link by-dots; do
    expect_attempt "$attempt" EACCES
done
expect_attempt inside 'done'
[ ! -e "$data.intruded" ] || die 'it wrote outside'
expect 200 -d 'and on it goes' "$url/logs/orders"
expect 200 "$url/version"
build_type=$(member build_type)
stop
export INTRUDER_CALLS=yes
intrude
if [ "$build_type" = Debug ]; then
    ended
    [ "$ended_status" -eq 159 ] || die "a stray call in a debug build: exit status $ended_status"
else
    for attempt in socket ptrace ring kill execute; do
        expect_attempt "$attempt" ENOSYS
    done
    expect 200 -d 'and on it goes' "$url/logs/orders"
    stop
fi
intrude --sandbox off
for attempt in read-outside list-outside write-outside through-link by-dots socket; do
    expect_attempt "$attempt" 'done' # so the refusals above were the sandbox's
done
rm -f "$data.intruded"
kill -KILL "$server_pid" # it has become another program
ended
unset INTRUDER_CALLS
wald=$program

# ---- what is read again, by whichever way it is replaced ----

# reads_again COUNT: after a SIGHUP, without a complaint.
reads_again()
{
    kill -HUP "$server_pid"
    for _ in $(seq 200); do
        [ "$(grep -c 'event=tokens_read ' "$work/log")" -lt "$1" ] || return 0
        ! grep 'event=tokens_not_read' "$work/log" || die "not read again, the ${1}th time"
        sleep 0.05
    done
    die "nothing of the ${1}th time"
}
mkdir -p "$work/etc/releases/1" "$work/etc/releases/2" "$work/etc/releases/3"
"$wald" token --tokens "$work/etc/releases/1/tokens" all read '*' >/dev/null
cp "$work/etc/releases/1/tokens" "$work/etc/releases/2/tokens"
cp "$work/etc/releases/1/tokens" "$work/etc/releases/3/tokens"
ln -s releases/1 "$work/etc/current"
start --tokens "$work/etc/current/tokens"
ln -sfn releases/2 "$work/etc/current" # another folder
reads_again 1
rm -r "$work/etc/releases/1"
cp "$work/etc/releases/2/tokens" "$work/etc/releases/2/next" # another file of that name
mv "$work/etc/releases/2/next" "$work/etc/releases/2/tokens"
reads_again 2
ln -sfn "$work/etc/releases/3" "$work/etc/current"
reads_again 3
stop

# ---- links in the data directory ----

start
expect 200 -d hello "$url/logs/victim"
stop
mv "$data/logs/victim" "$work/victim"
ln -s "$work/victim" "$data/logs/victim"
before=$(find "$work/victim" -type f -exec cksum {} +)
start --sandbox off # which is not what refuses it
request -d more "$url/logs/victim"
[ "$status" -ge 400 ] || die "a log that is a link: $status"
stop
[ "$(find "$work/victim" -type f -exec cksum {} +)" = "$before" ] || die 'it wrote behind a link'
rm "$data/logs/victim"
mv "$data/logs" "$work/logs"
ln -s "$work/logs" "$data/logs"
launch
ended
[ "$ended_status" -eq 1 ] || die "a data directory whose logs are a link: exit status $ended_status"
rm "$data/logs"
mv "$work/logs" "$data/logs"

# ---- a directory in which others may write ----

chmod 0777 "$data"
start
grep -q 'level=warning event=writable_by_others .*chmod' "$work/log" || die "$(cat "$work/log")"
stop
chmod 0700 "$data"
start
! grep -q 'event=writable_by_others' "$work/log" || die "$(cat "$work/log")"
stop

# ---- lines of events and series ----

# Each line is a list of key=value, and begins as ours do.
well_formed()
{
    local value='([^ "=\\]+|"([^"\\[:cntrl:]]|\\["\\]|\\u[0-9a-f]{4}|\\ufffd)*")'
    ! LC_ALL=C.UTF-8 grep -avE "^time=[0-9T:.Z-]+ level=[a-z]+ event=[a-z_]+( [a-z_]+=$value)*\$" "$work/log" ||
        die 'a line that is none of ours'
}
evil=$(printf 'x\033[2Jx" event=forged level=error reason="')
start_with()
{
    : >"$work/log"
    "$@" "$program" serve --data "$data" --listen 127.0.0.1:0 --io "$backend" 2>"$work/log" &
    server_pid=$!
    wait_for 'event=ready' || die "$(cat "$work/log")"
    port=$(sed -n 's/.* listen=127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$work/log")
    url=http://127.0.0.1:$port
}
start_with env "$(printf 'WALD_A\nlevel=error event=forged "\033\r')=1" "WALD_$evil=2"
request -A "$evil" -H "Referer: $evil" "$url/logs/orders?$(printf 'a%%0aevent=forged')"
raw 400 'GET /logs/a\nevent=forged HTTP/1.1\r\nHost: localhost\r\n\r\n'
raw 400 'GET /logs/a%%0aevent=forged HTTP/1.1\r\nHost: localhost\r\n\r\n'
raw 400 'GET /logs/a"b\\c/stats HTTP/1.1\r\nHost: localhost\r\n\r\n'
raw 400 'POST /logs/a%%22,evil=%%22 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx'
raw 400 'GET /livez HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a\001b\177\r\n\r\n'
expect 200 "$url/metrics"
! grep -q 'evil\|forged' "$work/body" || die "a series of somebody else's: $(grep 'evil\|forged' "$work/body")"
stop
well_formed
! grep -q '^[^"]* event=forged' "$work/log" || die "a forged event: $(cat "$work/log")"
[ "$(grep -c event=unknown_setting "$work/log")" -eq 2 ] || die "$(cat "$work/log")"
passed
