# shellcheck shell=bash
# What the tests of the commands share, beside what tests/http has: a service, and a folder for files.
# shellcheck source=tests/http/lib.sh
. "${BASH_SOURCE[0]%/*}/../http/lib.sh" "$@"

proxy_pid=''
tmux_socket=$work/tmux

cleanup_cli()
{
    if [ -n "$proxy_pid" ]; then
        kill -KILL "$proxy_pid" 2>/dev/null || true
        wait "$proxy_pid" 2>/dev/null || true
    fi
    [ ! -S "$tmux_socket" ] || tmux -S "$tmux_socket" kill-server 2>/dev/null || true
    cleanup
}
trap cleanup_cli EXIT

# Exchanges are of the commands with the service here, and nobody's to hold against openapi.yaml.
passed()
{
    failed=no
    echo 'passed'
}

# serve [ARGUMENT...]: starts the service, where the commands look for it; again at the same address.
# It does not get descriptor 8, at which tests hold pipes that are to end.
serve()
{
    if [ -n "${port-}" ]; then
        start --listen "127.0.0.1:$port" "$@" 8>&-
    else
        start "$@"
    fi
    export WALD_URL=$url
}

# kill_service: at once, in the middle of whatever it does.
kill_service()
{
    kill -KILL "$server_pid"
    ended
}

# wald ARGUMENT...: a command that has to succeed. What it says on stderr is in $work/errors.
wald()
{
    local status=0
    "$wald" "$@" 2>"$work/errors" || status=$?
    [ "$status" -eq 0 ] || die "wald $*: exit status $status: $(cat "$work/errors")"
}

# fails STATUS TEXT ARGUMENT...: it fails with this status, and says one sentence with this text.
fails()
{
    local wanted=$1 text=$2 status=0
    shift 2
    "$wald" "$@" >"$work/out" 2>"$work/errors" || status=$?
    [ "$status" -eq "$wanted" ] ||
        die "wald $*: wanted exit status $wanted, got $status: $(cat "$work/errors")"
    grep -q -- "^wald: .*$text" "$work/errors" ||
        die "wald $*: wanted \"$text\", got $(cat "$work/errors")"
    grep -qE '([.?)]|--help)$' "$work/errors" || die "wald $*: no sentence: $(cat "$work/errors")"
}

# prints TEXT ARGUMENT...: it succeeds, and prints exactly this text, as printf has it.
prints()
{
    local wanted=$1
    shift
    wald "$@" >"$work/out"
    # shellcheck disable=SC2059 # the escapes are the point
    printf "$wanted" >"$work/wanted"
    cmp -s "$work/out" "$work/wanted" ||
        die "wald $*: wanted $(od -c "$work/wanted"), got $(od -c "$work/out" | head -n 40)"
}

# same FILE FILE WHAT
same()
{
    cmp "$1" "$2" || die "$3"
}

# all LOG: every record with its length.
all()
{
    wald read "$1" -s length
}

# end_of LOG: where it ends, 0 without one.
end_of()
{
    local there
    there=$("$wald" ls -l "$1" 2>/dev/null | awk '{ print $3 }') || there=''
    echo "${there:-0}"
}

# end_reaches LOG OFFSET PID: or the process ends.
end_reaches()
{
    for _ in $(seq 600); do
        kill -0 "$3" 2>/dev/null || break
        [ "$(end_of "$1")" -lt "$2" ] || break
        sleep 0.01
    done
}

# export_begins FILE PID: it has had an answer, and goes on from now on if the service goes away; or it
# has ended.
export_begins()
{
    for _ in $(seq 5000); do
        kill -0 "$2" 2>/dev/null || break
        [ ! -s "$1.partial" ] || break
        sleep 0.001
    done
}

# lines_reach FILE COUNT: until there are so many lines in it.
lines_reach()
{
    for _ in $(seq 600); do
        [ "$(wc -l <"$1")" -lt "$2" ] || return 0
        sleep 0.05
    done
    die "$1 has $(wc -l <"$1") lines, wanted $2: $(cat "$work"/*.errors 2>/dev/null)"
}

# in_python ARGUMENT...: as python, in place of the (sub)shell, so that its pid is that of the program.
in_python()
{
    local program=python3
    [ ! -x /usr/bin/python3 ] || program=/usr/bin/python3
    PYTHONDONTWRITEBYTECODE=1 exec "$program" "$@"
}

# lossy: a proxy that loses connections before, in and behind answers; the commands go through it.
lossy()
{
    in_python "${BASH_SOURCE[0]%/*}/lossy.py" "$port" >"$work/lossy" &
    proxy_pid=$!
    for _ in $(seq 200); do
        [ ! -s "$work/lossy" ] || break
        sleep 0.05
    done
    WALD_URL=http://127.0.0.1:$(cat "$work/lossy")
}

# terminal: a real one, of 100 columns, with a shell in it.
terminal()
{
    command -v tmux >/dev/null || skip 'there is no tmux'
    # shellcheck disable=SC2016 # for the shell in it
    env -u TMUX TERM=screen LC_ALL=C.UTF-8 WALD_URL="$url" PS1='$ ' \
        tmux -S "$tmux_socket" -f /dev/null new-session -d -x 100 -y 50 sh
}

typed_count=0

# typed COMMAND: types it, waits for its end, and sets `screen`; its exit status is in `status`.
typed()
{
    typed_count=$((typed_count + 1))
    local mark="end-$typed_count"
    tmux -S "$tmux_socket" send-keys -l "clear; $1; echo $mark:\$?"
    tmux -S "$tmux_socket" send-keys Enter
    for _ in $(seq 600); do
        screen=$(tmux -S "$tmux_socket" capture-pane -p)
        if grep -q "^$mark:[0-9]" <<<"$screen"; then
            status=$(sed -n "s/^$mark://p" <<<"$screen")
            return 0
        fi
        sleep 0.05
    done
    die "no end of $1: $screen"
}

# shows TEXT: the screen has a line that matches.
shows()
{
    grep -q -- "$1" <<<"$screen" || die "wanted \"$1\" on the screen: $screen"
}

# screen_reaches TEXT: sooner or later it has.
screen_reaches()
{
    for _ in $(seq 600); do
        screen=$(tmux -S "$tmux_socket" capture-pane -p)
        ! grep -q -- "$1" <<<"$screen" || return 0
        sleep 0.05
    done
    die "wanted \"$1\" on the screen: $screen"
}
