#!/bin/bash
# shellcheck disable=SC2119 # start, serve and stop take arguments of their own
# What is exported can be imported: byte for byte, once, and only if it is whole.
# shellcheck source=tests/cli/lib.sh
. "${0%/*}/lib.sh" "$@"
serve --max-record-bytes 16MiB

# A log of everything: lines, any bytes, newlines, every byte alone, text of all of Unicode.
seq 3000 | wald append log --lines --quiet >/dev/null
for i in $(seq 0 255); do
    # shellcheck disable=SC2059 # the escape is the point
    printf "\\x$(printf %x "$i")"
    [ "$i" -ne 9 ] || echo
done >"$work/bytes"
wald append log "$work/bytes" >/dev/null
python -c '
import sys
for first in range(0, 0x110000, 0x8000):
    text = "".join(map(chr, range(first, first + 0x8000)))
    sys.stdout.buffer.write(text.replace("\n", "").encode("utf-8", "ignore") + b"\n")
' >"$work/unicode"
wald append log --lines --quiet "$work/unicode" >/dev/null
for i in 1 2; do
    head -c "${i}00000" /dev/urandom >"$work/large.$i"
    printf 'two\nlines %s\n' "$i" >"$work/small.$i"
    wald append log "$work/large.$i" "$work/small.$i" >/dev/null
done

all log >"$work/wanted"
wald export log "$work/export"
[ ! -e "$work/export.partial" ] || die 'the partial file is still there'
head -n 1 "$work/export" | jq -e '.wald_export == 1 and .log == "log" and .end_offset == '"$(
    wald ls -l log | awk '{ print $3 }')" >/dev/null || die "$(head -n 1 "$work/export")"
[ "$(tail -n 1 "$work/export" | jq -r .sha256)" = "$(head -n -1 "$work/export" | sha256sum |
    cut -d' ' -f1)" ] || die 'the sum is not that of the lines'
wald import copy "$work/export"
all copy | cmp - "$work/wanted" || die 'the copy differs'
wald export log --quiet | wald import piped --quiet
[ ! -s "$work/errors" ] || die "not quiet: $(cat "$work/errors")"
all piped | cmp - "$work/wanted" || die 'the copy through a pipe differs'
fails 74 'is there already' export log "$work/export"
fails 74 'cannot be written: No such file' export log "$work/none/export"
fails 1 '(404 log-not-found)' export none "$work/none"
[ ! -e "$work/none" ] || die 'a file of an export that failed'

# The largest record there can be, of bytes that JSON writes as six each.
head -c 16777216 /dev/zero >"$work/zero"
wald append zero "$work/zero" >/dev/null
wald export zero "$work/zero.export"
wald import zero-copy "$work/zero.export"
wald read zero-copy -s none | cmp - "$work/zero" || die 'the copy of the largest record differs'

# Importing it again changes nothing; neither does it when there is more behind.
wald import copy "$work/export"
wald append copy "$work/small.1" >/dev/null
wald import copy "$work/export"
all copy >"$work/copy"
cmp -n "$(wc -c <"$work/wanted")" "$work/copy" "$work/wanted" || die 'the copy was changed'

# Smaller, from here on.
wald trim log --before 2900 >/dev/null
seq 3000 | wald append small --lines --quiet >/dev/null
wald trim small --keep 100 >/dev/null
wald append small "$work/small.1" >/dev/null
wald export small "$work/part"
wald import part "$work/part"
prints "$(seq -s '\n' 2901 3000)\\ntwo\\nlines 1\\n\\n" read part
echo | wald append empty >/dev/null
wald trim empty --keep 0 >/dev/null
wald export empty | wald import empty-copy
[ "$(wald ls -l empty-copy | awk '{ print $3 }')" = 0 ] || die 'an empty log'

# The settings go along.
expect 201 -X PUT -d '{"durability":"committed"}' "$url/logs/floor"
wald append floor "$work/small.1" "$work/small.2" >/dev/null
wald export floor | wald import floor-copy
expect 200 "$url/logs/floor-copy"
expect_member durability committed
all floor-copy | cmp - <(all floor) || die 'the copy of a log with a floor differs'

# Another log is left alone.
echo other | wald append other >/dev/null
fails 1 'has another record at offset 0 than the export' import other "$work/part"
prints 'other\n\n' read other
fails 1 'has been trimmed' import small "$work/part"

# Cut at each line, in a line, changed, longer: noticed, and nothing appended from a file.
total=$(wc -l <"$work/part")
for lines in 0 1 2 50 $((total - 1)); do
    head -n "$lines" "$work/part" >"$work/bad"
    fails 65 'is \(no export\|cut: it has no end\)' import bad "$work/bad"
done
for bytes in 10 200 1000; do
    head -c -"$bytes" "$work/part" >"$work/bad"
    fails 65 'is cut' import bad "$work/bad"
done
sed 's/2950/2951/' "$work/part" >"$work/bad"
fails 65 'was changed since it was written' import bad "$work/bad"
sed '50d' "$work/part" >"$work/bad"
fails 65 'was changed since it was written' import bad "$work/bad"
cat "$work/part" "$work/part" >"$work/bad"
fails 65 'goes on behind its end' import bad "$work/bad"
sed '1s/"wald_export":1/"wald_export":2/' "$work/part" >"$work/bad"
fails 65 'of format 2' import bad "$work/bad"
sed '3s/"data":/"date":/' "$work/part" >"$work/bad"
fails 65 'holds no record' import bad "$work/bad"
fails 65 'is no JSON object' import bad "$work/small.1"
fails 74 'cannot be opened' import bad "$work/missing"
expect 404 "$url/logs/bad"

# Through a pipe it is known only at the end; the whole export then goes on where that ended.
head -n 50 "$work/part" >"$work/bad"
status=0
# shellcheck disable=SC2002 # a pipe, and no file
cat "$work/bad" | "$wald" import resumed 2>"$work/errors" || status=$?
[ "$status" -eq 65 ] || die "a cut pipe: exit status $status"
[ "$(wald ls -l resumed | awk '{ print $3 }')" = 49 ] || die 'a cut pipe'
wald import resumed "$work/part"
all resumed | cmp - <(all part) || die 'the resumed import differs'

# Answers that are lost.
head -c 2000000 /dev/urandom | base64 | wald append mid --lines --quiet >/dev/null
wald append mid "$work/small.1" "$work/bytes" "$work/small.2" >/dev/null
seq 9 | wald append mid --lines --quiet >/dev/null
wald export mid "$work/mid"
lossy
wald export mid "$work/mid.lossy"
same "$work/mid" "$work/mid.lossy" 'an export over lost connections differs'
wald import mid-copy "$work/mid"
wald import part-copy "$work/part"
WALD_URL=$url
all mid-copy | cmp - <(all mid) || die 'an import over lost connections differs'
all part-copy | cmp - <(all part) || die 'an import over lost connections differs'
stop
passed
