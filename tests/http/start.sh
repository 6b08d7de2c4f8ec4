#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# The command line, and everything that keeps the program from starting: each in one clear sentence
# and with a status that is not 0.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

"$wald" --version | grep -qx 'wald [0-9]*\.[0-9]*\.[0-9]*' || die '--version'
"$wald" --help >"$work/help"
grep -q '^usage: wald serve' "$work/help" || die '--help'
"$wald" help | cmp -s - "$work/help" || die 'help'
"$wald" serve --help >"$work/help"
grep -q '^  --data DIR' "$work/help" || die 'serve --help'
"$wald" help serve | cmp -s - "$work/help" || die 'help serve'

# wrong TEXT ARGUMENT...: exit status 2, and a sentence with this text.
wrong()
{
    local text=$1 status=0
    shift
    "$wald" "$@" >"$work/out" 2>&1 || status=$?
    [ "$status" -eq 2 ] || die "wald $*: exit status $status"
    grep -q -- "$text" "$work/out" || die "wald $*: $(cat "$work/out")"
}
wrong 'say what to do'
wrong 'usage: wald serve'
wrong '"sing" is not a command' sing
wrong 'usage: wald serve' sing
wrong '"--loud" is not understood' --loud
wrong '"sing" is not understood' help sing
wrong '"twice" is not understood' serve twice --data "$data"
wrong 'wants --data' serve
wrong '\-\-io is one of auto|uring|posix, not "fast"' serve --data "$data" --io fast
wrong 'from 1 to 16MiB, such as .*, not "0"' serve --data "$data" --max-record-bytes 0
wrong 'from 1 to 16MiB, such as .*, not "1k"' serve --data "$data" --max-record-bytes 1k
wrong '\-\-log-format is one of' serve --data "$data" --log-format xml
wrong 'Try: wald serve --help' serve --loud
wrong 'No such file' serve --data "$data" --config "$work/none"
status=0
WALD_IO=fast "$wald" serve --data "$data" >"$work/out" 2>&1 || status=$?
[ "$status" -eq 2 ] || die "WALD_IO=fast: exit status $status"
grep -q 'WALD_IO is one of' "$work/out" || die "WALD_IO=fast: $(cat "$work/out")"
[ ! -e "$data" ] || die 'a wrong command line made the data directory'

# fails TEXT ARGUMENT...: exit status 1, and one line of a log with this text in its reason.
fails()
{
    local text=$1 status=0
    shift
    timeout 60 "$wald" serve "$@" >"$work/out" 2>&1 || status=$?
    [ "$status" -eq 1 ] || die "wald serve $*: exit status $status: $(cat "$work/out")"
    grep -q "event=start_failed reason=\".*$text" "$work/out" ||
        die "wald serve $*: $(cat "$work/out")"
}
start
fails 'another process has this data directory open' --data "$data" --listen 127.0.0.1:0
fails 'Address already in use: stop what listens there, or choose another port' --data "$work/other" --listen "127.0.0.1:$port"
fails 'not of the form ADDRESS:PORT' --data "$work/other" --listen nowhere
fails 'port is not a number from 0 to 65535' --data "$work/other" --listen 127.0.0.1:65536
fails 'port is not a number from 0 to 65535' --data "$work/other" --listen 127.0.0.1:http
fails 'no network interface here has this address' --data "$work/other" --listen 192.0.2.1:0
expect 200 -d hello "$url/logs/orders"
stop
fails 'connections-max is 1000000' --data "$work/other" --listen 127.0.0.1:0 \
    --connections-max 1000000
fails 'Not a directory\|File exists' --data "$0" --listen 127.0.0.1:0
fails 'No such file' --data "$work/missing/data" --listen 127.0.0.1:0
mkdir "$work/newer"
echo 'wald data directory, layout 9' >"$work/newer/format"
fails 'newer version' --data "$work/newer" --listen 127.0.0.1:0

