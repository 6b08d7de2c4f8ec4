#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# verify, dump and repair: their words, their statuses, a terminal and a pipe, and that they keep their
# hands off what a service has open.
# shellcheck source=tests/files/lib.sh
. "${0%/*}/lib.sh" "$@"

tmux_socket=$work/tmux
cleanup_commands()
{
    [ ! -S "$tmux_socket" ] || tmux -S "$tmux_socket" kill-server 2>/dev/null || true
    cleanup
}
trap cleanup_commands EXIT

# ---- beside a service ----

start
for record in one two three; do
    expect 200 -d "$record" "$url/logs/words"
done
expect 200 -d other "$url/logs/others"
for command in verify dump repair 'repair --yes'; do
    # shellcheck disable=SC2086 # words
    complains 75 'in use by a service\|in use by another' $command "$data"
    # shellcheck disable=SC2086
    complains 75 'in use' $command "$data/logs/words"
done
ends 0 verify --live "$data"
ends 0 dump --live "$data"
expect 200 -d four "$url/logs/words"
stop

# ---- what is as it should be ----

ends 0 verify "$data"
grep -q '^words: intact: 4 records from offset 0 to 4, ' "$work/out" || die "$(cat "$work/out")"
grep -q '^others: intact: 1 records' "$work/out" || die "$(cat "$work/out")"
ends 0 verify --log words "$data"
[ "$(wc -l <"$work/out")" -eq 1 ] || die 'more than one log'
ends 0 verify --quiet "$data"
[ ! -s "$work/out" ] || die 'not quiet'
ends 0 verify --json "$data/logs/words"
jq -e '.status == 0 and (.logs | length) == 1 and .logs[0].log == "words" and
       .logs[0].verdict == "intact" and .logs[0].next_offset == 4 and .logs[0].closed_clean' \
    "$work/out" >/dev/null || die "$(cat "$work/out")"
ends 0 repair "$data"
ends 0 repair --yes "$data"
grep -q '^words: there is nothing to repair$' "$work/out" || die "$(cat "$work/out")"

# A copy of a log alone, wherever it lies.
cp -r "$data/logs/words" "$work/copy"
ends 0 verify "$work/copy"
complains 64 'not in a data directory' repair --yes "$work/copy"

# ---- dump ----

ends 0 dump --data "$data/logs/words"
grep -q '^    record 1  time [0-9.]*  3 bytes  "two"$' "$work/out" || die "$(cat "$work/out")"
grep -q '^  frame [0-9]*  state  at 4096' "$work/out" || die "$(cat "$work/out")"
ends 0 dump --json --data --from 1 --limit 2 "$data/logs/words"
jq -es 'map(select(.kind == "record")) | map(.offset) == [1, 2] and
        map(.data_base64 | @base64d) == ["two", "three"]' "$work/out" >/dev/null ||
    die "$(cat "$work/out")"
ends 0 dump --headers "$data"
! grep -q 'record [0-9]' "$work/out" || die 'items'

# ---- damage and a torn end ----

cp -r "$data" "$work/hurt"
segment=$work/hurt/logs/words/00000000000000000000.seg
printf X | dd of="$segment" bs=1 seek=8300 conv=notrunc status=none
ends 1 verify "$work/hurt"
grep -q '^words: damage: 00000000000000000000.seg bytes [0-9]* to [0-9]*, offsets 0 to 0: ' \
    "$work/out" || die "$(cat "$work/out")"
grep -q '^others: intact' "$work/out" || die 'the other log'
ends 1 dump "$work/hurt"
grep -q '^damage in segment 0' "$work/out" || die "$(cat "$work/out")"
ends 1 repair "$work/hurt"
grep -q '^words: would do: copies' "$work/out" || die "$(cat "$work/out")"
ends 0 repair --yes --json "$work/hurt"
jq -e '.logs[] | select(.log == "words") | .plan == "set_aside_and_new_segment"' "$work/out" \
    >/dev/null || die "$(cat "$work/out")"
