#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Connections whose requests wait for a log are set aside, and go on afterwards as if they had not
# been; requests whose clients do not wait go on without them: tests/http/park.py is a client that looks closely.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

park()
{
    python "${0%/*}/park.py" "$port" "$server_pid" "$@" || die "$1: see above"
}

start
for scene in keep-alive polls pipelined meanwhile hang-up half-close deleted crowd; do
    park $scene
done
until_stats requests_in_progress 1
expect_member connections_parked 0
stop

# A header that was read once is there the second time: what a page may read, and what is not modified.
start --cors-origin https://app.example.com --long-poll-timeout 300ms
park headers
stop

# Those who wait have places, and all of them find back to these, also when no other is free.
start --connections-max 4
park limit
stop

# The last places are not given away to those who wait: there is nobody to give them back.
start --connections-max 1
park alone
stop

# A commit that does not come: appends wait for it without being suspended, up to a number, and what
# becomes of their clients meanwhile is no harm.
start --batch-delay 10s
park held
until_stats requests_in_progress 1
stop

# Whoever sends a whole request and goes away loses its answer, also while its log is being made or opened.
start
park gone
stop
start
park gone-again
stop

# The end comes for all, whether they were set aside or not.
start
park drain & # the client goes on until all has been said
client=$!
until_stats connections_parked 50
stop
wait "$client" || die 'drain: see above'
passed
