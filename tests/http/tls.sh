#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# TLS: all that there is works over it, what is malformed is refused over it, too; old protocols and
# half handshakes get nowhere, and certificates are replaced while connections go on.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

ca=$work/ca.pem
export WIRE_CERTIFICATE=$ca

# A root, and pairs that it has signed.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=root \
    -keyout "$work/ca.key" -out "$ca" 2>/dev/null
for i in $(seq 0 8); do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost \
        -keyout "$work/$i.key" -out "$work/$i.csr" 2>/dev/null
    openssl x509 -req -in "$work/$i.csr" -CA "$ca" -CAkey "$work/ca.key" -CAcreateserial -days 30 \
        -extfile <(echo 'subjectAltName=DNS:localhost,IP:127.0.0.1') -out "$work/$i.cert" 2>/dev/null
done
cp "$work/0.cert" "$work/cert.pem"
cp "$work/0.key" "$work/key.pem"
tls=(--tls-cert "$work/cert.pem" --tls-key "$work/key.pem")

# start_tls ARGUMENT...
start_tls()
{
    start "${tls[@]}" "$@"
    grep -q ' tls=on ' "$work/log" || die 'it does not say that it speaks TLS'
    url=https://localhost:$port
}

# there STATUS ARGUMENT...: as expect, over TLS.
there()
{
    expect "$1" --cacert "$ca" "${@:2}"
}

scenario()
{
    python "${0%/*}/tls.py" "$@" || die "$1"
}

# ---- all of it ----

start_tls
there 200 -d zero "$url/logs/orders"
there 200 --data-binary $'one\ntwo\n' -H 'Content-Type: application/x-ndjson' "$url/logs/orders"
there 200 "$url/logs/orders/records"
there 200 "$url/logs/orders/records/2"
expect_body two
there 201 -X PUT -H 'Content-Type: text/plain' "$url/v1/stream/words"
expect_header Location "$url/v1/stream/words"
there 204 -H 'Content-Type: text/plain' -d hello "$url/v1/stream/words"
there 200 "$url/v1/stream/words"
expect_body hello
head -c 1048576 /dev/urandom >"$work/large"
there 200 --data-binary "@$work/large" -H 'Expect: 100-continue' "$url/logs/large"
there 200 "$url/logs/large/records/0"
cmp -s "$work/body" "$work/large" || die 'a large record came back changed'
there 200 "$url/logs/orders/records?offset=3&wait=100ms"
there 421 -H 'Host: other.example' "$url/logs"

# Events, which go past the HTTP library, at both doors.
curl -sN --cacert "$ca" -H 'Accept: text/event-stream' \
    "$url/logs/orders/records?offset=0&limit=4" >"$work/events" &
follower_pid=$!
curl -sN --cacert "$ca" "$url/v1/stream/words?offset=-1&live=sse" >"$work/stream" &
stream_pid=$!
for _ in $(seq 100); do
    there 200 "$url/stats"
    [ "$(member followers)" -lt 2 ] || break
    sleep 0.1
done
there 200 -d three "$url/logs/orders"
wait "$follower_pid" || die 'the stream of events'
[ "$(grep -c '^id: ' "$work/events")" -eq 4 ] || die "events: $(cat "$work/events")"
there 204 -H 'Content-Type: text/plain' -H 'Stream-Closed: true' -d world "$url/v1/stream/words"
wait "$stream_pid" || die 'the stream of /v1/stream'
grep -q world "$work/stream" || die "what was appended to a stream: $(cat "$work/stream")"

# The commands, and the question after health.
[ "$("$wald" tail --url "$url" --ca-file "$ca" orders -n 1)" = three ] || die 'wald tail'
printf 'four\n' | WALD_CA_FILE=$ca WALD_URL=$url "$wald" append --quiet --lines orders >/dev/null
status=0
"$wald" tail --url "$url" orders -n 1 2>"$work/out" || status=$?
[ "$status" -eq 69 ] || die "wald tail believes anybody: exit status $status"
grep -q -- '--ca-file' "$work/out" || die "wald tail: $(cat "$work/out")"
"$wald" healthcheck "${tls[@]}" --listen "127.0.0.1:$port" >"$work/out" ||
    die "wald healthcheck: $(cat "$work/out")"

# ---- protocols ----

