#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Whatever becomes of stderr, the service goes on; and what is said there never ends up in a log.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

# serving: waits for the port the program listens on, by what the kernel knows of it.
serving()
{
    local inodes hex=''
    for _ in $(seq 600); do
        kill -0 "$server_pid" 2>/dev/null || return 1
        inodes=$(find "/proc/$server_pid/fd" -lname 'socket:*' -printf '%l\n' 2>/dev/null |
            tr -dc '0-9\n')
        for inode in $inodes; do
            hex=$(awk -v inode="$inode" '$10 == inode && $4 == "0A" { sub(/.*:/, "", $2); print $2 }' \
                /proc/net/tcp)
            [ -z "$hex" ] || break 2
        done
        sleep 0.05
    done
    [ -n "$hex" ] || return 1
    port=$((16#$hex))
    url=http://127.0.0.1:$port
}

# serve_and_stop WHAT: it takes an append and ends in good order.
serve_and_stop()
{
    serving || die "$1: it does not serve"
    if [ -n "${2-}" ]; then
        [ "$(readlink "/proc/$server_pid/fd/2")" = "$2" ] || die "$1: something else is there"
    fi
    expect 200 -d hello "$url/logs/orders"
    kill -TERM "$server_pid"
    ended
    [ "$ended_status" -eq 0 ] || die "$1: exit status $ended_status"
}

# Without the sandbox, in which its descriptors can be seen by root alone.
arguments=(serve --data "$data" --listen 127.0.0.1:0 --io "$backend" --sandbox off)

start # on this backend at all?
stop

# Closed: the next file to be opened would get its number.
"$wald" "${arguments[@]}" 2>&- &
server_pid=$!
serve_and_stop 'stderr is closed' /dev/null
"$wald" "${arguments[@]}" <&- >&- 2>&- &
server_pid=$!
serve_and_stop 'all three are closed' /dev/null
! grep -rqa 'event=' "$data" || die 'what was said went into a file of the data'

# A pipe whose other end is gone.
mkfifo "$work/pipe"
exec 8<>"$work/pipe"
"$wald" "${arguments[@]}" 2>"$work/pipe" &
server_pid=$!
exec 8>&-
serve_and_stop 'nobody reads the pipe any more'

# A pipe that is full and stays so; once somebody reads it, he is told what he missed.
for way in full read; do
    exec 8<>"$work/pipe"
    timeout 5 dd if=/dev/zero of="/proc/self/fd/8" bs=4096 count=1000 oflag=nonblock \
        status=none 2>/dev/null || true
    "$wald" "${arguments[@]}" 2>&8 &
    server_pid=$!
    serving || die 'a full pipe: it does not serve'
    if [ $way = full ]; then
        serve_and_stop 'a full pipe'
    else
        dd if=/proc/self/fd/8 of=/dev/null bs=65536 iflag=nonblock status=none 2>/dev/null || true
        serve_and_stop 'a pipe that was full'
        dd if=/proc/self/fd/8 of="$work/said" bs=65536 iflag=nonblock status=none 2>/dev/null || true
        grep -qa 'event=log_lines_lost count=1' "$work/said" || die "said: $(cat "$work/said")"
        grep -qa 'event=stopped' "$work/said" || die "said: $(cat "$work/said")"
    fi
    exec 8>&-
done

# A disk that is full.
"$wald" "${arguments[@]}" 2>/dev/full &
server_pid=$!
serve_and_stop 'a full disk'
passed
