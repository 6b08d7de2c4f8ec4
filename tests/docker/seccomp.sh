#!/bin/bash
# docker/seccomp.json has every system call that the service makes: strace counts them while tests of
# tests/http drive it, with each way to write. And a list with one of them taken out is found wrong.
#
#   seccomp.sh WALD FOLDER HELPER
set -euo pipefail
wald=$(realpath "$1")
mkdir -p "$2"
folder=$(cd "$2" && pwd)
helper=$(realpath "$3")
root=$(cd "${0%/*}/../.." && pwd)
profile=$root/docker/seccomp.json

die()
{
    echo "FAILED: $*"
    exit 1
}

for program in strace jq; do
    command -v "$program" >/dev/null || die "there is no $program"
done
work=$(mktemp -d "$folder/seccomp.XXXXXX")
trap 'rm -rf "$work"' EXIT
if ! strace -o "$work/try" true 2>/dev/null; then
    echo 'skipped: strace is not allowed to look at a process here'
    exit 77
fi

# The tests stop the service by its number, so it is strace that is the child.
mkdir "$work/calls"
cat >"$work/wald" <<END
#!/bin/sh
exec strace -D -f -c -U name -qq -o "$work/calls/\$\$" "$wald" "\$@"
END
chmod +x "$work/wald"

for subject in append record conditions acks creations follow stream_append stream_live health_disk \
    full drain crash errors healthcheck; do
    for backend in uring posix; do
        status=0
        "$root/tests/http/$subject.sh" "$work/wald" "$backend" "$work" "$helper" \
            >"$work/output" 2>&1 || status=$?
        [ "$status" -eq 0 ] || [ "$status" -eq 77 ] ||
            die "$subject-$backend under strace: $(tail -n 20 "$work/output")"
    done
done

# One name a line, under a rule and above another; what is not a name is a total.
cat "$work"/calls/* | grep -E '^[[:space:]]*[a-z][a-z0-9_]*[[:space:]]*$' | tr -d '[:blank:]' |
    grep -vE '^(syscall|total)$' | sort -u >"$work/made"
[ "$(wc -l <"$work/made")" -ge 50 ] || die "strace saw only $(wc -l <"$work/made") calls"

# missing PROFILE: the calls that it does not name. One that it answers with ENOSYS is one which the C
# library makes up for.
missing()
{
    jq -r '.syscalls[] | select(.action == "SCMP_ACT_ALLOW" or .errnoRet == 38) | .names[]' "$1" |
        sort -u | comm -13 - "$work/made"
}

outside=$(missing "$profile")
[ -z "$outside" ] || die "made, and not in docker/seccomp.json: $outside"
jq '(.syscalls[].names) |= map(select(. != "epoll_wait"))' "$profile" >"$work/planted.json"
[ "$(missing "$work/planted.json")" = epoll_wait ] || die 'a call that was taken out was not missed'
echo "$(wc -l <"$work/made") system calls are made, and" \
    "$(jq '[.syscalls[].names[]] | unique | length' "$profile") are in the list"
echo passed
