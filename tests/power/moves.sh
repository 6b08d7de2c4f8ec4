#!/bin/bash
# shellcheck disable=SC2119 # serve and stop take arguments of their own
# The power goes during wald import and wald export: the service is killed, and its file system loses what
# had not been synced. An import goes on and has each record once, in order; an export goes on, too. On the
# machine that loses its power itself, an export is whole under its name or not there, and is there if it
# had said so.
#
#     moves.sh WALD BACKEND FOLDER HELPER
# shellcheck source=tests/power/inside.sh
. "${0%/*}/inside.sh"

# shellcheck source=tests/cli/lib.sh
. "${0%/*}/../cli/lib.sh" "${@:1:4}"
mounted=$work/mounted
# shellcheck disable=SC2034 # lib.sh uses it
data=$mounted/data
trap '! mountpoint -q "$mounted" || umount --lazy "$mounted"; cleanup_cli' EXIT

mount_disk()
{
    # A commit every few seconds would save some of what a missing sync ought to lose.
    mount -o loop,commit=300,noatime "$work/image" "$mounted"
}

# cut: the service is killed, and then what it had not synced is lost.
cut()
{
    kill_service
    # FS_IOC_SHUTDOWN, without flushing the journal.
    python -c 'import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack("I", 2))' "$mounted"
    for _ in $(seq 1000); do
        if umount "$mounted" 2>/dev/null; then
            mount_disk
            return 0
        fi
        sleep 0.01 # writes in flight hold a file of a killed process open
    done
    die 'the file system cannot be unmounted'
}

mkdir "$mounted"
truncate --size 160M "$work/image"
mkfs.ext4 -q -F -m 0 "$work/image"
mount_disk
small=(--queue-bytes 32KiB --segment-bytes 1MiB)
serve "${small[@]}"
{
    seq 20000
    head -c 2000000 /dev/urandom | base64
} >"$work/lines"
wald append source --lines --quiet "$work/lines" >/dev/null
wald export source "$work/source"
all source >"$work/wanted"

# With and without waiting for each commit: without, a cut loses what the import had sent.
for durability in none committed; do
    expect 201 -X PUT -d '{"durability":"'"$durability"'"}' "$url/logs/target-$durability"
    "$wald" import "target-$durability" "$work/source" >/dev/null 2>"$work/import.errors" &
    import=$!
    for share in 0 1 17000 30000; do
        end_reaches "target-$durability" "$share" "$import"
        cut
        serve "${small[@]}"
    done
    wait "$import" || die "import: $(cat "$work/import.errors")"
    all "target-$durability" | cmp - "$work/wanted" || die "an import during power cuts differs ($durability)"
done

# The one who exports keeps his power …
for round in 1 2 3; do
    "$wald" export source "$work/export" >/dev/null 2>"$work/export.errors" &
    export=$!
    export_begins "$work/export" "$export"
    cut
    serve "${small[@]}"
    wait "$export" || die "export: $(cat "$work/export.errors")"
    same "$work/export" "$work/source" 'an export during a power cut differs'
    rm "$work/export"
done

# … or loses it, too.
for round in $(seq 6); do
    "$wald" export source "$mounted/export" >/dev/null 2>&1 &
    export=$!
    status=0
    if [ "$round" -gt 3 ]; then
        wait "$export" || die 'an export failed'
    else
        sleep "0.0$round"
        kill -KILL "$export" 2>/dev/null || true
        wait "$export" 2>/dev/null || status=$?
    fi
    cut
    [ "$status" -ne 0 ] || [ -e "$mounted/export" ] || die 'an export that was there is gone'
    [ ! -e "$mounted/export" ] || same "$mounted/export" "$work/source" 'an export is not whole'
    rm -f "$mounted/export"
    serve "${small[@]}"
done
all source | cmp - "$work/wanted" || die 'the source has changed'
stop
umount "$mounted"
passed
