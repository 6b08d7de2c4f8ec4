# shellcheck shell=bash
# What these tests share: a folder of their own in the one that is their first argument,
# and an end for each process in pids[].
set -euo pipefail

# shellcheck disable=SC2034 # for those who source this
root=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
mkdir -p "$1"
work=$(mktemp -d "$1/deploy.XXXXXX")
declare -A pids=()

end()
{
    for pid in "${pids[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap end EXIT

die()
{
    echo "FAILED: $*"
    exit 1
}

# needs PROGRAM...: without them the test is skipped.
needs()
{
    local program
    for program in "$@"; do
        if ! command -v "$program" >/dev/null; then
            echo "skipped: there is no $program"
            exit 77
        fi
    done
}
