#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Thousands of requests with tampered framing, each with a second one hidden in it: the hidden one is
# only ever run where a strict reader sees a request of its own. Arguments behind the usual four are
# for smuggling.py: --variants N and --seed S for more.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start
python3 "${0%/*}/smuggling.py" "$port" "${@:5}" || die 'see above'
stop
passed
