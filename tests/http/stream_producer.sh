#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Producers at the second door: what is sent again is there once, and what is missing is told.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

start
s=$url/v1/stream
text='Content-Type: text/plain'

# produce STATUS ID EPOCH SEQ ARGUMENT...
produce()
{
    local status=$1 id=$2 epoch=$3 seq=$4
    shift 4
    expect "$status" -H "$text" -H "Producer-Id: $id" -H "Producer-Epoch: $epoch" \
        -H "Producer-Seq: $seq" "$@"
}

# duplicate ID EPOCH SEQ NEWEST ARGUMENT...
duplicate()
{
    local id=$1 epoch=$2 seq=$3 newest=$4
    shift 4
    produce 204 "$id" "$epoch" "$seq" "$@"
    expect_header Producer-Epoch "$epoch"
    expect_header Producer-Seq "$newest"
}

expect 201 -X PUT -H "$text" "$s/p"

# In turn: 200, where others get 204.
produce 200 writer 0 0 -d a "$s/p"
expect_header Producer-Epoch 0
expect_header Producer-Seq 0
expect_header Stream-Next-Offset 0000000000000001_0000000000000001
produce 200 writer 0 1 -d b "$s/p"
produce 200 writer 00 002 -d c "$s/p"
expect_header Producer-Seq 2

# Again: whatever is in it, and before anything is said of Stream-Seq.
duplicate writer 0 2 2 -d other "$s/p"
duplicate writer 0 0 2 -d a "$s/p"
produce 200 writer 0 3 -H 'Stream-Seq: 5' -d d "$s/p"
duplicate writer 0 3 3 -H 'Stream-Seq: 5' -d d "$s/p"
duplicate writer 0 1 3 -H 'Stream-Seq: 1' -d b "$s/p"

# Too early, and by another who is somebody else.
produce 409 writer 0 5 -d x "$s/p"
expect_problem producer-gap
expect_header Producer-Expected-Seq 4
expect_header Producer-Received-Seq 5
produce 409 reader 0 1 -d x "$s/p"
expect_header Producer-Expected-Seq 0
expect_header Producer-Received-Seq 1
produce 200 reader 7 0 -d e "$s/p"

# A refusal takes no number.
produce 409 writer 0 4 -H 'Stream-Seq: 4' -d x "$s/p"
expect_problem stream-seq
produce 200 writer 0 4 -d f "$s/p"

# Who takes over begins anew; who was taken over from is told.
produce 400 writer 1 1 -d x "$s/p"
produce 200 writer 1 0 -d g "$s/p"
produce 403 writer 0 5 -d x "$s/p"
expect_problem stale-epoch
expect_header Producer-Epoch 1
duplicate writer 1 0 0 -d g "$s/p"
expect 200 "$s/p"
expect_body abcdefg

# All three headers, and each as it has to be.
for headers in 'Producer-Id: w' 'Producer-Epoch: 0' 'Producer-Seq: 0'; do
    refused 400 bad-header -H "$text" -H "$headers" -d x "$s/p"
done
for epoch in -1 +1 1.0 1e3 x 9007199254740992 18446744073709551616; do
    produce 400 w "$epoch" 0 -d x "$s/p"
    expect_problem bad-header
    produce 400 w 0 "$epoch" -d x "$s/p"
done
expect 400 -H "$text" -H 'Producer-Id;' -H 'Producer-Epoch: 0' -H 'Producer-Seq: 0' -d x "$s/p"
produce 200 w 9007199254740991 0 -d h "$s/p"

# Closing takes part: in its turn, and once.
produce 409 writer 1 2 -H 'Stream-Closed: true' -d x "$s/p"
expect 201 -X PUT -H "$text" "$s/c"
produce 200 w 0 0 -d 'one' "$s/c"
produce 200 w 0 1 -H 'Stream-Closed: true' -d 'last' "$s/c"
expect_header Stream-Closed true
expect_header Stream-Next-Offset 0000000000000002_0000000000000007
duplicate w 0 1 1 -H 'Stream-Closed: true' -d 'another' "$s/c"
expect_header Stream-Closed true
duplicate w 0 0 1 -d 'one' "$s/c" # it is there, closed or not
expect_header Stream-Closed true
for tuple in 'w 0 2' 'w 1 0' 'v 0 0'; do
    # shellcheck disable=SC2086
    produce 409 $tuple -H 'Stream-Closed: true' -d x "$s/c"
    expect_problem closed
    expect_header Stream-Closed true
    expect_header Stream-Next-Offset 0000000000000002_0000000000000007
done
expect 204 -X POST -H 'Stream-Closed: true' "$s/c"
expect 200 "$s/c"
expect_body onelast

# Without a body, too.
expect 201 -X PUT -H "$text" "$s/d"
produce 409 w 0 1 -X POST -H 'Stream-Closed: true' "$s/d"
produce 204 w 0 0 -X POST -H 'Stream-Closed: true' "$s/d"
expect_header Stream-Closed true
expect_header Producer-Epoch 0
expect_header Producer-Seq 0
duplicate w 0 0 0 -X POST -H 'Stream-Closed: true' "$s/d"
expect_header Stream-Closed true
produce 409 w 0 1 -X POST -H 'Stream-Closed: true' "$s/d"

# It is known of the same log at both doors, and after a restart.
expect 200 -H 'Producer-Id: w' -H 'Producer-Epoch: 9007199254740991' -H 'Producer-Seq: 1' -d i \
    "$url/logs/p"
duplicate w 9007199254740991 1 1 -d i "$s/p"
stop
start
s=$url/v1/stream
duplicate w 9007199254740991 1 1 -d i "$s/p"
duplicate writer 1 0 0 -d g "$s/p"
duplicate w 0 1 1 -H 'Stream-Closed: true' -d 'last' "$s/c"
expect 200 "$s/p"
expect_body abcdefghi
stop
passed