# Memory is no place for what has to survive, unless somebody says so.
if [ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] && [ -w /dev/shm ]; then
    data=$(mktemp -d /dev/shm/wald.XXXXXX)
    trap 'rm -rf "$data"; cleanup' EXIT
    fails 'this directory is in memory' --data "$data" --listen 127.0.0.1:0
    fails 'this directory is in memory' --data "$data/new" --listen 127.0.0.1:0
    if [ "$backend" = posix ]; then
        start --allow-volatile
        grep -q 'event=volatile' "$work/log" || die 'no warning'
        expect 200 -d hello "$url/logs/orders"
        expect_member durability volatile
        stop
    fi
fi
# A directory that belongs to somebody else, a disk that is mounted read-only, and a full one: what is
# wrong, who we are, and what helps.
if [ "$(id -u)" -eq 0 ] && truncate -s 8M "$work/image" &&
    mkfs.ext4 -q -m 0 "$work/image" 2>/dev/null && mkdir "$work/disk" &&
    mount -o loop "$work/image" "$work/disk" 2>/dev/null; then
    trap 'umount -l "$work/disk"; cleanup' EXIT
    data=$work/disk/data
    mkdir "$data"
    start
    expect 200 -d hello "$url/logs/orders"
    stop
    # Written directly, it leaves nothing that is only reserved.
    for size in 64k 4k 1k; do
        dd if=/dev/zero of="$work/disk/filler" bs="$size" oflag=direct,append conv=notrunc \
            status=none 2>/dev/null || true
    done
    fails 'No space left on device; [0-9]* bytes and [0-9]* files are free there .* make room' \
        --data "$data" --listen 127.0.0.1:0
    rm "$work/disk/filler"
    mount -o remount,ro "$work/disk"
    fails 'Read-only file system; .* mount it for writing' --data "$data" --listen 127.0.0.1:0
    umount "$work/disk"
    rmdir "$work/disk"
    rm "$work/image"
    trap cleanup EXIT
fi
if [ "$(id -u)" -eq 0 ] && [ -w /dev/shm ]; then
    others=$(mktemp -d /dev/shm/wald.XXXXXX)
    trap 'rm -rf "$others"; cleanup' EXIT
    cp "$wald" "$others/wald"
    chmod 755 "$others"
    mkdir "$others/data"
    status=0
    setpriv --reuid=10001 --regid=10002 --clear-groups "$others/wald" serve --allow-volatile \
        --data "$others/data" --listen 127.0.0.1:0 >"$work/out" 2>&1 || status=$?
    [ "$status" -eq 1 ] || die "a directory of somebody else: exit status $status"
    for text in 'Permission denied; this process is uid 10001, gid 10002' \
        'belongs to uid 0, gid 0, mode 0755' 'chown -R 10001:10002' 'docker run --user' 'fsGroup'; do
        grep -q -- "event=start_failed.*$text" "$work/out" || die "no $text: $(cat "$work/out")"
    done
    rm -rf "$others"
    trap cleanup EXIT
fi
data=$work/data
# Disks that may not keep what they confirm are warned of. That takes a disk of one's own.
if [ "$(id -u)" -eq 0 ] && truncate -s 40M "$work/image" &&
    mkfs.ext4 -q "$work/image" 2>/dev/null && mkdir "$work/disk" &&
    mount -o loop,nobarrier "$work/image" "$work/disk" 2>/dev/null; then
    trap 'umount -l "$work/disk"; cleanup' EXIT
    data=$work/disk/data
    start
    grep -q 'level=warning event=no_barriers' "$work/log" || die 'no warning of missing barriers'
    stop
    mount -o remount,barrier "$work/disk"
    start
    ! grep -q 'level=warning' "$work/log" || die "a warning without reason: $(cat "$work/log")"
    stop
    umount "$work/disk"
    trap cleanup EXIT
fi
passed
