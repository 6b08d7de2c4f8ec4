# shellcheck shell=bash
# For tests that mount file systems of their own: starts the script again, with `inside` behind its
# arguments, where its mounts are nobody else's. Skips the test where that cannot be.
set -euo pipefail

skip()
{
    echo "skipped: $*"
    exit 77
}

if [ "${*: -1}" != inside ]; then
    [ "$(id -u)" -eq 0 ] || skip 'not root'
    command -v mkfs.ext4 >/dev/null || skip 'no mkfs.ext4'
    unshare --mount true 2>/dev/null || skip 'no mount namespace'
    loop=$(losetup --find 2>/dev/null) || skip 'no loop devices'
    [ -r "$loop" ] || skip "no $loop"
    # What is mounted in there goes with it, and with the mounts their loop devices.
    exec unshare --mount --propagation private "$0" "$@" inside
fi
