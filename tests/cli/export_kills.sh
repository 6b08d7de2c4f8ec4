#!/bin/bash
# shellcheck disable=SC2119 # start, serve and stop take arguments of their own
# An export during which the service or itself is killed: it goes on when the service is back, or fails and
# says so. What stands under its name is whole and true, and what came out of a pipe before it failed does
# not pass for whole.
# shellcheck source=tests/cli/lib.sh
. "${0%/*}/lib.sh" "$@"
RANDOM=$$
echo "RANDOM=$$"
serve

# body FILE: the records of an export, as they stand in it.
body()
{
    tail -n +2 "$1" | head -n -1
}

# true_export FILE: it is whole, and each record of it is where and as it is in the log.
true_export()
{
    local count
    count=$(tail -n 1 "$1" | jq -e 'select(.wald_export_end == 1).records') || die "$1 has no end"
    [ "$(head -n 1 "$1" | jq '.end_offset - .first_offset')" = "$count" ] || die "$1 is short"
    body "$1" | cmp - <(body "$work/whole" | head -n "$count") || die "$1 is not what is in the log"
}

# a_moment: up to as long as a whole export takes.
a_moment()
{
    sleep "$(((RANDOM % (took_ms + 1)) / 1000)).$(printf %03d $(((RANDOM % (took_ms + 1)) % 1000)))"
}

{
    seq 20000
    head -c 12000000 /dev/urandom | base64
} >"$work/lines"
wald append source --lines --quiet "$work/lines" >/dev/null
began=$(date +%s%N)
wald export source "$work/first"
took_ms=$((($(date +%s%N) - began) / 1000000))

# Somebody appends all the time.
: >"$work/going"
while [ -e "$work/going" ]; do
    echo "line $RANDOM"
    sleep 0.01
done | "$wald" append source --lines --quiet >/dev/null 2>"$work/append.errors" &
append=$!

# The service is killed, once or twice.
for round in $(seq 8); do
    "$wald" export source "$work/export.$round" 2>"$work/export.errors" &
    export=$!
    export_begins "$work/export.$round" "$export"
    for _ in $(seq $((1 + round % 2))); do
        a_moment
        kill_service
        serve
    done
    wait "$export" || die "an export during kills: $(cat "$work/export.errors")"
done

# So it is, and the export does not wait for it: no file, and no file that is left over.
for round in $(seq 6); do
    "$wald" export source "$work/hasty" --retry-for 0s 2>"$work/export.errors" &
    export=$!
    export_begins "$work/hasty" "$export"
    kill_service
    status=0
    wait "$export" || status=$?
    if [ "$status" -eq 0 ]; then
        mv "$work/hasty" "$work/export.hasty.$round"
    else
        [ ! -e "$work/hasty" ] || die 'an export that failed has a file'
        [ ! -e "$work/hasty.partial" ] || die 'an export that failed has left a file'
        grep -q '^wald: ' "$work/export.errors" || die 'an export failed without a word'
    fi
    serve
    # Through a pipe a part of it came out: it has no end.
    "$wald" export source --retry-for 0s >"$work/piped" 2>"$work/export.errors" &
    export=$!
    a_moment
    kill_service
    status=0
    wait "$export" || status=$?
    serve
    if [ "$status" -eq 0 ]; then
        mv "$work/piped" "$work/export.piped.$round"
    else
        fails 65 'is \(no export\|cut: it has no end\|cut\)' import never "$work/piped"
    fi
done

# The export itself is killed: there is no file of that name, and the next one is not in its way.
for round in $(seq 6); do
    "$wald" export source "$work/export.killed.$round" 2>/dev/null &
    export=$!
    a_moment
    kill -KILL "$export" 2>/dev/null || true
    wait "$export" 2>/dev/null || true
    [ -e "$work/export.killed.$round" ] || wald export source "$work/export.killed.$round"
done

rm "$work/going"
wait "$append" || die "an append during kills: $(cat "$work/append.errors")"
wald export source "$work/whole"
true_export "$work/first"
for file in "$work"/export.[0-9]* "$work"/export.hasty.* "$work"/export.piped.* "$work"/export.killed.*; do
    [ ! -e "$file" ] || [ "${file##*.}" = partial ] || true_export "$file"
done
expect 404 "$url/logs/never"
[ "$(grep -c '"data":"line ' "$work/whole")" -gt 0 ] || die 'nobody appended'
stop
passed
