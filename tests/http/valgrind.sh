#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# A life of the program, from its start to its stop, with a request of each kind: no memory is lost,
# and none is read that was never written. Valgrind does not know io_uring.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

[ "$backend" = posix ] || skip 'valgrind does not know io_uring'
command -v valgrind >/dev/null || skip 'there is no valgrind'
ldd "$wald" >"$work/libraries"
! grep -q 'lib[at]san' "$work/libraries" || skip 'a sanitizer and valgrind exclude each other'

cat >"$work/wald" <<END
#!/bin/sh
exec valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=all \\
    --errors-for-leak-kinds=all --track-fds=yes --log-file="$work/valgrind.%p" "$wald" "\$@"
END
chmod +x "$work/wald"
wald=$work/wald

# It has nothing to say but which files it was given open; those it left open would have a trace. And
# that it does not know openat2(), for which there is another way.
clean()
{
    if grep -hv '^--[0-9]*-- \|^==[0-9]*== *$\|FILE DESCRIPTORS: \|Open file descriptor\|<inherited from parent>' \
        "$work"/valgrind.* >"$work/complaints"; then
        die "valgrind: $(cat "$work/complaints")"
    fi
}

start --sandbox off --segment-bytes 64KiB --pack-compression zstd --idle-timeout 30s --header-timeout 10s --body-timeout 1s
expect 200 -d hello "$url/logs/orders"
expect 200 -H 'Transfer-Encoding: chunked' -d world "$url/logs/orders"
head -c 100000 /dev/urandom >"$work/sent"
expect 200 --data-binary "@$work/sent" "$url/logs/orders"
expect 200 -H 'Expect: 100-continue' -d asked "$url/logs/orders"
for path in /logs /logs/orders/offsets /logs/orders/records /logs/orders/records/2 \
    /logs/orders/stats /stats /livez /readyz /version; do
    expect 200 "$url$path"
    expect 200 -I "$url$path"
done
cmp -s "$work/sent" <(curl -sS "$url/logs/orders/records/2") || die 'a record came back changed'
expect 200 -X OPTIONS "$url/logs/orders"
expect 400 -d x "$url/logs/-"
expect 400 -X POST "$url/logs/orders"
expect 404 "$url/logs/none/offsets"
expect 405 -X DELETE "$url/logs"
expect 413 -H 'Transfer-Encoding: chunked' --data-binary @<(head -c 1100000 /dev/zero) \
    "$url/logs/orders"
expect 421 -H 'Host: example.com' "$url/livez"
expect 431 -H "A: $(head -c 60000 /dev/zero | tr '\0' a)" "$url/livez"
lines='Content-Type: application/x-ndjson'
printf 'one\ntwo\n' >"$work/batch"
expect 200 -H "$lines" --data-binary "@$work/batch" "$url/logs/orders"
gzip -c "$work/batch" >"$work/batch.gz"
expect 200 -H "$lines" -H 'Content-Encoding: gzip' --data-binary "@$work/batch.gz" "$url/logs/orders"
expect 400 -H 'Content-Encoding: gzip' --data-binary "@$work/batch" "$url/logs/orders"
# Full files are compressed, and read.
for i in $(seq 4000); do
    printf '{"level":"info","user":%d,"path":"/orders/%d"}\n' $((i % 7)) "$i"
done >"$work/lines"
for _ in 1 2 3; do
    expect 200 -H "$lines" --data-binary "@$work/lines" "$url/logs/lines"
done
until_stats packed_segments 3
expect 200 "$url/logs/lines/records/7999"
grep -q '"path":"/orders/4000"' "$work/body" || die "not the record: $(cat "$work/body")"
for _ in 1 2; do
    expect 200 -H 'Idempotency-Key: "once"' -d once "$url/logs/orders"
    expect 200 -H 'Producer-Id: p' -H 'Producer-Epoch: 0' -H 'Producer-Seq: 0' -d once \
        "$url/logs/orders"
done
expect 412 -H 'If-Match: "1"' -d x "$url/logs/orders"
expect 202 -d x "$url/logs/orders?ack=none"
expect 200 -X POST "$url/logs/orders/sync"
expect 200 -X POST "$url/logs/orders/trim?before=1"
expect 410 "$url/logs/orders/records/0"
expect 200 -d x "$url/logs/gone"
expect 204 -X DELETE "$url/logs/gone"
expect 200 -N -H 'Accept: text/event-stream' "$url/logs/orders/records?limit=2"
expect 200 -I -H 'Accept: text/event-stream' "$url/logs/orders/records"
curl -sS -N -o "$work/followed" -H 'Accept: text/event-stream' "$url/logs/orders/records" &
follower=$!
until_stats followers 1
expect 200 -d followed "$url/logs/orders"
raw closed 'nonsense\r\n\r\n'
raw 408 'POST /logs/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx'
# More cookies than the library has room for, which ends a request without a word to us.
curl -s -o /dev/null -H "Cookie: $(printf 'a=b;%.0s' {1..300})" "$url/livez" || true
expect 200 "$url/stats"
expect_member requests_in_progress 1
exec 7<>"/dev/tcp/127.0.0.1/$port" # and one that leaves in the middle of a request
printf 'POST /logs/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx' >&7
exec 7>&-
stop
wait "$follower"
clean

# A start that fails, and a stop with a request that is cut off.
start --sandbox off --shutdown-timeout 0s
status=0
"$work/wald" serve --data "$work/other" --listen nowhere >"$work/out" 2>&1 || status=$?
[ "$status" -eq 1 ] || die "a start that fails: exit status $status: $(cat "$work"/valgrind.*)"
exec 7<>"/dev/tcp/127.0.0.1/$port"
printf 'POST /logs/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx' >&7
until_stats requests_in_progress 2
stop
clean
exec 7>&-
passed
