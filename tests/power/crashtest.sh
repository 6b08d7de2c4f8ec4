#!/bin/bash
# wald crashtest on a file system whose power goes after each kill: a log that forgets its syncs is found
# out, which by kills alone nobody is; one that does not is not.
#
#     crashtest.sh WALD WALD-THAT-MAKES-MISTAKES FOLDER
# shellcheck source=tests/power/inside.sh
. "${0%/*}/inside.sh"

wald=$1
mistaken=$2
work=$(mktemp -d "$3/crashtest.XXXXXX")
mounted=$work/mounted

finish()
{
    ! mountpoint -q "$mounted" || umount --lazy "$mounted"
    rm -rf "$work"
}
trap finish EXIT

die()
{
    echo "FAILED: $*"
    exit 1
}

mkdir "$mounted"
truncate --size 96M "$work/image"
mkfs.ext4 -q -F -m 0 "$work/image"
# A commit every few seconds would save some of what a missing sync ought to lose.
cat >"$work/mount" <<END
#!/bin/bash
mount -o loop,commit=300,noatime '$work/image' '$mounted'
END
cat >"$work/cut" <<END
#!/bin/bash
set -e
# FS_IOC_SHUTDOWN, without flushing the journal.
python3 -c 'import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack("I", 2))' '$mounted'
for _ in \$(seq 1000); do
    ! umount '$mounted' 2>/dev/null || exec '$work/mount'
    sleep 0.01 # writes in flight hold a file of a killed process open
done
echo 'the file system cannot be unmounted' >&2
exit 1
END
chmod +x "$work/mount" "$work/cut"
"$work/mount"

# tested STATUS WALD DEFECT [ARGUMENT...]: what crashtest says is in $work/report.
tested()
{
    local wanted=$1 program=$2 status=0
    WALD_PLANTED_DEFECT=$3 "$program" crashtest "$mounted" --seed 7 --life-ms 100 --json "${@:4}" \
        >"$work/report" 2>"$work/errors" || status=$?
    [ "$status" -eq "$wanted" ] ||
        die "wanted $wanted, got $status: $(cat "$work/report" "$work/errors")"
    rm -rf "$mounted"/wald-crashtest-*
}

# holds CONDITION
holds()
{
    jq -e "$1" "$work/report" >/dev/null || die "not $1: $(cat "$work/report")"
    cat "$work/report"
}

tested 0 "$wald" '' --cycles 4 --buffered --cut-power "$work/cut"
holds '.kills == 4 and .acknowledged >= 8 and .lost == 0 and .tests_power_loss'
tested 0 "$wald" '' --cycles 2 --cut-power "$work/cut"
holds '.kills == 2 and .lost == 0 and .tests_power_loss'
# Kills alone do not show it.
tested 0 "$mistaken" SKIP_DATA_SYNC --cycles 2 --buffered
holds '.lost == 0 and (.tests_power_loss | not)'
tested 1 "$mistaken" SKIP_DATA_SYNC --cycles 12 --buffered --cut-power "$work/cut"
holds '.lost > 0 and .doubled == 0'
# A command that fails has cut nothing.
tested 74 "$wald" '' --cycles 2 --cut-power false
grep -q 'nothing is known of the power' "$work/errors" || die "$(cat "$work/errors")"
echo passed
