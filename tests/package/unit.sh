#!/bin/bash
# packaging/wald.service and wald.socket: systemd takes them, finds little to blame, and the calls that the
# unit allows are all that the service makes.
#
#   unit.sh WALD FOLDER
set -euo pipefail
wald=$(realpath "$1")
root=$(cd "${0%/*}/../.." && pwd)
mkdir -p "$2"
work=$(mktemp -d "$2/unit.XXXXXX")
trap 'rm -rf "$work"' EXIT

die()
{
    echo "FAILED: $*"
    exit 1
}

if ! command -v systemd-analyze >/dev/null; then
    echo 'skipped: there is no systemd-analyze'
    exit 77
fi

# analyze FILE...: what systemd has to say of units.
analyze()
{
    systemd-analyze verify --man=no "$@" 2>&1 || echo 'exit status not 0'
}

grep -q '^ExecStart=/usr/bin/wald ' "$root/packaging/wald.service" || die 'another program is started'
sed "s|^ExecStart=/usr/bin/wald|ExecStart=$wald|" "$root/packaging/wald.service" >"$work/wald.service"
cp "$root/packaging/wald.socket" "$work/"
said=$(analyze "$work/wald.service" "$work/wald.socket" | grep -F "$work" || true)
[ -z "$said" ] || die "systemd-analyze verify: $said"
sed 's/^NoNewPrivileges=.*/NoNewPrivilege=maybe/' "$work/wald.service" >"$work/planted.service"
grep -q 'Unknown key' <<<"$(analyze "$work/planted.service")" || die 'a misspelt directive was not seen'

# The exposure is 1.6 of 10; what is left is mostly that it listens on the network.
systemd-analyze security --offline=yes --threshold=20 "$work/wald.service" >"$work/report" 2>&1 ||
    die "$(tail -n 1 "$work/report")"
! systemd-analyze security --offline=yes --threshold=5 "$work/wald.service" >/dev/null 2>&1 ||
    die 'any exposure is taken for small'

# calls_of NAME: the calls of a group, and of the groups in it.
calls_of()
{
    local name
    case $1 in
    @*)
        systemd-analyze syscall-filter "$1" | sed -n 's/^ *\([@a-z][a-z0-9_-]*\)$/\1/p' |
            grep -vx -- "$1" | while read -r name; do calls_of "$name"; done
        ;;
    *) echo "$1" ;;
    esac
}
sed -n 's/^SystemCallFilter=//p' "$root/packaging/wald.service" | tr ' ' '\n' |
    while read -r name; do calls_of "$name"; done | sort -u >"$work/allowed"
grep -qx io_uring_setup "$work/allowed" || die 'io_uring is not allowed'
jq -r '.syscalls[] | select((.comment // "") | test("^The service|^Threads|^How much")) | .names[]' \
    "$root/docker/seccomp.json" | sort -u >"$work/made"
[ "$(wc -l <"$work/made")" -ge 100 ] || die 'the list of the service is short'
outside=$(comm -13 "$work/allowed" "$work/made" | tr '\n' ' ')
[ -z "${outside// /}" ] || die "made by the service, and not allowed by the unit: $outside"

# The settings that the package brings are ones.
sed "s|^data = .*|data = $work/data|; s|^listen = .*|listen = 127.0.0.1:0|" "$root/packaging/wald.conf" \
    >"$work/wald.conf"
"$wald" serve --config "$work/wald.conf" --print-config >"$work/printed" || die 'packaging/wald.conf'
grep -q "^data = $work/data" "$work/printed" || die "packaging/wald.conf: $(cat "$work/printed")"
echo "$(wc -l <"$work/allowed") system calls are allowed, $(wc -l <"$work/made") wanted"
echo passed
