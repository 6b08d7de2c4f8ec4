#!/bin/bash
# shellcheck disable=SC2119 # start, serve and stop take arguments of their own
# The commands as a person sees them: in a real terminal.
# shellcheck source=tests/cli/lib.sh
. "${0%/*}/lib.sh" "$@"
serve
terminal

typed "echo hello | '$wald' append log"
[ "$status" = 0 ] || die "append: $screen"
shows '^0$'

# A bar that ends full, and nothing of it left where something else is said.
seq 200000 >"$work/lines"
typed "'$wald' append log --lines '$work/lines'"
[ "$status" = 0 ] || die "append --lines: $screen"
shows '^1\.\.200000$'
shows '^\[####*\] 100 % appended 200000 records, 1.0 MiB ('
[ "$(grep -c 'appended' <<<"$screen")" -eq 1 ] || die "more than one bar: $screen"
typed "seq 9 | '$wald' append log --lines"
shows '^appended 9 records, 9 B ('
typed "seq 9 | '$wald' append log --lines --quiet"
! grep -q 'appended' <<<"$screen" || die "not quiet: $screen"
typed "'$wald' append log --lines '$work/lines' --url http://127.0.0.1:1 --retry-for 300ms"
[ "$status" = 69 ] || die "no service: $screen"
shows '^wald: http://127.0.0.1:1: Failed to connect'
shows 'trying again\.$'
shows '^wald: The service at http://127.0.0.1:1 cannot be reached'

typed "'$wald' tail log -n 2"
shows '^8$'
shows '^9$'
typed "'$wald' read log --last 1 --json"
shows '"data":"9"}$'
typed "'$wald' ls; '$wald' ls -l"
shows '^log$'
shows '^log  *0  *200019  *200019  *[0-9]*$'
typed "'$wald' stats log | head -n 3"
shows '^log  *log$'
typed "'$wald' export log '$work/export'"
shows '^\[####*\] 100 % exported 200019 records'
typed "'$wald' import copy '$work/export'"
shows '^\[####*\] 100 % imported 200019 records'
typed "'$wald' trim copy --keep 1"
shows '^200018$'
typed "'$wald' read copy --offset 1"
[ "$status" = 1 ] || die "trimmed: $screen"
shows '^wald: Reading copy was refused: '
typed "'$wald' append --help"
shows '^usage: wald append LOG \[FILE\]'
typed "'$wald' help"
shows '^       wald import LOG \[FILE\]'
typed "'$wald' sing"
[ "$status" = 2 ] || die "no command: $screen"

# Lines as they are typed, Ctrl-D; and following until Ctrl-C.
tmux -S "$tmux_socket" send-keys -l "clear; '$wald' append typed -l"
tmux -S "$tmux_socket" send-keys Enter
sleep 0.2
tmux -S "$tmux_socket" send-keys -l 'typed by hand'
tmux -S "$tmux_socket" send-keys Enter
for _ in $(seq 200); do
    [ "$("$wald" read typed 2>/dev/null)" != 'typed by hand' ] || break
    sleep 0.05
done
[ "$(wald read typed)" = 'typed by hand' ] || die 'a line that is typed is not appended'
tmux -S "$tmux_socket" send-keys C-d
screen_reaches '^0$'
tmux -S "$tmux_socket" send-keys -l "clear; '$wald' tail typed -f"
tmux -S "$tmux_socket" send-keys Enter
screen_reaches '^typed by hand$'
echo 'from elsewhere' | wald append typed >/dev/null
screen_reaches '^from elsewhere$'
kill_service
screen_reaches 'trying again'
serve
echo 'after a kill' | wald append typed >/dev/null
screen_reaches '^after a kill$'
tmux -S "$tmux_socket" send-keys C-c
typed 'true'
stop
passed
