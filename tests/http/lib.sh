# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here, the tests use
# What the tests of the program share. Each is called as SCRIPT WALD BACKEND FOLDER HELPER: the
# program, "uring" or "posix", a folder on a disk for its files, and tests/http/helper.c.
#
# Exchanges by request, expect and raw are recorded, and passed() holds them against openapi.yaml.
set -euo pipefail

wald=$1
backend=$2
helper=$4
work=$(mktemp -d "$3/http.XXXXXX")
data=$work/data
server_pid=''
failed=yes
exchanges=$work/exchanges
seen=$3/seen.$(basename "$0" .sh)-$backend
exchange_count=0
mkdir "$exchanges"
export EXCHANGES=$exchanges # for tests/http/wire.py

cleanup()
{
    if [ -n "$server_pid" ]; then
        kill -KILL "$server_pid" 2>/dev/null || true
        wait "$server_pid" 2>/dev/null || true
    fi
    if [ "$failed" = yes ] && [ -s "$work/log" ]; then
        echo '--- what the program said last:'
        tail -n 40 "$work/log"
    fi
    rm -rf "$work"
}
trap cleanup EXIT

die()
{
    echo "FAILED: $*"
    exit 1
}

skip()
{
    failed=no
    [ -e "$seen" ] || : >"$seen" # it has had its turn
    echo "skipped: $*"
    exit 77
}

# python ARGUMENT...: Debian's, which has Debian's packages, before any other.
python()
{
    if [ -x /usr/bin/python3 ]; then
        PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$@"
    else
        PYTHONDONTWRITEBYTECODE=1 python3 "$@"
    fi
}

passed()
{
    local root=${BASH_SOURCE[0]%/*}/../..
    python "$root/tests/openapi/exchanges.py" "$root/openapi.yaml" "$exchanges" "$seen" ||
        die 'the answers are not as openapi.yaml says'
    failed=no
    echo "passed"
}

case $(stat -f -c %T "$work") in
tmpfs | ramfs) skip "$work is in memory" ;;
esac

# launch [ARGUMENT...]: starts the program in the background, without waiting for it. With file_kib
# set, no file of it can grow beyond so many KiB.
launch()
{
    : >"$work/log"
    (
        ulimit -f "${file_kib:-unlimited}"
        exec "$wald" serve --data "$data" --listen 127.0.0.1:0 --io "$backend" "$@" 2>"$work/log"
    ) &
    server_pid=$!
}

# wait_for TEXT: until the program has said so.
wait_for()
{
    for _ in $(seq 600); do
        if grep -q -- "$1" "$work/log"; then
            return 0
        fi
        kill -0 "$server_pid" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

# start [ARGUMENT...]: starts the program and waits until it is ready; sets port and url.
start()
{
    launch "$@"
    if ! wait_for 'event=ready'; then
        if [ "$backend" = uring ] && grep -q 'io_uring' "$work/log"; then
            skip "$(cat "$work/log")"
        fi
        die 'the program did not become ready'
    fi
    port=$(sed -n 's/.* listen=127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$work/log")
    url=http://127.0.0.1:$port
    grep -q " backend=$backend reason=\"" "$work/log" || die "not the backend $backend"
}

# ended: waits for the end of the program and sets ended_status.
ended()
{
    ended_status=0
    wait "$server_pid" || ended_status=$?
    server_pid=''
}

# stop [SIGNAL]: the end in good order, with what sanitizers have to say.
stop()
{
    kill "-${1:-TERM}" "$server_pid"
    ended
    [ "$ended_status" -eq 0 ] || die "exit status $ended_status after SIG${1:-TERM}"
    grep -q 'event=stopped' "$work/log" || die 'no event=stopped'
}

# next_exchange: sets `exchange` to a folder for one, of its own also in a subshell.
next_exchange()
{
    exchange_count=$((exchange_count + 1))
    exchange=$exchanges/$BASHPID.$exchange_count
    mkdir "$exchange"
}

# request ARGUMENT...: one request by curl; its status is in $status, the answer in $work/body and
# $work/headers.
request()
{
    next_exchange
    : >"$exchange/body" # which curl does not make for an answer without one
    status=$(curl -sSv --stderr "$exchange/trace" --max-time 60 -o "$exchange/body" \
        -D "$exchange/headers" -w '%{http_code}' "$@") ||
        die "curl ${*: -1}: exit status $?: $(tail -n 3 "$exchange/trace")"
    cp "$exchange/body" "$exchange/headers" "$work/"
}

# expect STATUS ARGUMENT...: a request that is answered with this status.
expect()
{
    local wanted=$1 status
    shift
    request "$@"
    [ "$status" = "$wanted" ] ||
        die "curl ${*: -1}: wanted $wanted, got $status: $(cat "$work/body")"
}

# expect_body TEXT: that, and the end of a line.
expect_body()
{
    [ "$(cat "$work/body")" = "$1" ] || die "wanted $1, got $(cat "$work/body")"
}

# header NAME: its value in the last answer.
header()
{
    tr -d '\r' <"$work/headers" | awk -v name="$1" '
        BEGIN { name = tolower(name) ":" }
        tolower($1) == name { sub(/^[^:]*:[ ]*/, ""); print }'
}

