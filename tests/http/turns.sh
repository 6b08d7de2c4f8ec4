#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Requests that take long take turns with commits: an append is answered before all of them are, also
# when they have arrived together or have waited for the same commit.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start
python3 "${0%/*}/turns.py" "$port" "$server_pid" || die 'an append waited for all of them'
expect 200 "$url/logs/small/offsets"
expect_member committed_offset 3
stop
passed
