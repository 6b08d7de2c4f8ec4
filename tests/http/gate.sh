#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Requests that two readers could read in two ways are refused, and so are those that a web page of
# somebody else could make a browser send.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start
host='Host: localhost\r\n'

# The targets that are fine, and those that are not.
raw 200 "GET /livez HTTP/1.1\r\n$host\r\n"
raw 200 'GET /livez HTTP/1.0\r\n\r\n'
raw 400 "GET livez HTTP/1.1\r\n$host\r\n"
raw 400 "GET http://localhost/livez HTTP/1.1\r\n$host\r\n"
raw 400 "GET /livez#a HTTP/1.1\r\n$host\r\n"
raw 400 "GET /live%%7a HTTP/1.1\r\n$host\r\n"
raw 400 "POST /logs/a%%00b HTTP/1.1\r\n${host}Content-Length: 1\r\n\r\nx"
raw 400 "POST /logs/.. HTTP/1.1\r\n${host}Content-Length: 1\r\n\r\nx"
raw 404 "POST /logs/../logs/a HTTP/1.1\r\n${host}Content-Length: 1\r\n\r\nx"
raw 400 "GET /livez\001 HTTP/1.1\r\n$host\r\n"
raw 400 "GET /livez\303\274 HTTP/1.1\r\n$host\r\n"
raw 400 "OPTIONS * HTTP/1.1\r\n$host\r\n"

# Exactly one Host, and one of ours.
raw 400 'GET /livez HTTP/1.1\r\n\r\n'
raw 400 "GET /livez HTTP/1.1\r\n$host$host\r\n"
raw 400 'GET /livez HTTP/1.1\r\nHost: local host\r\n\r\n'
raw 400 'GET /livez HTTP/1.1\r\nHost:\r\n\r\n'
raw 421 'GET /livez HTTP/1.1\r\nHost: example.com\r\n\r\n'
raw 421 'GET /livez HTTP/1.1\r\nHost: 127.0.0.1.example.com\r\n\r\n'
raw 421 'GET /livez HTTP/1.1\r\nHost: localhost.example.com\r\n\r\n'
raw 200 'GET /livez HTTP/1.1\r\nHost: LOCALHOST:8080\r\n\r\n'
raw 200 'GET /livez HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n'
raw 200 'GET /livez HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n'

# Where a body ends is said once, and in one way.
post="POST /logs/gate HTTP/1.1\r\n$host"
raw 200 "${post}Content-Length: 1\r\n\r\nx"
raw 200 "${post}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
raw 400 "${post}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"
raw 400 "${post}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy"
raw 400 "${post}Content-Length: 1, 1\r\n\r\nx"
raw 400 "${post}Content-Length: +1\r\n\r\nx"
raw 400 "${post}Content-Length: 0x1\r\n\r\nx"
raw 400 "${post}Content-Length: -1\r\n\r\nx"
raw 400 "${post}Content-Length: 00000000000000000001\r\n\r\nx"
raw 413 "${post}Content-Length: 9999999999999999999\r\n\r\nx"
raw 400 "${post}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
raw 400 "${post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
raw 400 "${post}Transfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
raw 400 "${post}Transfer-Encoding: xchunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
raw 400 "POST /logs/gate HTTP/1.0\r\n${host}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
raw 413 "${post}Content-Length: 1048577\r\nExpect: 100-continue\r\n\r\n"
raw 100 "${post}Content-Length: 1\r\nExpect: 100-continue\r\n\r\n"

# Whoever wants to be told to go on with a body that it does not have is answered, and so is what it
# sends behind that.
last="GET /livez HTTP/1.1\r\n${host}Connection: close\r\n\r\n"
for request in 'PUT /logs/asked' 'GET /logs' 'GET /logs/asked/records' 'POST /logs/asked/sync'; do
    exec 7<>"/dev/tcp/127.0.0.1/$port"
    send "$request HTTP/1.1\r\n${host}Expect: 100-continue\r\n\r\n$last"
    answers=$(timeout 20 cat <&7 | sed -n 's/^HTTP\/1\.1 \([0-9]*\) .*/\1/p' | tr '\n' ' ')
    exec 7>&-
    case $answers in
    '100 200 200 ' | '100 201 200 ') ;;
    *) die "$request, which expects to be told to go on, and another: $answers" ;;
    esac