expect_header()
{
    [ "$(header "$1")" = "$2" ] || die "$1: wanted \"$2\", got \"$(header "$1")\""
}

# member NAME: a number or a string out of the JSON of the last answer.
member()
{
    sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p" "$work/body" | head -n 1
}

expect_member()
{
    [ "$(member "$1")" = "$2" ] || die "$1: wanted $2: $(cat "$work/body")"
}

# expect_problem TYPE: the last answer is a problem document of that type and tells what to do.
expect_problem()
{
    expect_header Content-Type application/problem+json
    grep -q "\"type\":\"/problems/$1\"" "$work/body" || die "wanted $1: $(cat "$work/body")"
    grep -q '"detail":".\{10,\}"' "$work/body" || die "no detail: $(cat "$work/body")"
}

# until_stats NAME VALUE: the service says so of itself, sooner or later.
until_stats()
{
    for _ in $(seq 100); do
        expect 200 "$url/stats"
        [ "$(member "$1")" != "$2" ] || return 0
        sleep 0.1
    done
    die "$1 is not $2: $(cat "$work/body")"
}

# refused STATUS TYPE ARGUMENT...: as expect, with this type of problem.
refused()
{
    local status=$1 type=$2
    shift 2
    expect "$status" "$@"
    expect_problem "$type"
}

# check NAME: the status and the text of a check in the last answer of /readyz?verbose.
check()
{
    jq -r --arg name "$1" '.checks[] | select(.name == $name) | .status + ": " + .text' \
        "$work/body"
}

expect_check()
{
    check "$1" | grep -q -- "$2" || die "$1: wanted $2, got $(check "$1")"
}

# all_answered: until the requests in the background, whose processes are in $clients, have ended.
all_answered()
{
    # shellcheck disable=SC2086
    for client in $clients; do
        wait "$client" || die 'a client failed'
    done
    clients=''
}

# send BYTES: exactly these (of printf) to descriptor 7, at once. The other side may have heard
# enough before it has read all of it.
send()
{
    # shellcheck disable=SC2059 # the escapes are the point
    printf "$1" >"$work/request"
    cat "$work/request" >&7 2>/dev/null || true
}

# receive: one answer, from descriptor 7 to $exchange/response; sets `line`, which begins it. Where
# its end is not told, it ends with what there is by now.
receive()
{
    local rest length=0
    line=''
    IFS= read -r -t 30 line <&7 || return 0
    rest=$line
    while [ -n "${rest%$'\r'}" ]; do
        printf '%s\n' "$rest"
        case ${rest,,} in
        content-length:*) length=${rest//[!0-9]/} ;;
        esac
        IFS= read -r -t 30 rest <&7 || break
    done >"$exchange/response"
    printf '\r\n' >>"$exchange/response"
    [ "$length" -eq 0 ] || timeout 30 head -c "$length" <&7 >>"$exchange/response"
}

# raw STATUS BYTES: sends them over a connection of their own and wants this status, or "closed".
raw()
{
    local line
    next_exchange
    exec 7<>"/dev/tcp/127.0.0.1/$port"
    send "$2"
    cp "$work/request" "$exchange/request"
    receive
    exec 7>&-
    # Interim answers, and connections that are closed without a word, are no exchanges.
    case $line in
    'HTTP/1.1 1'* | '') rm -r "$exchange" ;;
    esac
    case $line in
    "HTTP/1.1 $1 "* | "HTTP/1.0 $1 "*) ;;
    '') [ "$1" = closed ] || die "$2: the connection was closed, wanted $1" ;;
    *) die "$2: wanted $1, got $line" ;;
    esac
}
