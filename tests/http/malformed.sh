#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Hundreds of malformed requests: each is refused, none writes a record or makes a log, and the
# service goes on. An argument behind the usual four is the beginning of the names of cases to be played.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start
python3 "${0%/*}/malformed.py" "$port" "$server_pid" "${@:5}" || die 'see above'
stop
passed
