#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# A web page of another origin can neither read nor write, unless its origin has been configured; then
# it can use all there is, and is told of every refusal.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

description=${0%/*}/../../openapi.yaml
app=https://app.example.com
other=https://other.example.com
count=0
kept=(/logs/kept /v1/stream/kept) # at each door
new=(/logs/new /v1/stream/new)
host=$(printf 'h%.0s' {1..255})
name=$(printf 'n%.0s' {1..128})
type=text/$(printf 't%.0s' {1..250})
longest=https://$(printf 'a%.0s' {1..246}).

# as ORIGIN: the arguments of curl that send it, in `origin`. "none": no Origin.
as()
{
    origin=(-H "Origin: $1" -H 'Sec-Fetch-Site: cross-site')
    [ "$1" != none ] || origin=(-H 'X-None: 1')
}

# opened VALUE: the last answer lets a page of that origin read it. "": no page of another one.
opened()
{
    count=$((count + 1))
    expect_header Access-Control-Allow-Origin "$1"
    expect_header X-Content-Type-Options nosniff
    if [ -n "$1" ]; then
        expect_header Cross-Origin-Resource-Policy cross-origin
    else
        expect_header Cross-Origin-Resource-Policy same-origin
        expect_header Access-Control-Expose-Headers ''
        expect_header Access-Control-Max-Age ''
    fi
    [ -z "$(header Access-Control-Allow-Credentials)" ] || die 'credentials are never asked for'
}

# doors ORIGIN ANSWER: what a page of that origin gets from each method, at each door. ANSWER is what
# Access-Control-Allow-Origin says; "": it may do nothing.
doors()
{
    local path method may_read=200 may_write='2[0-9][0-9]' body
    as "$1"
    [ -n "$2" ] || [ "$1" = none ] || may_read=403 may_write=403
    for path in "${kept[@]}" /logs /logs/kept/records /logs/kept/records/0 /logs/kept/stats \
        /metrics /livez; do
        for method in --get --head; do
            expect "$may_read" "$method" "${origin[@]}" "$url$path"
            opened "$2"
        done
        expect 200 -X OPTIONS "${origin[@]}" -H 'Access-Control-Request-Method: GET' \
            -H 'Access-Control-Request-Headers: if-none-match' "$url$path"
        opened "$2"
        [ -z "$(header Access-Control-Expose-Headers)" ] || die 'a preflight has nothing to expose'
    done
    # Streams of events, whose heads the library does not write.
    for path in '/logs/kept/records?limit=1' '/v1/stream/filled?offset=-1&live=sse'; do
        expect "$may_read" "${origin[@]}" -H 'Accept: text/event-stream' "$url$path"
        opened "$2"
    done
    for path in "${new[@]}"; do
        for method in PUT POST DELETE; do
            body=()
            [ "$method" != POST ] || body=(-d x)
            request -X "$method" "${origin[@]}" -H 'Content-Type: text/plain' "${body[@]}" "$url$path"
            # shellcheck disable=SC2053 # a pattern
            [[ $status = $may_write ]] || die "$method $path from $1: $status"
            opened "$2"
        done
    done
}

# cross_origin ARGUMENT...: refused, as the work of a page of another site.
cross_origin()
{
    refused 403 foreign-origin "$@"
    opened ''
}

# longest_heads ORIGIN ANSWER: whatever fits into the memory of a connection can be answered: the
# longest head that is taken, from a page with the longest origin, for the longest answers.
longest_heads()
{
    local page='' room target
    [ -z "$1" ] || page="Origin: $1\r\n"
    room=$((6144 - 4 - ${#host} - 64 - 12 - 255 - 64 - 5 - 9 - 64 - 1 - 64))
    [ -z "$1" ] || room=$((room - 6 - ${#1} - 64))
    local head="Host: $host\r\nContent-Type: $type\r\n${page}Range: bytes=0-0\r\n"
    raw 431 "GET /logs HTTP/1.1\r\n${head}A: a$(printf 'a%.0s' $(seq "$room"))\r\n\r\n"
    for target in "201 PUT /v1/stream/$name" \
        "200 GET /v1/stream/$name?cursor=$(printf '1%.0s' {1..876})" \
        "200 GET /v1/stream/filled?live=long-poll&offset=-1&cursor=$(printf '1%.0s' {1..969})" \
        '206 GET /logs/kept/records/0' "400 GET /logs/kept/records?at=$(printf 'v%.0s' {1..989})" \
        '200 OPTIONS /logs/kept'; do
        raw "${target%% *}" "${target#* } HTTP/1.1\r\n${head}A: $(printf 'a%.0s' $(seq "$room"))\r\n\r\n"
        [ "$(tr -d '\r' <"$exchange/response" | sed -n 's/^Access-Control-Allow-Origin: //p')" = "$2" ] ||
            die "$target: cannot be read"
    done
    expect 204 -X DELETE -H "Host: $host" "$url/v1/stream/$name"
}

# ---- closed, as it is unless somebody opens it ----

start --host "$host"
expect 200 -d x "$url/logs/kept"
expect 201 -X PUT -H "Content-Type: $type" -H 'Stream-Closed: true' -d some "$url/v1/stream/filled"
longest_heads '' ''
doors none ''
for page in "$app" null "http://localhost:1" "$url.example.com"; do
    doors "$page" ''
done
expect 404 "$url/logs/new"
expect 200 "$url/logs/kept/offsets"
expect_member next_offset 1
expect 200 -H "Origin: $url" -H 'Sec-Fetch-Site: same-origin' "$url/logs" # a page of its own
opened ''
cross_origin -H 'Sec-Fetch-Site: cross-site' "$url/logs"                  # an image, say
# An <object> of another port of this machine, whose error would tell what there is and what there is not.
cross_origin -H 'Sec-Fetch-Site: same-site' -H 'Sec-Fetch-Dest: object' "$url/v1/stream/kept"
cross_origin -H 'Sec-Fetch-Site: same-site' -H 'Sec-Fetch-Dest: object' "$url/v1/stream/missing"
expect_header Vary ''

# A preflight is told what there is, as openapi.yaml tells it, and not that this page may have it.
expect 200 -X OPTIONS -H "Origin: $app" -H 'Access-Control-Request-Method: PUT' "$url/logs/kept"
expect_header Access-Control-Allow-Methods 'GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS'
expect_header Access-Control-Allow-Methods "$(header Allow)"
header Access-Control-Allow-Headers | grep -q 'If-None-Match' || die 'no list of headers'
opened ''
expect 200 -X OPTIONS -H "Origin: $app" "$url/logs/none-of-that-name"
expect_header Access-Control-Allow-Methods 'GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS'
expect 200 -X OPTIONS "$url/logs/kept" # not a browser
expect_header Access-Control-Allow-Headers ''
refused 404 path-not-found -X OPTIONS -H "Origin: $app" "$url/nothing"
opened ''
stop

# ---- open to some ----

start --cors-origin "$app,https://third.example.com:8443" --cors-origin "$longest" \
    --header-timeout 1s --body-timeout 1s --host "$host"
doors none ''
doors "$other" ''
doors null ''
doors "$app" "$app"
expect_header Vary Origin
expect 200 -H "Origin: https://third.example.com:8443" "$url/logs"
opened https://third.example.com:8443
for near in https://third.example.com http://app.example.com "$app.evil.example" "$app:443" "$app/" \
    'https://*' '*' "x$app"; do
    cross_origin -H "Origin: $near" "$url/logs"
    expect_header Vary Origin
done
cross_origin -H 'Sec-Fetch-Site: cross-site' "$url/logs" # without a name: it may be any page
cross_origin -H 'Sec-Fetch-Site: same-site' "$url/logs"
expect 200 -H "Origin: $app" -H 'Sec-Fetch-Site: same-site' "$url/logs"
opened "$app"
expect 200 -H "Origin: $url" "$url/logs"
opened ''

# A page that may call is told why it is refused, wherever that is done.
refused 404 log-not-found -H "Origin: $app" "$url/logs/missing"
opened "$app"
refused 400 bad-target -H "Origin: $app" "$url/logs/%00"
opened "$app"
refused 400 bad-header -H "Origin: $app" -H 'Range: bytes=0-' -H 'Range: bytes=1-' "$url/logs"
opened "$app"
refused 400 bad-header -H "Origin: $app" -H "Origin: $other" "$url/logs"
refused 405 method-not-allowed -H "Origin: $app" -X PATCH "$url/logs"
opened "$app"
refused 421 unknown-host -H "Origin: $app" -H 'Host: elsewhere.example' "$url/logs"
opened "$app"
refused 431 too-many-headers -H "Origin: $app" -H "A: $(printf 'a%.0s' {1..6200})" "$url/logs"
opened "$app"
refused 413 record-too-large -H "Origin: $app" -H 'Content-Length: 99999999' -d x "$url/logs/kept"
opened "$app"

# Also where the service answers past the library, as far as it knows who asks.
raw 408 "POST /logs/kept HTTP/1.1\r\nHost: localhost\r\nOrigin: $app\r\nContent-Length: 5\r\n\r\nx"
grep -q "^Access-Control-Allow-Origin: $app" "$exchange/response" || die '408 cannot be read'
expect 200 "$url/logs/kept/offsets" # nothing of it

# A preflight names what there is, once for an hour.
expect 200 -X OPTIONS -H "Origin: $app" -H 'Access-Control-Request-Method: POST' "$url/logs/kept"
expect_header Access-Control-Max-Age 3600
header Access-Control-Allow-Headers >"$work/asked"
expect 200 -H "Origin: $app" "$url/logs"
header Access-Control-Expose-Headers >"$work/exposed"
python - "${0%/*}/../openapi" "$description" "$work/asked" "$work/exposed" <<'END' ||
import sys
sys.path.insert(0, sys.argv[1])
from contract import Contract, load
contract = Contract(load(sys.argv[2]))
asked, exposed = ({name.strip().lower() for name in open(path).read().split(",")}
                  for path in sys.argv[3:])
# What any page may send or see (https://fetch.spec.whatwg.org, "safelisted"), what a browser adds by
# itself, and what only browsers look at.
free = {"cache-control", "connection", "content-security-policy", "date", "vary"}
parameters = {"accept", "authorization", "content-type", "last-event-id"}
answers = {"content-type"}
for path, method, operation in contract.operations():
    parameters |= {name.lower() for name in contract.parameters(path, operation, "header")}
    for response in operation["responses"].values():
        answers |= {name.lower() for name in contract.resolve(response).get("headers", {})}
answers = {name for name in answers - free if not name.startswith("access-control-")}
for what, told, described in ("allowed", asked, parameters), ("exposed", exposed, answers):
    if told != described:
        print(f"{what}: {sorted(told ^ described)} are in one of the two only")
        sys.exit(1)
END
    die 'the headers are not those of openapi.yaml'

longest_heads "$longest" "$longest"
stop

# ---- open to all ----

start --cors-origin '*' --header-timeout 1s --body-timeout 1s
for page in none null; do
    doors "$page" '*'
    expect_header Vary ''
done
refused 404 log-not-found "$url/logs/missing"
opened '*'
raw 408 'GET /logs HTTP/1.1\r\nHost: localhost\r\n' # whose head never came
grep -q '^Access-Control-Allow-Origin: \*' "$exchange/response" || die '408 cannot be read'
refused 421 unknown-host -H "Origin: $app" -H 'Host: elsewhere.example' "$url/logs"
stop
echo "$count answers let those read them who may"
passed
