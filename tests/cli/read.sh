#!/bin/bash
# shellcheck disable=SC2119 # start, serve and stop take arguments of their own
# What is read is what was appended: from where it was asked for, as far as, and in the form.
# shellcheck source=tests/cli/lib.sh
. "${0%/*}/lib.sh" "$@"
serve

seq 0 24 | wald append log --lines --quiet >/dev/null
prints "$(seq -s '\n' 0 24)\\n" read log
prints "$(seq -s '\n' 15 24)\\n" tail log
prints '23\n24\n' tail log -n 2
prints '' tail log -n 0
prints '23\n24\n' read log --last 2
prints '22\n23\n24\n' read log --offset -3
prints '22\n23\n' read log --offset 22 --limit 2
prints '0\n' read log --offset earliest --limit 1
prints '' read log --offset latest
prints '' read log --offset 1000
prints '' read log --limit 0
prints '3\n4\n' tail log --offset 3 --limit 2
prints '0\0001\0' read log --limit 2 --separator nul
prints '01' read log --limit 2 -s none
prints '\0\0\0\0021\060\0\0\0\0021\061' read log --offset 10 --limit 2 -s length
wald read log --json --offset 23 >"$work/json"
[ "$(jq -c '[.offset, .data]' "$work/json")" = '[23,"23"]
[24,"24"]' ] || die "$(cat "$work/json")"
[ "$(wald tail log --json --limit 1 | jq .offset)" = 15 ] || die 'tail --json --limit'

# By time.
sleep 0.01
later=$(date -u +%Y-%m-%dT%H:%M:%S.%NZ)
sleep 0.01
echo later | wald append log >/dev/null
prints 'later\n\n' read log --at "$later"
prints '0\n' read log --at 2020-01-01T00:00:00+01:00 --limit 1

# Many pages, and records of any bytes.
head -c 3000000 /dev/urandom | base64 -w 100 >"$work/many"
wald append many --lines --quiet "$work/many" >/dev/null
wald read many >"$work/back"
same "$work/many" "$work/back" 'many pages came back changed'
wald read many --json | jq -r .data >"$work/back"
same "$work/many" "$work/back" 'many pages of JSON came back changed'
[ "$(wald read many --limit 12345 | wc -l)" -eq 12345 ] || die '--limit over pages'
[ "$(wald read many --limit 12345 --json | wc -l)" -eq 12345 ] || die '--limit --json over pages'
# shellcheck disable=SC2312 # a reader that has enough is no error of anybody
"$wald" read many 2>"$work/errors" | head -n 2 | cmp -s - <(head -n 2 "$work/many") || true
[ ! -s "$work/errors" ] || die "a pipe that is closed: $(cat "$work/errors")"

# What is read ends, also while others append: at what was durable at its beginning.
(
    while :; do "$wald" append busy <<<x >/dev/null 2>&1 || exit 0; done
) &
busy=$!
for _ in $(seq 200); do
    ! "$wald" read busy >/dev/null 2>&1 || break
    sleep 0.05
done
for _ in 1 2 3; do
    timeout 60 "$wald" read busy >/dev/null || die 'reading a busy log did not end'
done
kill "$busy"
wait "$busy" || true

fails 1 '(404 log-not-found)' read none
fails 1 '(404 log-not-found)' tail none -f
status=0
"$wald" read log >/dev/full 2>"$work/errors" || status=$?
[ "$status" -eq 74 ] || die "a full stdout: exit status $status"
status=0
"$wald" read log --json >/dev/full 2>"$work/errors" || status=$?
[ "$status" -eq 74 ] || die "a full stdout: exit status $status"

# Through connections that are lost all the time.
lossy
wald read many >"$work/back"
same "$work/many" "$work/back" 'reading over lost connections'
wald read many --json | jq -r .data >"$work/back"
same "$work/many" "$work/back" 'reading JSON over lost connections'
WALD_URL=$url

# Trimmed away.
wald trim log --before 20 >/dev/null
fails 1 'at offset 20.* (410 trimmed)' read log --offset 3
prints '20\n' read log --limit 1

# Damage: told, and stepped over on demand.
for i in 1 2 3 4; do
    echo "sound record $i" | wald append damaged >/dev/null
done
stop
segment=$(echo "$data"/logs/damaged/*)
place=$(grep -abo 'sound record 2' "$segment" | cut -d: -f1)
printf 'X' | dd of="$segment" bs=1 seek="$place" conv=notrunc status=none
serve
fails 65 '(500 record-damaged)' read damaged -s none
[ "$(cat "$work/out")" = 'sound record 1' ] || die "before the damage: $(cat "$work/out")"
for form in '' --json; do
    # shellcheck disable=SC2086
    fails 65 '(500 record-damaged)' read damaged --skip-damaged $form
    [ "$(grep -c 'sound record [134]' "$work/out")" -eq 3 ] || die "$(cat "$work/out")"
done
fails 65 '(500 record-damaged)' read damaged --offset 1 --limit 1 --skip-damaged -s none
[ "$(cat "$work/out")" = 'sound record 3' ] || die "behind the damage: $(cat "$work/out")"
fails 65 '(500 record-damaged)' export damaged
fails 65 '(500 record-damaged)' export damaged --skip-damaged
wald import mended <"$work/out"
prints 'sound record 1\nsound record 3\nsound record 4\n' read mended -s none
stop
passed
