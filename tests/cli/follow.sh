#!/bin/bash
# shellcheck disable=SC2119 # start, serve and stop take arguments of their own
# Services are killed, and whoever appends and follows notices nothing but time: every line is there
# exactly once, in order.
# shellcheck source=tests/cli/lib.sh
. "${0%/*}/lib.sh" "$@"
serve

mkfifo "$work/pipe"
"$wald" append log --lines <"$work/pipe" >"$work/receipt" 2>"$work/append.errors" &
append=$!
exec 8>"$work/pipe"
line=0
# feed COUNT: so many lines more.
feed()
{
    seq -f 'line %.0f' $((line + 1)) $((line + $1)) >&8
    line=$((line + $1))
}
feed 1
for _ in $(seq 200); do
    ! "$wald" read log >/dev/null 2>&1 || break
    sleep 0.05
done
"$wald" tail log -f --offset earliest >"$work/followed" 2>"$work/tail.errors" 8>&- &
tail=$!
"$wald" tail log -f --json -n 1000000 >"$work/followed.json" 2>"$work/json.errors" 8>&- &
json=$!
lines_reach "$work/followed" 1
lines_reach "$work/followed.json" 1

for life in $(seq 8); do
    feed 3000
    # At another moment of what it does in each life: by what is followed, not by the clock.
    [ $((life % 2)) -eq 0 ] || lines_reach "$work/followed" $((line - 2999))
    feed 3000
    kill_service
    feed 10
    serve
done
lines_reach "$work/followed" "$line"
lines_reach "$work/followed.json" "$line"
exec 8>&-
wait "$append" || die "append: $(cat "$work/append.errors")"
kill "$tail" "$json"
wait "$tail" "$json" || true

seq -f 'line %.0f' 1 "$line" >"$work/wanted"
wald read log >"$work/there"
same "$work/wanted" "$work/there" 'not every line exactly once in the log'
same "$work/wanted" "$work/followed" 'not every line exactly once in what was followed'
jq -r .data "$work/followed.json" >"$work/there"
same "$work/wanted" "$work/there" 'not every line exactly once in what was followed as JSON'
[ "$(cat "$work/receipt")" = "0..$((line - 1))" ] || die "receipt: $(cat "$work/receipt")"
grep -q 'trying again' "$work/append.errors" "$work/tail.errors" || die 'no service was ever missed'

# A log that is deleted while it is followed, and one that is another now.
"$wald" tail log -f -n 1 >"$work/followed" 2>"$work/tail.errors" &
tail=$!
lines_reach "$work/followed" 1
expect 204 -X DELETE "$url/logs/log"
status=0
wait "$tail" || status=$?
[ "$status" -eq 1 ] || die "following a log that is deleted: exit status $status"
seq 3 | wald append log --lines --quiet >/dev/null
"$wald" tail log -f -n 1 >"$work/followed" 2>"$work/tail.errors" &
tail=$!
lines_reach "$work/followed" 1
kill_service
rm -r "$data"
followed_port=$port
port='' # it must not see a service without the log
serve
echo new | wald append log >/dev/null
stop
port=$followed_port
serve
status=0
wait "$tail" || status=$?
[ "$status" -eq 1 ] || die "following another log: exit status $status: $(cat "$work/tail.errors")"
grep -q 'not the same log any more' "$work/tail.errors" || die "$(cat "$work/tail.errors")"

# With a limit it ends.
"$wald" tail log -f -n 0 --limit 2 --offset latest >/dev/null 2>&1 && die 'two places to begin'
"$wald" tail log -f --offset latest --limit 2 >"$work/followed" 2>"$work/tail.errors" &
tail=$!
for i in $(seq 100); do
    kill -0 "$tail" 2>/dev/null || break
    echo "$i" | wald append log >/dev/null
    sleep 0.05
done
wait "$tail" || die "a limit: $(cat "$work/tail.errors")"
[ "$(grep -c . "$work/followed")" -eq 2 ] || die "a limit: $(cat "$work/followed")"
stop
passed