done

# Names and values of headers.
raw 400 "GET /livez HTTP/1.1\r\n${host}a b: c\r\n\r\n"
raw 400 "GET /livez HTTP/1.1\r\n${host}Content-Length : 0\r\n\r\n"
raw 400 "GET /livez HTTP/1.1\r\n${host}a: b\001c\r\n\r\n"
raw 431 "GET /livez HTTP/1.1\r\n$host$(printf 'a%d: b\\r\\n' {1..70})\r\n"

# Pages of other sites.
raw 403 "GET /livez HTTP/1.1\r\n${host}Origin: http://example.com\r\n\r\n"
raw 403 "GET /livez HTTP/1.1\r\n${host}Origin: null\r\n\r\n"
raw 403 "GET /livez HTTP/1.1\r\n${host}Origin: http://localhost:1\r\n\r\n"
raw 403 "GET /livez HTTP/1.1\r\n${host}Sec-Fetch-Site: cross-site\r\n\r\n"
raw 403 "GET /livez HTTP/1.1\r\n${host}Sec-Fetch-Site: same-site\r\n\r\n"
raw 403 "GET /livez HTTP/1.1\r\n${host}Sec-Fetch-Site: \r\n\r\n"
raw 200 "GET /livez HTTP/1.1\r\n${host}Sec-Fetch-Site: none\r\n\r\n"
raw 200 "GET /livez HTTP/1.1\r\n${host}Origin: http://localhost\r\n\r\n"
raw 200 "GET /livez HTTP/1.1\r\n${host}Sec-Fetch-Site: same-origin\r\n\r\n"

# A request hidden in the body of a refused one is never answered: one answer, and the end.
hidden="POST /logs/hidden HTTP/1.1\r\n${host}Content-Length: 1\r\n\r\nx"
exec 7<>"/dev/tcp/127.0.0.1/$port"
send "${post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n$hidden"
answers=$(timeout 20 cat <&7 | grep -c '^HTTP/1.1 ' || true)
exec 7>&-
[ "$answers" = 1 ] || die "$answers answers to a refused request"
expect 404 "$url/logs/hidden/offsets"

# A body of a refused request that fits is read past, and the next request is answered.
exec 7<>"/dev/tcp/127.0.0.1/$port"
next="GET /livez HTTP/1.1\r\n${host}Connection: close\r\n\r\n"
send "POST /logs/- HTTP/1.1\r\n${host}Content-Length: 4\r\n\r\nGET $next"
statuses=$(timeout 20 cat <&7 | tr -d '\r' | sed -n 's,^.*HTTP/1\.1 \([0-9]*\).*,\1,p' | tr '\n' ' ')
exec 7>&-
[ "$statuses" = '400 200 ' ] || die "statuses $statuses"

expect 200 "$url/logs/gate/offsets"
expect_member next_offset 2
stop

# A name that was given is answered to, besides those of the loopback.
start --host logs.example.com
raw 200 'GET /livez HTTP/1.1\r\nHost: logs.example.com:80\r\n\r\n'
raw 200 "GET /livez HTTP/1.1\r\n$host\r\n"
raw 421 'GET /livez HTTP/1.1\r\nHost: example.com\r\n\r\n'
stop

# An IPv4 address of the loopback, written as IPv6, answers to no more names than it does otherwise.
launch --listen '[::ffff:127.0.0.1]:0'
if wait_for 'event=ready'; then
    port=$(sed -n 's/.* listen=\[::ffff:127\.0\.0\.1\]:\([0-9]*\) .*/\1/p' "$work/log")
    raw 421 'GET /livez HTTP/1.1\r\nHost: example.com\r\n\r\n'
    raw 200 "GET /livez HTTP/1.1\r\n$host\r\n"
    stop
else
    grep -q 'event=start_failed' "$work/log" || die 'neither ready nor failed' # there is no IPv6
    ended
fi
passed
