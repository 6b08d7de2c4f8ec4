#!/bin/bash
# Checks the model of the service with spin: every state of it, and no sample.
#
#   check.sh NAME...   these cases, or all cases of these groups; without any, all there are
#   check.sh --list    prints the names of the cases
#
# A case with a planted mistake passes when the mistake is found, by the property that is there for
# it. Everything is made in a folder of its own under the present one, and removed.
set -euo pipefail

model=$(cd "${0%/*}" && pwd)/service.pml
memory_mib=1600
depth_max=100000

# GROUP | NAME | what has to be found: "none", or a part of spin's message (A/B: either) | settings
# "ends" looks for a run that goes round for ever, the other groups at every state. "long" and
# "long-ends" take minutes, and are not among the tests that run each time.
cases='
states   | uring                   | none              | CLIENTS=3 REQUESTS=2 HELD_MAX=0
states   | posix                   | none              | CLIENTS=3 REQUESTS=2 POSIX
states   | rounds                  | none              | CLIENTS=2 REQUESTS=2 DELETIONS=1 ROUNDS=2 HELD_MAX=1
states   | polls                   | none              | CLIENTS=2 REQUESTS=1 POLLS=1 PUT_OFFS=1 UNHEARDS=1
states   | deletions               | none              | CLIENTS=2 REQUESTS=1 POLLS=1 DELETIONS=1
states   | suspended-polls         | none              | CLIENTS=2 REQUESTS=2 POLLS=1 PUT_OFFS=1 NO_PARKING HELD_MAX=0
states   | held                    | none              | CLIENTS=2 REQUESTS=2 HELD_MAX=1
states   | openings                | none              | CLIENTS=2 REQUESTS=1 OPENS=2 DELETIONS=1
trouble  | full-disk               | none              | CLIENTS=2 REQUESTS=1 SPACES=1 DELETIONS=1
trouble  | trouble-posix           | none              | CLIENTS=2 REQUESTS=2 AGAINS=1 ROTATIONS=1 POSIX
trouble  | everything              | none              | CLIENTS=2 REQUESTS=1 AGAINS=1 SPACES=1 ROTATIONS=1 DELETIONS=1 ROUNDS=2 HELD_MAX=1
long-ends | ends-three             | none              | CLIENTS=3 REQUESTS=1 DELETIONS=1
long     | held-three              | none              | CLIENTS=3 REQUESTS=2
long     | polls-three             | none              | CLIENTS=3 REQUESTS=1 POLLS=1 PUT_OFFS=1 UNHEARDS=1
long     | deletions-three         | none              | CLIENTS=3 REQUESTS=1 POLLS=1 DELETIONS=1
long     | openings-twice          | none              | CLIENTS=2 REQUESTS=2 OPENS=2 DELETIONS=1
long     | trouble-three           | none              | CLIENTS=3 REQUESTS=1 AGAINS=1 ROTATIONS=1 HELD_MAX=0
long     | full-disk-three         | none              | CLIENTS=3 REQUESTS=1 SPACES=1 DELETIONS=1
ends     | ends-two                | none              | CLIENTS=2 REQUESTS=1 DELETIONS=1
ends     | ends-trouble            | none              | CLIENTS=2 REQUESTS=1 AGAINS=1 SPACES=1 ROTATIONS=1 ROUNDS=2
ends     | ends-polls              | none              | CLIENTS=2 REQUESTS=2 POLLS=1 PUT_OFFS=1 UNHEARDS=1
ends     | never-sleeps            | non-progress      | CLIENTS=2 REQUESTS=1 PLANT_NEVER_SLEEPS
mistakes | suspend-late            | stage             | PLANT_SUSPEND_LATE
mistakes | forget-refused          | forgotten         | PLANT_FORGET_REFUSED
mistakes | refused-twice           | stage/q_len       | PLANT_REFUSED_TWICE
mistakes | ack-early               | on_disk           | PLANT_ACK_EARLY
mistakes | ok-after-failed-sync    | on_disk           | PLANT_OK_AFTER_FAILED_SYNC
mistakes | no-wake                 | forgotten         | PLANT_NO_WAKE
mistakes | sleep-with-decided      | forgotten         | PLANT_SLEEP_WITH_DECIDED
mistakes | forget-queue            | forgotten         | PLANT_FORGET_QUEUE
mistakes | fail-forgets-queue      | forgotten/on_disk | PLANT_FAIL_FORGETS_QUEUE
mistakes | rest-is-blind           | forgotten         | PLANT_REST_IS_BLIND ROTATIONS=1
mistakes | resent-is-not-work      | forgotten         | PLANT_RESENT_IS_NOT_WORK AGAINS=1
mistakes | hang-up-while-suspended | stage             | PLANT_HANG_UP_WHILE_SUSPENDED
mistakes | drain-at-the-door-only  | stopping          | PLANT_DRAIN_AT_THE_DOOR_ONLY
mistakes | stop-with-waiting       | appends_waiting/kept | PLANT_STOP_WITH_WAITING
mistakes | free-with-waiting       | api_freed         | PLANT_FREE_WITH_WAITING
mistakes | stop-forgets-unheard    | api_freed         | PLANT_STOP_FORGETS_UNHEARD UNHEARDS=1
mistakes | forget-polls            | forgotten         | PLANT_FORGET_POLLS POLLS=1
mistakes | stop-forgets-polls      | forgotten         | PLANT_STOP_FORGETS_POLLS POLLS=1
mistakes | forget-closed           | forgotten         | PLANT_FORGET_CLOSED DELETIONS=1
mistakes | forget-behind           | forgotten         | PLANT_FORGET_BEHIND DELETIONS=1
mistakes | abandon-forgets         | logs_waiting/forgotten | PLANT_ABANDON_FORGETS OPENS=1
mistakes | abandon                 | stopping          | PLANT_ABANDON OPENS=1
mistakes | free-held               | stage/api_freed   | PLANT_FREE_HELD
mistakes | no-round-for-held       | forgotten         | PLANT_NO_ROUND_FOR_HELD
mistakes | stop-with-held          | kept              | PLANT_STOP_WITH_HELD
mistakes | sleep-with-returning    | forgotten         | PLANT_SLEEP_WITH_RETURNING POLLS=1
mistakes | left-twice              | stage             | PLANT_LEFT_TWICE POLLS=1
mistakes | sleep-with-put-off      | forgotten         | PLANT_SLEEP_WITH_PUT_OFF POLLS=1 PUT_OFFS=1
'

