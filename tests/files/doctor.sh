#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Edge case 9: doctor names the cause of what is wrong with a machine, and what to do about it.
# shellcheck source=tests/files/lib.sh
. "${0%/*}/lib.sh" "$@"

here=${0%/*}
control_group=''
mounted=''

cleanup_doctor()
{
    [ -z "$mounted" ] || umount "$mounted" || true
    [ -z "$control_group" ] || rmdir "$control_group" || true
    cleanup
}
trap cleanup_doctor EXIT

# doctor COMMAND...: runs it; sets `found` to its status and keeps what it says, which has to be JSON.
doctor()
{
    found=0
    "$@" doctor --json "$directory" >"$work/report" 2>"$work/errors" || found=$?
    case $found in
    0 | 1) jq -e . "$work/report" >"$work/json" || die "no JSON: $(cat "$work/report")" ;;
    esac
    ls -A "$directory" >"$work/left" 2>&1 || true
    ! grep -q '^\.' "$work/left" || die "left behind: $(cat "$work/left")"
}

# names CHECK TEXT: the last report has a problem with this check, and the remedy has this text.
names()
{
    [ "$found" -eq 1 ] || die "wanted exit status 1, got $found: $(cat "$work/report" "$work/errors")"
    remedy=$(jq -r --arg name "$1" '.checks[] | select(.name == $name and (.ok | not)) | .remedy' \
        "$work/json")
    grep -q -e "$2" <<<"$remedy" || die "$1: wanted $2: $(cat "$work/report")"
}

# is_fine CHECK
is_fine()
{
    [ "$(jq -r --arg name "$1" '.checks[] | select(.name == $name) | .ok' "$work/json")" = true ] ||
        die "$1 is not fine: $(cat "$work/report")"
}

directory=$work/directory
mkdir "$directory"
doctor "$wald"
is_fine directory
is_fine O_DIRECT
jq -e '.checks[] | select(.name == "prediction")' "$work/json" >/dev/null || die 'no prediction'
"$wald" doctor "$directory" >"$work/plain" || [ $? -eq 1 ]
grep -q '^ok *directory' "$work/plain" || die "$(cat "$work/plain")"
has_uring=$(jq -r '.checks[] | select(.name == "io_uring") | .ok' "$work/json")

# ---- io_uring ----

if [ "$has_uring" = true ]; then
    doctor python "$here/without.py" 1 "$wald"
    names io_uring 'EPERM, from a seccomp filter'
    doctor python "$here/without.py" 38 "$wald"
    names io_uring 'ENOSYS, from a seccomp filter'
    is_fine directory
fi
if [ "$has_uring" = true ] && [ "$(id -u)" -eq 0 ]; then
    # A user of its own, whose locked memory nobody else counts against.
    chown 54321 "$directory"
    chmod 755 "$work"
    cp "$wald" "$work/wald"
    chmod 755 "$work/wald"
    if setpriv --reuid 54321 --clear-groups "$work/wald" --version >/dev/null 2>&1; then
        doctor prlimit --memlock=0 setpriv --reuid 54321 --clear-groups "$work/wald"
        # Kernels from 5.12 to 6.13 do not count rings.
        [ "$found" -eq 0 ] || names io_uring 'ENOMEM: the limit of locked memory is 0 KiB'
    fi
    chown 0 "$directory"
fi

# ---- limits ----

doctor prlimit --nofile=256 "$wald"
names nofile 'ulimit -n'

for group in /sys/fs/cgroup/pids /sys/fs/cgroup; do
    if [ "$(id -u)" -ne 0 ] || [ ! -e "$group/cgroup.procs" ]; then
        continue
    fi
    mkdir "$group/wald-doctor-$$" 2>/dev/null || continue
    control_group=$group/wald-doctor-$$
    if [ "$has_uring" = true ] && echo 1 >"$control_group/pids.max" 2>/dev/null; then
        # shellcheck disable=SC2016 # for the inner shell
        doctor bash -c 'echo $$ >"$1/cgroup.procs" && exec "${@:2}"' - "$control_group" "$wald"
        # Where the write needs no helper thread there is nothing to name.
        [ "$(jq -r '.checks[] | select(.name == "io_uring") | .ok' "$work/json")" = true ] ||
            names io_uring 'limit of tasks'
        jq -r '.checks[] | select(.name == "pids") | .text' "$work/json" | grep -q 'of 1$' ||
            die "pids: $(cat "$work/report")"
    fi
    break
done

# ---- the directory ----

directory=$work/none
doctor "$wald"
names directory 'mkdir -p'

directory=/dev/shm
if [ "$(stat -f -c %T "$directory" 2>/dev/null)" = tmpfs ] && [ -w "$directory" ]; then
    found=0
    "$wald" doctor --json "$directory" >"$work/report" || found=$?
    jq . "$work/report" >"$work/json"
    names 'file system' 'everything is lost'
fi

if [ "$(id -u)" -eq 0 ]; then
    directory=$work/read-only
    mkdir "$directory"
    if mount --bind "$directory" "$directory" 2>/dev/null; then
        mounted=$directory
        if mount -o remount,bind,ro "$directory"; then
            doctor "$wald"
            names directory 'read-only'
        fi
    fi
    directory=$work/foreign
    mkdir -m 700 "$directory"
    if [ -x "$work/wald" ] && setpriv --reuid 54321 --clear-groups "$work/wald" --version >/dev/null 2>&1; then
        found=0
        setpriv --reuid 54321 --clear-groups "$work/wald" doctor --json "$directory" \
            >"$work/report" || found=$?
        jq . "$work/report" >"$work/json"
        names directory 'chown 54321'
    fi
fi

# ---- usage ----

complains 64 'not an option' doctor --nonsense
complains 64 'takes no value' doctor --json=1
complains 64 'one argument too many' doctor one two
passed