# hello STATUS ARGUMENT...: of openssl s_client; 0: the handshake was done.
hello()
{
    local status=0
    echo | timeout 30 openssl s_client -connect "127.0.0.1:$port" -CAfile "$ca" \
        -cipher 'ALL:@SECLEVEL=0' "${@:2}" >"$work/out" 2>&1 || status=$?
    [ "$status" -eq "$1" ] || die "openssl s_client ${*:2}: exit status $status: $(cat "$work/out")"
}
hello 1 -tls1
hello 1 -tls1_1
hello 0 -tls1_2
grep -q 'Protocol *: TLSv1.2' "$work/out" || die 'not TLS 1.2'
hello 0 -tls1_3
grep -q 'New, TLSv1.3' "$work/out" || die 'not TLS 1.3'
hello 1 -tls1_2 -cipher 'aNULL:eNULL:@SECLEVEL=0'
hello 1 -tls1_2 -cipher 'RC4:3DES:EXPORT:@SECLEVEL=0'
hello 0 -alpn h2,http/1.1
grep -q 'ALPN protocol: http/1.1' "$work/out" || die 'no ALPN'
# A new handshake in the middle ends the connection, and nothing else.
{ sleep 0.5 && echo R && sleep 1; } |
    timeout 30 openssl s_client -connect "127.0.0.1:$port" -CAfile "$ca" -tls1_2 >"$work/out" 2>&1 ||
    true
there 200 "$url/livez"
for version in 1.0 1.1; do
    ! curl -sS --cacert "$ca" --tls-max "$version" "--tlsv$version" -o /dev/null "$url/livez" 2>/dev/null ||
        die "curl with TLS $version"
done

# ---- what is no TLS, or no request ----

scenario garbage "$port"
scenario cut "$port"
there 200 "$url/stats"
[ "$(member tls_handshakes_failed)" -ge 100 ] || die "failed handshakes: $(cat "$work/body")"
[ "$(member tls_handshakes)" -ge 20 ] || die "handshakes: $(cat "$work/body")"
# The same bytes as without TLS are refused: a slice of the table, or with --all the whole of it.
slice=(pipelined)
[ "${5-}" != --all ] || slice=()
python "${0%/*}/malformed.py" "$port" "$server_pid" "${slice[@]}" || die 'malformed requests'

# ---- certificates ----

scenario reload "$port" "$server_pid" "$work" "$work/log"
# Bad ones leave the good one in place, and are told.
cp "$work/0.key" "$work/key.pem"
bad=0
for what in 'not the key' 'a certificate and its key' 'to be a certificate' 'the file is empty' \
    'No such file'; do
    case $what in
    a*) head -c 300 "$ca" >"$work/cert.pem" ;;
    to*) echo garbage >"$work/cert.pem" ;;
    the*) : >"$work/cert.pem" ;;
    No*) rm "$work/cert.pem" ;;
    esac
    bad=$((bad + 1))
    kill -HUP "$server_pid"
    for _ in $(seq 200); do
        [ "$(grep -c 'event=certificate_not_read' "$work/log")" -lt "$bad" ] || break
        sleep 0.05
    done
    grep 'event=certificate_not_read' "$work/log" | tail -n 1 | grep -q "$what" ||
        die "wanted $what: $(tail -n 3 "$work/log")"
    there 200 "$url/livez"
done
! grep -q 'PRIVATE KEY' "$work/log" || die 'a key in the log'

# What was begun before a stop arrives after it.
scenario stop "$port" "$server_pid" /logs/large/records/0 1048576
ended
[ "$ended_status" -eq 0 ] || die "exit status $ended_status"

# launch_wrong TEXT ARGUMENT...: does not start.
launch_wrong()
{
    launch "${@:2}"
    ended
    [ "$ended_status" -eq 1 ] || die "${*:2}: exit status $ended_status"
    grep -q "event=start_failed .*$1" "$work/log" || die "wanted $1: $(cat "$work/log")"
}
launch_wrong 'go together' --tls-cert "$ca"
launch_wrong 'go together' --tls-key "$work/ca.key"
launch_wrong 'No such file' "${tls[@]}"
cp "$ca" "$work/cert.pem"
launch_wrong 'not the key' "${tls[@]}"

# ---- deadlines and limits ----

cp "$work/ca.key" "$work/key.pem"
openssl req -x509 -key "$work/ca.key" -days 30 -subj /CN=localhost \
    -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' -out "$work/cert.pem" 2>/dev/null
cp "$work/cert.pem" "$ca"
start_tls --header-timeout 1s --answer-timeout 5s --client-connections-max 20 --max-record-bytes 8MiB
sleep 1.5 # the loop sleeps, and the patience with a connection begins when that is there
there 200 "$url/livez"
scenario late "$port"
head -c 8000000 /dev/zero >"$work/large"
there 200 --data-binary "@$work/large" "$url/logs/huge"
scenario greedy "$port" /logs/huge/records/0 8000000
scenario crowd "$port" 20
stop
passed
