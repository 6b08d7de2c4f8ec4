#!/bin/bash
# shellcheck disable=SC2119 # start and stop take arguments of their own
# input.sh WALD BACKEND FOLDER HELPER LOAD_DRIVER
#
# Real files of the machine go in with curl, line by line and in batches, and come out again byte for
# byte: record by record, and in pages. A record has no end of line, and none is empty: so what comes
# out are the lines that are not empty, and an end of line behind each.
# shellcheck source=tests/http/lib.sh
. "${0%/*}/../http/lib.sh" "$@"

driver=$5
lines_min=200
lines_max=1500
batch_lines=400

# same FILE: holds it against the input.
same()
{
    cmp "$1" "$work/wanted" || die "$1 is not what went in"
}

# read_back LOG: what the log holds, with an end of line behind each record, in two ways.
read_back()
{
    local next=0 last
    # Between two bodies curl writes what -w says, and nothing else.
    curl -sS -f --max-time 200 -w '\n' "$url/logs/$1/records/[0-$((count - 1))]" >"$work/single" ||
        die "$1: exit status $? of curl"
    same "$work/single"

    : >"$work/pages"
    while :; do
        expect 200 "$url/logs/$1/records?offset=$next&limit=700"
        last=$next
        next=$(header Log-Next-Offset)
        [ "$next" != "$last" ] || break
        "$driver" lines <"$work/body" >>"$work/pages" || die "$1: a page at $last is none"
    done
    [ "$next" -eq "$count" ] || die "$1 ends at $next"
    same "$work/pages"
}

# send_lines LOG: one request for each, over one connection, from a file of requests for curl.
send_lines()
{
    {
        printf 'silent\nshow-error\nfail\nmax-time = 200\n'
        sed -e 's/[\\"]/\\&/g' -e 's/\t/\\t/g' -e 's/\r/\\r/g' -e 's/\v/\\v/g' \
            -e 's/.*/data-raw = "&"/' <"$work/wanted" |
            awk -v url="$url/logs/$1" '{ print (NR > 1 ? "next\n" : "") "url = \"" url "\""; print }'
    } >"$work/requests"
    curl -K "$work/requests" >"$work/receipts" || die "$1: exit status $? of curl"
    [ "$(wc -l <"$work/receipts")" -eq "$count" ] || die 'not every line was acknowledged'
}

# send_batches LOG: the lines as they are, the empty ones with them.
send_batches()
{
    local batch sent=0
    rm -f "$work"/batch.*
    split -l "$batch_lines" "$work/input" "$work/batch."
    for batch in "$work"/batch.*; do
        expect 200 -H 'Content-Type: application/x-ndjson' --data-binary "@$batch" "$url/logs/$1"
        sent=$((sent + $(grep -c . "$batch" || true)))
        expect_member next_offset "$sent"
    done
}

# stream NAME FILE: all of that with a file.
stream()
{
    head -n "$lines_max" "$2" >"$work/input"
    grep -v '^$' "$work/input" >"$work/wanted"
    count=$(wc -l <"$work/wanted")
    echo "$2: $(wc -l <"$work/input") lines, of which $count are not empty"
    send_lines "$1-lines"
    read_back "$1-lines"
    send_batches "$1-batches"
    read_back "$1-batches"
    # All of it is still there after a restart.
    stop
    start
    read_back "$1-lines"
    read_back "$1-batches"
}

# first_of FILE...: the first that can be read and is long enough.
first_of()
{
    local file
    for file in "$@"; do
        if [ -r "$file" ] && [ "$(wc -l <"$file")" -ge "$lines_min" ]; then
            echo "$file"
            return
        fi
    done
}

# A machine that was just made may have no log that is long enough; texts it has.
log=$(first_of /var/log/dpkg.log /var/log/apt/history.log /var/log/apt/term.log)
text=$(first_of /usr/share/common-licenses/GPL-3 /usr/share/doc/*/copyright)
[ -n "$log$text" ] || skip "no file of $lines_min lines in /var/log or /usr/share"
start
[ -z "$log" ] || stream log "$log"
[ -z "$text" ] || stream text "$text"
stop
passed
