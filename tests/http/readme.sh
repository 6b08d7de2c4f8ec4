#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# The examples of README and of docs/durable-streams.md are what happens: each "$ curl" line is run as
# it stands there, against a service that has just been started, and has to answer as is printed below
# it. A restart keeps all of README's. And README with an answer changed is seen to be wrong.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/lib.sh" "$@"

root=$(cd "${0%/*}/../.." && pwd)
readme=$root/README.md

# split README FOLDER: command N of the examples goes to FOLDER/N.command, what is printed below it to
# FOLDER/N.printed. An example is indented by four columns; a line that ends with a backslash goes on
# in the next, and an empty line or one that is not indented ends it.
split()
{
    mkdir -p "$2"
    awk -v folder="$2" '
        /^    \$ / { file = sprintf("%s/%02d.printed", folder, ++count); printf "" >file
                     out = sprintf("%s/%02d.command", folder, count); going_on = 1; $0 = "    " substr($0, 7) }
        !/^    / { going_on = 0; out = file = ""; next }
        going_on { print substr($0, 5) >out; going_on = /\\$/; next }
        file { print substr($0, 5) >file }' "$1"
}

# What truly varies: times, what is drawn for each log, and how much space it was thought to need by how
# fast its appends came.
mask()
{
    sed -E -e 's/"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"/"TIME"/g' \
        -e 's/"id":"[0-9a-f]{32}"/"id":"ID"/g' -e 's/"bytes_on_disk":[0-9]+/"bytes_on_disk":SIZE/' "$1" | awk 1 # a last line without an end gets one
}

# run_line COMMAND FILE: runs it with the service's own address; its output goes to the file.
run_line()
{
    case $(cat "$1") in
    *curl\ *localhost:8080/*) ;;
    *) die "not a line that this test can run: $(cat "$1")" ;;
    esac
    (cd "$work" && bash -c "$(sed "s|localhost:8080|127.0.0.1:$port|g" "$1")") \
        >"$2" 2>"$work/complaints" || die "$(cat "$1"): $(cat "$work/complaints")"
}

# follow README: runs its lines in order. Fails at the first whose answer is not what it says.
follow()
{
    local command
    rm -rf "$work/lines" "$work/difference"
    split "$1" "$work/lines"
    for command in "$work"/lines/*.command; do
        run_line "$command" "${command%.command}.answered"
        diff <(mask "${command%.command}.printed") <(mask "${command%.command}.answered") \
            >"$work/difference" || return 1
    done
}

start
follow "$readme" || die "$(cat "$work/difference")"
count=$(find "$work/lines" -name '*.command' | wc -l)
[ "$count" -ge 5 ] || die "only $count lines with curl"
echo "$count lines of README answer as they should"

# Lines that only read answer the same after a restart, but for counters of the life that began there.
reads=0
for command in "$work"/lines/*.command; do
    grep -qE -- '--data| -d | -X | -T |/metrics|/stats' "$command" && continue
    run_line "$command" "${command%.command}.before"
    reads=$((reads + 1))
done
stop
start
for before in "$work"/lines/*.before; do
    run_line "${before%.before}.command" "$work/after"
    cmp "$before" "$work/after" || die "after a restart: $(cat "${before%.before}.command")"
done
[ "$reads" -ge 3 ] || die "only $reads lines that read"
expect 200 "$url/logs/greetings/records/0"
expect_body hello
expect 200 "$url/logs/greetings/offsets"
expect_member committed_offset "$(member next_offset)"
stop

rm -rf "$data"
start
follow "$root/docs/durable-streams.md" || die "$(cat "$work/difference")"
count=$(find "$work/lines" -name '*.command' | wc -l)
[ "$count" -ge 10 ] || die "only $count lines with curl in docs/durable-streams.md"
stop

# planted WHAT SED: README with that change has to be found wrong.
planted()
{
    rm -rf "$data"
    sed "$2" "$readme" >"$work/README.md"
    cmp -s "$readme" "$work/README.md" && die "$1: nothing was planted"
    start
    ! follow "$work/README.md" || die "$1 was not noticed"
    stop
}
planted 'another number' '/"durability"/s/"offset":1/"offset":2/'
planted 'another record' '/"data":"world"/s/world/word/'
planted 'a missing line' '/"offset":0,"timestamp"/d'
planted 'another command' "/\\\$ curl/s/'world'/'word'/"
passed
