#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# What was acknowledged before a kill -9 is there after it, at its offset and unchanged; what was
# not is there whole or not at all. Of a log that retains the newest records alone, that holds for
# those: none of them goes, and none that went comes back.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

retained=40

# One client: appends over one connection until the program is gone, and keeps the receipts. curl
# writes each receipt when it has it; a request that was cut off leaves nothing, or part of a line.
client()
{
    local client=$1 life=$2 log=$3 i
    for i in $(seq 1000); do
        printf 'url = "%s/logs/%s"\ndata = "life %s client %s record %s"\n' \
            "$url" "$log" "$life" "$client" "$i"
        printf 'write-out = "life %s client %s record %s\\n"\nnext\n' "$life" "$client" "$i"
    done >"$work/client.$client"
    curl -s --max-time 60 -K "$work/client.$client" >>"$work/receipts.$log.$client" 2>/dev/null || true
}

# read_all LOG OFFSET: what is there from the offset on, as lines of "offset content", to $work/there.
read_all()
{
    local next=$2
    : >"$work/there"
    while :; do
        expect 200 "$url/logs/$1/records?offset=$next&limit=10000"
        [ -s "$work/body" ] || break
        sed 's/{"offset":\([0-9]*\),.*"data":"\(.*\)"}/\1 \2/' "$work/body" >>"$work/there"
        next=$(header Log-Next-Offset)
    done
}

# judge LOG OFFSET: everything acknowledged from the offset on is there, once and whole.
judge()
{
    # A receipt, and then the line that says of which record: pairs of "offset content".
    for receipts in "$work/receipts.$1".*; do
        awk '/^\{"log"/ && /\}$/ { split($0, part, /[:,]/); offset = part[4]; next }
             /^life/ && offset != "" { print offset, $0; offset = "" }' "$receipts"
    done | sort -n >"$work/acknowledged"
    count=$(wc -l <"$work/acknowledged")
    [ "$count" -ge 10 ] || die "only $count appends were acknowledged"
    [ "$(cut -d' ' -f1 "$work/acknowledged" | sort -n | uniq -d | wc -l)" -eq 0 ] ||
        die 'an offset was given out twice'

    read_all "$1" "$2"
    awk -v first="$2" '$1 >= first' "$work/acknowledged" | sort >"$work/a"
    sort "$work/there" >"$work/t"
    lost=$(comm -23 "$work/a" "$work/t")
    [ -z "$lost" ] || die "acknowledged and lost: $lost"
    twice=$(cut -d' ' -f2- "$work/there" | sort | uniq -d)
    [ -z "$twice" ] || die "there twice: $twice"
    grep -qvE '^[0-9]+ life [0-9] client [0-9] record [0-9]+$' "$work/there" && die 'a torn record'
    echo "$1: $count acknowledged, $(wc -l <"$work/there") there"
}

# judge_retained: the log never begins earlier than it did, keeps what was asked for at least, and in
# the end no more.
judge_retained()
{
    local first next
    for _ in $(seq 200); do
        expect 200 "$url/logs/turning/offsets"
        first=$(member first_offset)
        next=$(member next_offset)
        [ "$first" -ge "$begun" ] || die "it began at $begun, and begins at $first"
        begun=$first
        [ "$first" -eq 0 ] || [ $((next - first)) -ge "$retained" ] ||
            die "$((next - first)) are kept: $(cat "$work/body")"
        [ $((next - first)) -gt "$retained" ] || break
        sleep 0.05
    done
    [ $((next - first)) -le "$retained" ] || die "too many are kept: $(cat "$work/body")"
    judge turning "$first"
}

# receipts LOG LIFE: how many this life has had.
receipts()
{
    cat "$work/receipts.$1".* 2>/dev/null | grep -c "^life $2 " || true
}

begun=0
for life in 1 2 3 4; do
    start --retain-interval 10ms --segment-bytes 64KiB
    [ "$life" -gt 1 ] ||
        expect 201 -X PUT -d "{\"retention\":{\"records\":$retained}}" "$url/logs/turning"
    # Nobody asks for it meanwhile, but for retention: what a pass has decided may be cut off, too.
    [ "$life" -eq 1 ] || judge_retained
    clients=''
    for client in 1 2 3 4; do
        log=kept
        [ "$client" -le 2 ] || log=turning
        client "$client" "$life" "$log" &
        clients="$clients $!"
    done
    # In the middle of it, however slow the machine is: after some receipts of this life.
    for i in $(seq 600); do
        if [ "$(receipts kept "$life")" -ge $((life * 10)) ] &&
            [ "$(receipts turning "$life")" -ge 30 ]; then
            break
        fi
        sleep 0.1
    done
    kill -KILL "$server_pid"
    ended
    # shellcheck disable=SC2086
    wait $clients
done

start --retain-interval 10ms
judge kept 0
judge_retained
[ "$begun" -gt 0 ] || die 'nothing ever went'
stop
passed
