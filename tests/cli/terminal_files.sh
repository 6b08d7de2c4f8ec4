#!/bin/bash
# shellcheck disable=SC2119 # start, serve and stop take arguments of their own
# The commands on files and machines, and the service itself, as a person sees them: in a real terminal;
# and what they say there that is not for a pipe.
# shellcheck source=tests/cli/lib.sh
. "${0%/*}/lib.sh" "$@"

# in_pipe COMMAND: what it says on stderr into a pipe has neither a bar nor the codes of a terminal.
in_pipe()
{
    eval "$1" 2>&1 >"$work/out" | cat >"$work/errors" || true
    [ ! -s "$work/errors" ] || die "$1: said in a pipe: $(cat "$work/errors")"
    ! LC_ALL=C grep -q "$(printf '\033')" "$work/out" || die "$1: codes in a pipe"
    [ -s "$work/out" ] || die "$1: nothing said"
}

serve
for record in one two three; do
    echo "$record" | wald append words >/dev/null
done
seq 3000 | wald append many --lines >/dev/null
stop
terminal

# ---- verify and dump ----

typed "'$wald' verify '$data'"
[ "$status" = 0 ] || die "verify: $screen"
shows '^words: intact: 3 records from offset 0 to 3, '
shows '^many: intact: 3000 records'
in_pipe "'$wald' verify '$data'"
grep -q '^words: intact' "$work/out" || die "$(cat "$work/out")"
typed "'$wald' dump --data '$data/logs/words'"
[ "$status" = 0 ] || die "dump: $screen"
shows '  4 bytes  "two\."$'
in_pipe "'$wald' dump '$data'"
# Who reads the beginning alone ends it.
[ "$("$wald" dump "$data" | head -n 1 | wc -l)" -eq 1 ] || die 'the beginning of a dump'

# ---- damage and repair ----

cp -r "$data" "$work/hurt"
printf X | dd of="$work/hurt/logs/words/00000000000000000000.seg" bs=1 seek=8300 conv=notrunc status=none
typed "'$wald' verify '$work/hurt'"
[ "$status" = 1 ] || die "verify of damage: $screen"
shows '^words: damage: 00000000000000000000.seg bytes '
typed "'$wald' repair '$work/hurt'"
[ "$status" = 1 ] || die "repair: $screen"
shows '^words: would do: copies'
cp -r "$work/hurt" "$work/again"
typed "'$wald' repair --yes '$work/hurt'"
[ "$status" = 0 ] || die "repair --yes: $screen"
typed "'$wald' verify '$work/hurt'"
[ "$status" = 0 ] || die "verify of what was repaired: $screen"
shows '^words: known: '
in_pipe "'$wald' repair --yes '$work/again'"

# ---- doctor and crashtest ----

mkdir "$work/disk"
typed "'$wald' doctor '$work/disk'"
[ "$status" = 0 ] || [ "$status" = 1 ] || die "doctor: $screen"
shows '^ok *directory'
shows '^ok *prediction'
in_pipe "'$wald' doctor '$work/disk'"
# Nothing is left of the bar where the report stands.
typed "'$wald' crashtest '$work/disk' --cycles 2 --life-ms 20"
[ "$status" = 0 ] || die "crashtest: $screen"
shows '^killed  *2 times'
shows '^lost  *0$'
! grep -q '####' <<<"$screen" || die "a bar is left: $screen"
in_pipe "'$wald' crashtest '$work/disk' --cycles 1 --life-ms 20"
# Ctrl-C ends it, and its writer, which is killed in any case.
tmux -S "$tmux_socket" send-keys -l "clear; '$wald' crashtest '$work/disk' --cycles 100000"
tmux -S "$tmux_socket" send-keys Enter
screen_reaches 'crashtest'
for _ in $(seq 200); do
    ! find "$work/disk" -name '*.seg' | grep -q . || break
    sleep 0.05
done
tmux -S "$tmux_socket" send-keys C-c
typed 'true'
for _ in $(seq 200); do
    pgrep -f "crashtest $work/disk" >/dev/null || break
    sleep 0.05
done
! pgrep -f "crashtest $work/disk" >/dev/null || die 'a writer goes on without its parent'

# ---- the service ----

tmux -S "$tmux_socket" send-keys -l \
    "clear; '$wald' serve --data '$data' --listen 127.0.0.1:$port --io posix; echo ended:\$?"
tmux -S "$tmux_socket" send-keys Enter
screen_reaches 'event=ready'
[ "$(wald read words --last 1)" = three ] || die 'a service in a terminal does not serve'
status=0
"$wald" healthcheck --listen "127.0.0.1:$port" --data "$data" >"$work/out" 2>&1 || status=$?
[ "$status" -eq 0 ] || die "healthcheck: $(cat "$work/out")"
tmux -S "$tmux_socket" send-keys C-c
screen_reaches 'event=stopped'
screen_reaches '^ended:0$'
typed "'$wald' healthcheck --listen 127.0.0.1:$port --data '$data'"
[ "$status" != 0 ] || die "healthcheck of nobody: $screen"
typed "'$wald' --version"
shows '^wald [0-9]'
typed "'$wald' verify --help"
shows '^usage: wald verify '
typed "'$wald' help"
shows '^       wald crashtest DIR'
passed
