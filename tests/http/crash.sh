#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# What was acknowledged before a kill -9 is there after it, at its offset and unchanged; what was
# not is there whole or not at all.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

# One client: appends over one connection until the program is gone, and keeps the receipts. curl
# writes each receipt when it has it; a request that was cut off leaves nothing, or part of a line.
client()
{
    local client=$1 life=$2 i
    for i in $(seq 2000); do
        printf 'url = "%s/logs/kept"\ndata = "life %s client %s record %s"\n' \
            "$url" "$life" "$client" "$i"
        printf 'write-out = "life %s client %s record %s\\n"\nnext\n' "$life" "$client" "$i"
    done >"$work/client.$client"
    curl -s --max-time 60 -K "$work/client.$client" >>"$work/receipts.$client" 2>/dev/null || true
}

for life in 1 2 3 4; do
    start
    clients=''
    for client in 1 2 3 4; do
        client "$client" "$life" &
        clients="$clients $!"
    done
    # In the middle of it, however slow the machine is: after some receipts of this life.
    for i in $(seq 600); do
        [ "$(cat "$work"/receipts.* 2>/dev/null | grep -c "^life $life ")" -lt $((life * 10)) ] || break
        sleep 0.1
    done
    kill -KILL "$server_pid"
    ended
    # shellcheck disable=SC2086
    wait $clients
done

start
# A receipt, and then the line that says of which record: pairs of "offset content".
for client in 1 2 3 4; do
    awk '/^\{"log"/ && /\}$/ { split($0, part, /[:,]/); offset = part[4]; next }
         /^life/ && offset != "" { print offset, $0; offset = "" }' "$work/receipts.$client"
done | sort -n >"$work/acknowledged"
count=$(wc -l <"$work/acknowledged")
[ "$count" -ge 20 ] || die "only $count appends were acknowledged"
[ "$(cut -d' ' -f1 "$work/acknowledged" | sort -n | uniq -d | wc -l)" -eq 0 ] ||
    die 'an offset was given out twice'

: >"$work/there"
next=0
while :; do
    expect 200 "$url/logs/kept/records?offset=$next&limit=10000"
    [ -s "$work/body" ] || break
    sed 's/{"offset":\([0-9]*\),.*"data":"\(.*\)"}/\1 \2/' "$work/body" >>"$work/there"
    next=$(header Log-Next-Offset)
done
sort "$work/acknowledged" >"$work/a"
sort "$work/there" >"$work/t"
lost=$(comm -23 "$work/a" "$work/t")
[ -z "$lost" ] || die "acknowledged and lost: $lost"
twice=$(cut -d' ' -f2- "$work/there" | sort | uniq -d)
[ -z "$twice" ] || die "there twice: $twice"
grep -qvE '^[0-9]+ life [0-9] client [0-9] record [0-9]+$' "$work/there" && die 'a torn record'
echo "$count acknowledged, $(wc -l <"$work/there") there"
stop
passed
