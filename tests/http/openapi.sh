#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# The description that is served is the file in the repository, byte for byte, and a client that has
# it already is not sent it again.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

file=${0%/*}/../../openapi.yaml
start
expect 200 "$url/openapi.yaml"
cmp "$file" "$work/body" || die 'it is not the file'
expect_header Content-Type application/yaml
expect_header Cache-Control no-cache
etag=$(header ETag)
expect 200 -I "$url/openapi.yaml"
expect_header ETag "$etag"
expect_header Content-Length "$(stat -c %s "$file")"

for known in "$etag" "W/$etag" "\"other\", $etag" '*'; do
    expect 304 -H "If-None-Match: $known" "$url/openapi.yaml"
    [ ! -s "$work/body" ] || die 'a body with 304'
    expect_header ETag "$etag"
    expect_header Cache-Control no-cache
done
expect 200 -H 'If-None-Match: "other"' "$url/openapi.yaml"
expect 400 "$url/openapi.yaml?version=2"
expect_problem bad-parameter
expect 405 -X DELETE "$url/openapi.yaml"
expect_problem method-not-allowed

# The next start of the same program has the same one.
stop
start
expect 304 -H "If-None-Match: $etag" "$url/openapi.yaml"
stop
passed
