#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Who may do what: every operation, by every kind of token, at both doors. A token that is missing, wrong
# or without the right changes nothing and learns nothing, not even whether a log is there.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

description=${0%/*}/../../openapi.yaml
tokens=$work/tokens

# make NAME RIGHTS LOGS: a token, in the file of tokens and in $work/NAME.token.
make()
{
    "$wald" token --tokens "$tokens" "$@" >"$work/$1.token" || die "wald token $*: exit status $?"
}

# present NAME: the arguments of curl that present its token, in `credentials`. "none": none.
present()
{
    credentials=(-H 'X-None: 1')
    [ "$1" = none ] || credentials=(-H "Authorization: Bearer $(cat "$work/$1.token")")
}

# as NAME STATUS ARGUMENT...: with its token.
as()
{
    present "$1"
    expect "$2" "${credentials[@]}" "${@:3}"
}

# as_refused NAME STATUS ARGUMENT...: refused for its token, as RFC 6750 has it.
as_refused()
{
    as "$@"
    case $1-$2 in
    none-*) expect_header WWW-Authenticate 'Bearer realm="wald"' ;;
    *-401) expect_header WWW-Authenticate 'Bearer realm="wald", error="invalid_token"' ;;
    *) header WWW-Authenticate | grep -q '^Bearer realm="wald", error="insufficient_scope", scope="' ||
        die "WWW-Authenticate: $(header WWW-Authenticate)" ;;
    esac
}

# said EVENT COUNT: the program has said so COUNT times, sooner or later.
said()
{
    for _ in $(seq 200); do
        [ "$(grep -c "event=$1 " "$work/log")" -lt "$2" ] || return 0
        sleep 0.05
    done
    die "no event=$1 for the ${2}th time"
}

# reloads EVENT COUNT: after a SIGHUP.
reloads()
{
    kill -HUP "$server_pid"
    said "$@"
}

make reader read orders
make writer append orders
make admin admin orders
make prefix read,append,admin 'ord*'
make other read,append,admin 'payments,orders-2,order'
make all append,admin,read '*'
make readall read '*'
make mixed read 'orders,pay*'
[ "$(stat -c %a "$tokens")" = 600 ] || die 'the file of tokens is for its owner alone'
! grep -qF -f "$work/all.token" "$tokens" || die 'the file of tokens has a token in it'

# ---- every operation ----

start --tokens "$tokens"
as all 200 -d zero "$url/logs/orders"
as all 200 -d zero "$url/logs/payments"
python "${0%/*}/auth.py" "$description" "$port" "$work" || die 'the table'

# ---- what a refusal tells ----

# Nothing of whether a log is there; and what is no path or method is no secret.
for who in reader other none; do
    status=403
    [ "$who" != none ] || status=401
    for path in /logs/none /v1/stream/none /logs/none/offsets; do
        as_refused "$who" "$status" "$url$path"
    done
    as_refused "$who" "$status" -d x "$url/logs/none"
    as_refused "$who" "$status" -X DELETE "$url/v1/stream/none"
done
as all 404 "$url/logs/none"
expect 404 "$url/nothing"
expect 405 -X PUT "$url/logs"

# Before what is wrong with the request otherwise.
as_refused none 401 "$url/logs/orders/records?offset=x&colour=red"
as_refused reader 403 -H 'Content-Encoding: br' -d x "$url/logs/orders"

# Before the body: who waits to be asked for it is told at once, and who does not ask is not read on.
next_exchange
exec 7<>"/dev/tcp/127.0.0.1/$port"
send "POST /logs/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
cp "$work/request" "$exchange/request"
receive
exec 7>&-
[[ $line = 'HTTP/1.1 401 '* ]] || die "wanted 401 before the body, got $line"
raw 401 'POST /v1/stream/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n'

# ---- how a token is presented ----

token=$(cat "$work/reader.token")
[[ $token =~ ^wald_[A-Za-z0-9_-]{43}$ ]] || die "a token: $token"
for scheme in bearer BEARER 'Bearer '; do
    expect 200 -H "Authorization: $scheme $token" "$url/logs/orders"
done
for value in "$token" Bearer 'Bearer x' "Bearer ${token%?}" "Bearer ${token}A" "Bearer $token x" \
    "Bearer $token=" "Token $token" "Bearer,$token" "Bearer $(printf 'a%.0s' {1..600})"; do
    refused 401 unauthorized -H "Authorization: $value" "$url/logs/orders"
done
refused 400 bad-header -H "Authorization: Bearer $token" -H "Authorization: Bearer $token" "$url/logs"
refused 401 unauthorized "$url/logs/orders?access_token=$token"
as reader 400 "$url/logs/orders?access_token=$token"

# ---- lists ----

for name in pay-1 pay-2 secret orders-2; do
    as all 200 -d x "$url/logs/$name"
done
# names NAME QUERY: what a token sees.
names()
{
    as "$1" 200 "$url/logs$2"
    jq -r '[.logs[].name] | join(" ")' "$work/body"
}
[ "$(names all '')" = 'orders orders-2 pay-1 pay-2 payments secret' ] || die 'the list of all'
[ "$(names mixed '')" = 'orders pay-1 pay-2 payments' ] || die 'the list of what may be read'
[ "$(names mixed '?prefix=s')" = '' ] || die 'a prefix shows no more'
[ "$(names other '')" = 'orders-2 payments' ] || die 'the list of other'
[ "$(names mixed '?limit=2')" = 'orders pay-1' ] || die 'a page of them'
as mixed 200 "$url/logs?limit=2"
expect_member next_after pay-1
as mixed 200 "$url/logs?limit=4" # behind it are only others
[ -z "$(member next_after)" ] || die 'there is more, for others only'

# ---- forks: both names ----

fork=(-X PUT -H 'Content-Type: application/octet-stream')
make forker append,read 'orders,fork-*'
make blind append 'fork-*'
reloads tokens_read 1
as_refused blind 403 "${fork[@]}" -H 'Stream-Forked-From: /v1/stream/orders' "$url/v1/stream/fork-1"
as_refused forker 403 "${fork[@]}" -H 'Stream-Forked-From: /v1/stream/secret' "$url/v1/stream/fork-1"
as_refused forker 403 "${fork[@]}" -H 'Stream-Forked-From: /v1/stream/none' "$url/v1/stream/fork-1"
as_refused forker 403 "${fork[@]}" -H 'Stream-Forked-From: /v1/stream/orders' "$url/v1/stream/mine"
as all 404 "$url/v1/stream/fork-1"
as forker 201 "${fork[@]}" -H 'Stream-Forked-From: /v1/stream/orders' "$url/v1/stream/fork-1"
as forker 400 "${fork[@]}" -H 'Stream-Forked-From: orders' "$url/v1/stream/fork-2"
# Where a fork comes from, whoever describes it, changes it, or makes it once more.
make keeper append,admin,read 'fork-*'
make maker admin 'fork-*'
reloads tokens_read 2
described=(-H 'Content-Type: application/json' -d '{}')
for who in all keeper; do
    source=
    [ "$who" = keeper ] || source=orders
    as "$who" 200 "$url/logs/fork-1"
    expect_member forked_from "$source"
    for method in PUT PATCH; do
        as "$who" 200 -X "$method" "${described[@]}" "$url/logs/fork-1"
        expect_member forked_from "$source"
    done
done
as forker 200 "$url/logs/fork-1"
expect_member forked_from orders
as maker 200 -X PUT "${described[@]}" "$url/logs/fork-1"
expect_member forked_from ''
for path in /v1/stream/fork-1 /logs /logs/fork-1/stats /logs/fork-1/records /logs/fork-1/offsets; do
    as keeper 200 "$url$path"
    ! grep -qw orders "$work/body" "$work/headers" || die "$path tells of the source"
done

# ---- a new file ----

make late read orders
as_refused late 401 "$url/logs/orders"
reloads tokens_read 3
as late 200 "$url/logs/orders"

# Streams of events go with their tokens; those of others stay.
follow()
{
    curl -sN --max-time 60 -H "Authorization: Bearer $(cat "$work/$1.token")" -H 'Accept: text/event-stream' \
        "$url/logs/orders/records?offset=latest" >"$work/$1.events" &
}
follow late
late_pid=$!
follow reader
reader_pid=$!
until_followers()
{
    for _ in $(seq 200); do
        as all 200 "$url/stats"
        [ "$(member followers)" != "$1" ] || return 0
        sleep 0.05
    done
    die "not $1 followers"
}
until_followers 2
grep -v '^late ' "$tokens" >"$work/fewer"
cp "$tokens" "$work/before"
cat "$work/fewer" >"$tokens"
reloads tokens_read 4
as_refused late 401 "$url/logs/orders"
status=0
wait "$late_pid" || status=$?
[ "$status" -ne 28 ] || die 'the stream of a token that was taken out goes on'
until_followers 1
as all 200 -d after "$url/logs/orders"
for _ in $(seq 100); do
    ! grep -q after "$work/reader.events" || break
    sleep 0.05
done
grep -q after "$work/reader.events" || die 'the stream of another token was cut off'
kill "$reader_pid"
wait "$reader_pid" 2>/dev/null || true

# What cannot be read leaves the tokens as they were, and says where it is wrong, without quoting.
bad=0
for line in "$(cat "$work/late.token")" "x $(cat "$work/late.token") read orders" 'x sha256:12 read *' \
    "$(sed -n 's/^reader \(\S*\) .*/x \1 read */p' "$tokens")" \
    "reader sha256:$(printf '0%.0s' {1..64}) read *" "x sha256:$(printf '0%.0s' {1..64}) write *" \
    "x sha256:$(printf '0%.0s' {1..64}) read,read *" "x sha256:$(printf '0%.0s' {1..64}) read a*b" \
    "x sha256:$(printf '0%.0s' {1..64}) read a,,b" "x sha256:$(printf '0%.0s' {1..64}) read a b" \
    "../x sha256:$(printf '0%.0s' {1..64}) read a" "x sha256:$(printf 'A%.0s' {1..64}) read a"; do
    { cat "$work/fewer" && printf '# next\n%s\n' "$line"; } >"$tokens"
    bad=$((bad + 1))
    reloads tokens_not_read "$bad"
    grep 'event=tokens_not_read' "$work/log" | tail -n 1 |
        grep -q "reason=\"line $(($(wc -l <"$work/fewer") + 2)): " || die "where is it wrong: $line"
done
chmod o+w "$tokens"
reloads tokens_not_read $((bad + 1))
rm "$tokens"
reloads tokens_not_read $((bad + 2))
as reader 200 "$url/logs/orders"
as_refused late 401 "$url/logs/orders"
cp "$work/before" "$tokens"
reloads tokens_read 5
as late 200 "$url/logs/orders"

# Nothing tells a token: neither what the program says nor what it answers.
for path in /stats /metrics /logs/orders/stats '/readyz?verbose'; do
    as all 200 "$url$path"
    ! grep -q 'wald_[A-Za-z0-9_-]\{43\}' "$work/body" || die "$path tells a token"
done
! grep -q 'wald_[A-Za-z0-9_-]\{43\}\|sha256:[0-9a-f]' "$work/log" || die 'a token in the log'
as all 200 "$url/metrics"
grep -q 'type="unauthorized"' "$work/body" || die 'no count of refusals'
stop

# ---- tokens that go while their requests wait ----

make staying 'read,append' '*'
make leaving 'read,append' '*'
make lessened 'read,append' '*'
start --tokens "$tokens" --body-timeout 2m --long-poll-timeout 2m
as staying 200 -d zero "$url/logs/orders"
python "${0%/*}/revoked.py" "$port" "$server_pid" "$tokens" "$work" || die 'a token that has gone'
stop

# ---- what is open ----

for open in none metrics,version stats,openapi,health; do
    start --tokens "$tokens" --open "$open" --cors-origin https://app.example.com
    for row in 'health /livez' 'health /readyz' 'health /healthz' 'metrics /metrics' 'stats /stats' \
        'version /version' 'openapi /openapi.yaml'; do
        status=401
        [[ ,$open, != *,"${row% *}",* ]] || status=200
        as none "$status" "$url${row#* }"
        as_refused none 401 "$url/logs"
    done
    # A page that may call can ask before it presents a token, and can read that it has to.
    page=(-H 'Origin: https://app.example.com')
    expect 200 -X OPTIONS "${page[@]}" -H 'Access-Control-Request-Method: GET' \
        -H 'Access-Control-Request-Headers: authorization' "$url/logs"
    header Access-Control-Allow-Headers | grep -qw Authorization || die 'a page may present no token'
    refused 401 unauthorized "${page[@]}" "$url/logs"
    expect_header Access-Control-Allow-Origin https://app.example.com
    header Access-Control-Expose-Headers | grep -qw WWW-Authenticate || die 'a page cannot see why'
    stop
done

# ---- starting ----

# warned EVENT ARGUMENT...: a start on all addresses says so.
warned()
{
    launch --listen 0.0.0.0:0 "${@:2}"
    wait_for event=ready || die 'not ready'
    grep -q "event=$1 " "$work/log" || die "no event=$1"
    stop
}
warned open_to_network
! grep -q event=plain_text "$work/log" || die 'two warnings'
warned plain_text --tokens "$tokens"
! grep -q event=open_to_network "$work/log" || die 'it is not open'
echo 'a b c d' >"$work/wrong"
for file in "$work/wrong" "$work/none" "$work"; do
    launch --tokens "$file"
    ended
    [ "$ended_status" -eq 1 ] || die "a start with $file: exit status $ended_status"
    grep -q "event=start_failed .*file of tokens" "$work/log" || die 'it does not say why'
done

# ---- the commands ----

"$wald" token a read '*' >"$work/out"
[ "$(wc -l <"$work/out")" -eq 2 ] || die 'a token and a line'
tail -n 1 "$work/out" | grep -q "^a sha256:$(head -n 1 "$work/out" | tr -d '\n' | sha256sum | cut -d ' ' -f 1) read \*$" ||
    die 'not the hash of the token'
cp "$tokens" "$work/before"
for words in 'reader read orders' 'x write orders' 'x read a*b' 'x/y read orders' 'x read'; do
    IFS=' ' read -r -a arguments <<<"$words"
    status=0
    "$wald" token --tokens "$tokens" "${arguments[@]}" >"$work/out" 2>&1 || status=$?
    [ "$status" -eq 64 ] || die "wald token $words: exit status $status"
    ! grep -q wald_ "$work/out" || die 'a token that is not known was printed'
done
cmp -s "$tokens" "$work/before" || die 'a line that is refused was added'

start --tokens "$tokens"
export WALD_URL=$url
printf 'by command\n' | "$wald" append --quiet --lines --token-file "$work/all.token" orders >/dev/null
WALD_TOKEN=$(cat "$work/reader.token") "$wald" tail orders -n 1 >"$work/out"
[ "$(cat "$work/out")" = 'by command' ] || die "wald tail: $(cat "$work/out")"
status=0
WALD_TOKEN=$(cat "$work/all.token") "$wald" trim --token-file "$work/reader.token" orders --before 1 \
    2>"$work/out" || status=$?
[ "$status" -eq 1 ] || die "wald trim: exit status $status"
grep -q '403 forbidden' "$work/out" || die "wald trim: $(cat "$work/out")"
status=0
"$wald" ls 2>"$work/out" || status=$?
[ "$status" -eq 1 ] || die "wald ls: exit status $status"
grep -q '401 unauthorized' "$work/out" || die "wald ls: $(cat "$work/out")"
printf 'a\tb\n' >"$work/wrong"
for file in "$work/wrong" "$work/none" /dev/null; do
    status=0
    "$wald" ls --token-file "$file" 2>"$work/out" || status=$?
    [ "$status" -eq 64 ] || die "wald ls with $file: exit status $status: $(cat "$work/out")"
done
"$wald" healthcheck --listen "127.0.0.1:$port" >/dev/null || die 'wald healthcheck'
stop
passed
