#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# `wald healthcheck` says how the service is: with its status, and in one line that tells why not. It
# finds the service by the same settings, and never waits longer than its two seconds.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

# healthcheck STATUS TEXT ARGUMENT...: one line with this text, and this exit status.
healthcheck()
{
    local wanted=$1 text=$2 status=0
    shift 2
    timeout 30 "$wald" healthcheck "$@" >"$work/out" 2>&1 || status=$?
    [ "$status" -eq "$wanted" ] || die "healthcheck $*: status $status: $(cat "$work/out")"
    grep -q -- "$text" "$work/out" || die "healthcheck $*: wanted $text, got $(cat "$work/out")"
    [ "$wanted" -eq 2 ] || [ "$(wc -l <"$work/out")" -eq 1 ] ||
        die "healthcheck $*: not one line: $(cat "$work/out")"
}

healthcheck 2 '\-\-loud is not an option' --loud
healthcheck 2 '"--print-config" is not\|--print-config is not an option' --print-config
healthcheck 1 'x: it is not of the form ADDRESS:PORT' --listen x

start --host logs.example
healthcheck 0 '^ok$' --listen "127.0.0.1:$port"
healthcheck 0 '^ok$' --live --listen "127.0.0.1:$port"
# All addresses are those to listen on; it asks by the loopback.
healthcheck 0 '^ok$' --listen "0.0.0.0:$port"
export WALD_LISTEN=127.0.0.1:$port
healthcheck 0 '^ok$'
unset WALD_LISTEN
printf 'listen = 127.0.0.1:%s\n' "$port" >"$work/file"
healthcheck 0 '^ok$' --config "$work/file"
expect 200 "$url/livez"
stop
healthcheck 1 '^/readyz of .*: Connection refused$' --listen "127.0.0.1:$port"

# Alive, and not ready.
start --space-floor 1TiB
healthcheck 1 "^/readyz of 127.0.0.1:$port: 503: space: [0-9]* bytes are free, and .* are to stay free" \
    --listen "127.0.0.1:$port"
healthcheck 0 '^ok$' --live --listen "127.0.0.1:$port"

# A process that stands still is not waited for.
kill -STOP "$server_pid"
healthcheck 1 '^/livez of .*: no answer within 2 s$' --live --listen "127.0.0.1:$port"
kill -CONT "$server_pid"
stop

# Neither is one that says something else than HTTP, or less than an answer.
# shellcheck disable=SC2016 # Python's text
python -c 'import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
for said in sys.argv[1:]:
    client = server.accept()[0]
    client.recv(1000)
    client.sendall(said.encode().decode("unicode_escape").encode())
    client.close()' 'SSH-2.0-x\r\n' '' 'HTTP/1.1 20' 'HTTP/1.1 503 x\r\n\r\n{"detail":1}' \
    'HTTP/1.1 503 x\r\n\r\n{"detail":"why"}' >"$work/port" &
talker=$!
trap 'kill "$talker" 2>/dev/null; cleanup' EXIT
for _ in $(seq 100); do
    [ ! -s "$work/port" ] || break
    sleep 0.1
done
there=127.0.0.1:$(cat "$work/port")
for _ in 1 2 3; do
    healthcheck 1 ': what answers there does not speak HTTP$' --listen "$there"
done
healthcheck 1 ': 503$' --listen "$there"
healthcheck 1 ': 503: why$' --listen "$there"
wait "$talker"
trap cleanup EXIT
passed
