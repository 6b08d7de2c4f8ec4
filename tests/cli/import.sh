#!/bin/bash
# shellcheck disable=SC2119 # start, serve and stop take arguments of their own
# An import goes on where it was when the service or itself is killed, and stops where somebody else
# appends: no record of it ever goes elsewhere than where it was in the export.
# shellcheck source=tests/cli/lib.sh
. "${0%/*}/lib.sh" "$@"
serve --queue-bytes 32KiB

# Another one appends during an import, which has sent its first 16384 records by then and waits for
# more. Every record behind would be at a wrong offset, so there is none, and why is said.
seq 20000 | wald append counted --lines --quiet >/dev/null
wald export counted "$work/counted"
mkfifo "$work/pipe"
for durability in none committed; do
    expect 201 -X PUT -d '{"durability":"'"$durability"'"}' "$url/logs/shared-$durability"
    "$wald" import "shared-$durability" <"$work/pipe" 2>"$work/import.errors" &
    import=$!
    exec 9>"$work/pipe"
    head -n 18000 "$work/counted" >&9
    end_reaches "shared-$durability" 16384 "$import"
    [ "$(end_of "shared-$durability")" = 16384 ] || die "the first window: $(end_of "shared-$durability")"
    echo mine | wald append "shared-$durability" >/dev/null
    tail -n +18001 "$work/counted" >&9
    exec 9>&-
    status=0
    wait "$import" || status=$?
    [ "$status" -eq 1 ] || die "somebody else appends: exit status $status"
    grep -q 'another record at offset 16384' "$work/import.errors" || die "$(cat "$work/import.errors")"
    [ "$(end_of "shared-$durability")" = 16385 ] || die 'an import went on behind a record of another'
    prints '16384\nmine\n\n' read "shared-$durability" --last 2
done

# Services that are killed during an import, and imports that are.
{
    seq 40000
    head -c 2000000 /dev/urandom | base64
} >"$work/lines"
wald append source --lines --quiet "$work/lines" >/dev/null
printf 'two\nlines\n' >"$work/small"
for _ in $(seq 20); do
    wald append source "$work/small" >/dev/null
done
wald export source "$work/source"
"$wald" import target "$work/source" >/dev/null 2>"$work/import.errors" &
import=$!
for share in 0 20000 40000; do
    end_reaches target "$share" "$import"
    kill_service
    serve --queue-bytes 32KiB
done
wait "$import" || die "import: $(cat "$work/import.errors")"
all target | cmp - <(all source) || die 'an import during kills differs'
"$wald" import again "$work/source" >/dev/null 2>"$work/import.errors" &
import=$!
end_reaches again 1000 "$import"
kill -KILL "$import" 2>/dev/null || true
wait "$import" || true
wald import again "$work/source"
all again | cmp - <(all source) || die 'an import that was killed and run again differs'
stop
passed