ends 0 verify "$work/hurt"
grep -q '^words: known: 00000000000000000000.seg' "$work/out" || die "$(cat "$work/out")"
ls "$work"/hurt/logs/words/*.damaged.* >/dev/null

cp -r "$data" "$work/torn"
segment=$work/torn/logs/words/00000000000000000000.seg
end=$("$wald" verify --json "$work/torn/logs/words" >/dev/null &&
    "$wald" dump --json --headers "$work/torn/logs/words" |
    jq -s 'map(select(.kind == "frame")) | last | .position + .bytes')
# The first sector of a frame that never came: its magic and zeros.
dd if="$segment" of="$segment" bs=1 skip=8192 seek="$end" count=40 conv=notrunc status=none
ends 2 verify "$work/torn"
grep -q '^words: torn: ' "$work/out" || die "$(cat "$work/out")"
ends 2 repair "$work/torn"
ends 0 repair --yes "$work/torn"
ends 0 verify "$work/torn"
ls "$work"/torn/logs/words/*.torn.* >/dev/null

# ---- what is refused ----

complains 64 'wants to know where' verify
complains 64 'not an option' verify --nonsense "$data"
complains 64 'not an option' dump -x "$data"
complains 64 'takes a number' dump --from=ten "$data"
complains 64 'needs a value' dump "$data" --from
complains 64 'takes no value' verify --json=yes "$data"
complains 64 'one argument too many' verify "$data" "$data"
complains 64 'There is no log "none"' verify --log none "$data"
complains 64 'neither a data directory' verify "$work"
complains 64 'neither a data directory' repair --yes "$work"
complains 64 'neither a data directory' dump "$work/nowhere"
if [ -e "$work/logs" ] || [ -e "$work/nowhere" ]; then
    die 'a directory was made'
fi
status=0
"$wald" verify "$data" >/dev/full 2>"$work/errors" || status=$?
[ "$status" -eq 74 ] || die "/dev/full: $status"
for command in verify dump repair doctor crashtest; do
    ends 0 "$command" --help
    grep -q "^usage: wald $command " "$work/out" || die "$command --help"
    grep -q '^exit status: 0' "$work/out" || die "$command --help tells no status"
    ends 0 help "$command"
done

# ---- a file that went by a trim, and came back ----

# Trims alone fill the segments in the middle. Those hold no records, and the next one has their state: where
# a power cut lets go of the removal of the first file and not of theirs, nothing is missing.
start --segment-bytes 16KiB
seq 20 | expect 200 -H 'Content-Type: application/x-ndjson' --data-binary @- "$url/logs/trimmed"
for before in $(seq 19); do
    expect 200 -X POST "$url/logs/trimmed/trim?before=$before"
done
first=$data/logs/trimmed/00000000000000000000.seg
cp "$first" "$work/first"
expect 200 -X POST "$url/logs/trimmed/trim?before=20"
stop
[ ! -e "$first" ] || die 'the trim has removed nothing'
[ ! -e "${first/0.seg/1.seg}" ] || die 'the second segment has records'
cp "$work/first" "$first"
ends 0 verify "$data"
grep -q 'trimmed: intact' "$work/out" || die "$(cat "$work/out")"

# ---- a terminal ----

if command -v tmux >/dev/null; then
    start
    head -c 900000 /dev/zero >"$work/large"
    for _ in $(seq 60); do
        expect 200 -H 'Content-Type: application/octet-stream' --data-binary "@$work/large" \
            "$url/logs/large"
    done
    stop
    tmux -S "$tmux_socket" new-session -d -x 120 -y 20 \
        "script -qc '$wald verify $data' '$work/typescript'; sleep 0"
    for _ in $(seq 300); do
        grep -q 'large: intact' "$work/typescript" 2>/dev/null && break
        sleep 0.1
    done
    grep -q 'large: intact' "$work/typescript" || die "a terminal: $(cat "$work/typescript")"
    ends 0 verify "$data"
    [ ! -s "$work/errors" ] || die 'a bar where there is no terminal'
fi
passed
