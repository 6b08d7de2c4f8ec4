#!/bin/sh
# Holds the table of settings in README.md against the program, which prints it.
#
#   settings.sh WALD [README]
set -eu

wald=$1
readme=${2:-"$(dirname "$0")/../../README.md"}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$wald" help table >"$work/program"
sed -n '/^<!-- wald help table -->$/,/^<!-- end -->$/p' "$readme" | sed '1d;$d' >"$work/readme"
if ! diff -u "$work/readme" "$work/program"; then
    echo "README.md: what stands between the two marks is not what 'wald help table' prints"
    exit 1
fi
echo "$(($(wc -l <"$work/program") - 2)) settings"