die()
{
    echo "FAILED: $*"
    exit 1
}

# verify GROUP SETTING...: makes a program that goes through the model, and runs it; its report is in
# ./report.
verify()
{
    local group=$1 defines=() flags=(-w -DCOLLAPSE "-DMEMLIM=$memory_mib") options=("-m$depth_max")
    shift
    for setting in "$@"; do
        defines+=("-D$setting")
    done
    case $group in
    ends | long-ends)
        flags+=(-O2 -DNP)
        options+=(-l)
        ;;
    mistakes) flags+=(-DSAFETY) ;; # soon found: compiling takes longest
    *) flags+=(-O2 -DSAFETY) ;;
    esac
    spin -a "${defines[@]}" "$model" >report 2>&1 || die "$(cat report)"
    "${CC:-cc}" "${flags[@]}" -o pan pan.c >report 2>&1 || die "$(cat report)"
    ./pan "${options[@]}" >report 2>&1 || true
    grep -q 'states, stored' report || die "$(cat report)"
}

# check GROUP NAME WANTED SETTING...
check()
{
    local group=$1 name=$2 wanted=$3 states
    shift 3
    verify "$group" "$@"
    states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' report)
    if [ "$wanted" = none ]; then
        grep -q 'errors: 0$' report || die "$name: $(cat report)"
        if grep -qE 'Search not completed|max search depth too small' report; then
            die "$name: not every state was visited: $(cat report)"
        fi
        printf '%-24s %10d states, and all is well\n' "$name" "$states"
        return
    fi
    grep '^pan:1:' report >found || die "$name: the mistake was not found: $(cat report)"
    grep -qE "${wanted//\//|}" found || die "$name: this is not what should be found: $(cat found)"
    printf '%-24s found after %d states: %s\n' "$name" "$states" "$(cut -c 8-150 found)"
}

# select_cases NAME...: the lines of these groups and cases.
select_cases()
{
    local name
    for name in "$@"; do
        awk -F ' *[|] *' -v name="$name" '$1 == name || $2 == name { print; found = 1 }
            END { exit !found }' <<<"$cases" || die "there is no case $name" >&2
    done
}

if [ "${1-}" = --list ]; then
    awk -F ' *[|] *' 'NF { print $2 }' <<<"$cases"
    exit
fi
[ $# -gt 0 ] || set -- states trouble ends mistakes long long-ends
if ! command -v spin >/dev/null; then
    echo 'spin is not installed'
    exit 77
fi
folder=$(mktemp -d "$PWD/model.XXXXXX")
trap 'rm -rf "$folder"' EXIT
cd "$folder"
select_cases "$@" >selected
while read -r group _ name _ wanted _ settings; do
    # shellcheck disable=SC2086 # one word for each setting
    check "$group" "$name" "$wanted" $settings
done <selected
