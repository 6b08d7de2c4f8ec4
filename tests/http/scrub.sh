#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# Damage is found before a reader meets it: in a log that is in use and in one that nobody uses,
# told once for each place, and gone from the count when it is repaired or deleted.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

# hurt LOG TEXT: changes a byte of the record with this text, behind the back of the service.
hurt()
{
    local segment place
    segment=$(grep -l "$2" "$data/logs/$1"/*.seg | head -n 1)
    place=$(grep -abo "$2" "$segment" | head -n 1 | cut -d: -f1)
    printf 'X' | dd of="$segment" bs=1 seek="$place" conv=notrunc status=none
}

# stat_of FILTER: of /stats.
stat_of()
{
    expect 200 "$url/stats"
    jq -r "$1" "$work/body"
}

# until_scrub CONDITION: until that is so of .scrub.
until_scrub()
{
    for _ in $(seq 300); do
        [ "$(stat_of ".scrub | $1")" != true ] || return 0
        sleep 0.1
    done
    die "not $1: $(cat "$work/body")"
}

begin()
{
    start --segment-bytes 16KiB --scrub-rate 64MiB --scrub-interval 100ms
}

begin
for log in used unused; do
    for record in 1 2 3 4 5 6; do
        expect 200 -d "record number $record of $log" "$url/logs/$log"
    done
done
expect 200 "$url/logs/used/stats"
[ "$(jq -r '.segments' "$work/body")" -ge 3 ] || die "too few segments: $(cat "$work/body")"
[ "$(jq -c '[.damaged_places, .damage]' "$work/body")" = '[0,[]]' ] || die "$(cat "$work/body")"

# In use: found, told, counted. Who does not read just that record notices nothing.
hurt used 'record number 1 of used'
until_scrub '.places == 1'
wait_for 'event=damage_found log=used segment=0 .* offset=0 offset_end=1 what="' ||
    die 'the operator was not told'
expect 200 "$url/logs/used/stats"
[ "$(jq -r '.damaged_places, .state, .damage[0].segment, .damage[0].offset' "$work/body" | xargs)" = \
    '1 ok 0 0' ] || die "$(cat "$work/body")"
expect 200 "$url/readyz?verbose"
expect_check logs '; 1 damaged places found'
expect 200 "$url/metrics"
grep -qx 'wald_damaged_places 1' "$work/body" || die 'no wald_damaged_places'
expect 200 -d 'it goes on' "$url/logs/used"
expect 200 "$url/logs/used/records/1"
refused 500 record-damaged "$url/logs/used/records/0"
expect_member gap_end 1
passes=$(stat_of .scrub.passes)
until_scrub ".passes >= $((passes + 2))"
[ "$(stat_of .scrub.found)" -eq 1 ] || die "found again: $(cat "$work/body")"
[ "$(grep -c event=damage_found "$work/log")" -eq 1 ] || die 'told again'
stop

# Whoever opens them: found all the same, the one as before, the other for the first time.
hurt unused 'record number 2 of unused'
begin
until_scrub '.places == 2'
wait_for 'event=damage_found log=unused ' || die 'the operator was not told'
passes=$(stat_of .scrub.passes)
until_scrub ".passes >= $((passes + 2))"
[ "$(grep -c event=damage_found "$work/log")" -eq 2 ] || die 'told again'
expect 204 -X DELETE "$url/logs/used"
until_scrub '.places == 1'
stop

# Repaired: set aside, and news no more. Readers are told of it as long as it is there.
"$wald" repair --yes "$data" >/dev/null || die "repair: $?"
begin
until_scrub '.passes >= 1'
[ "$(stat_of .scrub.found)" -eq 0 ] || die "found after a repair: $(cat "$work/body")"
refused 500 record-damaged "$url/logs/unused/records/1"
stop

start --scrub-rate 0 --scrub-interval 100ms
hurt unused 'record number 3 of unused'
sleep 0.7
[ "$(stat_of '.scrub.passes + .scrub.bytes')" -eq 0 ] || die "it was told not to: $(cat "$work/body")"
stop
passed
