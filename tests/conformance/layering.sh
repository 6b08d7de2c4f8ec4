#!/bin/sh
# Holds every #include of the program against the rules of its layers:
#
#   layer     server -> api -> wal, and from outside wal/ only its public headers; server -> client,
#             which knows nothing of the others but wal/base.h
#   party     a third-party library is met by one file of each folder
#   path      "folder/file.h" from the root of the repository; no "../", no bare "file.h"
#
#   layering.sh [ROOT]         prints each violation, and fails if there is one
#   layering.sh --self-test    plants a violation of each kind, and fails if one goes unseen
set -eu

# What comes with the C library, the kernel or the compiler. Anything else in <> is third party.
system_headers='
    aio alloca argz arpa/ asm/ assert byteswap complex cpuid ctype dirent dlfcn elf endian err errno
    error execinfo fcntl features fenv float fnmatch ftw getopt glob grp iconv ifaddrs immintrin
    inttypes iso646 langinfo libgen limits linux/ locale malloc math mntent monetary mqueue net/
    netdb netinet/ nmmintrin poll pthread pwd regex resolv sanitizer/ sched search semaphore setjmp
    signal smmintrin spawn stdalign stdarg stdatomic stdbool stddef stdint stdio stdio_ext stdlib
    stdnoreturn string strings sys/ syscall sysexits syslog tar termios tgmath threads time uchar
    ucontext unistd utime utmpx wchar wctype wordexp x86intrin arm_acle arm_neon'

# The headers of wal/ that other folders may include.
public_headers='wal/base.h wal/check.h wal/inspect.h wal/repair.h wal/engine.h wal/store.h wal/wal.h'

# check ROOT: prints "FILE:LINE: KIND: ..." for each violation in ROOT.
check()
{
    cd "$1"
    find wal api client server tests -name '*.[ch]' 2>/dev/null | LC_ALL=C sort >"$work/files"
    if ! grep -q '^wal/' "$work/files"; then
        echo "$1: nothing to check: no source in wal/"
        return 1
    fi
    # /dev/null makes grep print the name of the file even if there is one only.
    xargs grep -nE '^[[:space:]]*#[[:space:]]*include' /dev/null <"$work/files" |
        awk -v system_headers="$system_headers" -v public_headers="$public_headers" '
        BEGIN {
            count = split(system_headers, words)
            for (i = 1; i <= count; i++) system_header[words[i]] = 1
            count = split(public_headers, words)
            for (i = 1; i <= count; i++) public_header[words[i]] = 1
        }
        function violation(kind, what) {
            printf "%s: %s: %s\n", place, kind, what
            bad = 1
        }
        function check_quoted(name) {
            target = name
            sub("/.*", "", target)
            if (name ~ /(^|\/)\.\.?\// || name !~ /\//)
                violation("path", "\"" name "\" is not a path from the root")
            else if (folder == "tests" || folder == target)
                return
            else if (folder == "server" && (target == "api" || target == "client"))
                return
            else if (folder == "client" && name != "wal/base.h")
                violation("layer", folder "/ may not include \"" name "\"")
            else if (folder != "wal" && target == "wal" && name in public_header)
                return
            else
                violation("layer", folder "/ may not include \"" name "\"")
        }
        function check_angled(name) {
            party = name
            sub(/\.h$/, "", party)
            if (party in system_header)
                return
            sub("/.*", "", party)
            if (party "/" in system_header)
                return
            if (party ~ /^(wal|api|client|server|tests|\.\.?)$/)
                violation("path", "<" name "> is ours: write it in quotes")
            else if (folder == "tests")
                return
            else if ((folder, party) in user && user[folder, party] != file)
                violation("party", "<" name "> is what " user[folder, party] " is there for")
            else
                user[folder, party] = file
        }
        {
            split($0, part, ":")
            file = part[1]
            place = file ":" part[2]
            folder = file
            sub("/.*", "", folder)
            name = $0
            sub(/^[^#]*#[[:space:]]*include[[:space:]]*/, "", name)
            if (name ~ /^"[^"]*"/) {
                split(name, part, "\"")
                check_quoted(part[2])
            } else if (name ~ /^<[^>]*>/) {
                split(name, part, /[<>]/)
                check_angled(part[2])
            } else
                violation("path", "an include this check cannot read")
        }
        END { exit bad }'
}

# plant KIND FILE INCLUDE...: on a clean tree, adds the line to FILE, and wants exactly KIND reported.
plant()
{
    kind=$1 file=$2 line=$3
    rm -rf "$work/tree"
    mkdir -p "$work/tree/wal" "$work/tree/api" "$work/tree/client" "$work/tree/server" \
        "$work/tree/tests/unit"
    (
        cd "$work/tree"
        printf '%s\n' '#include <liburing.h>' '#include <sys/uio.h>' '#include "wal/io.h"' >wal/ring.c
        printf '%s\n' '#include <isa-l/crc.h>' '#include <isa-l/crc64.h>' >wal/crc.c
        printf '%s\n' '#include <stdint.h>' >wal/io.h
        printf '%s\n' '#include <jansson.h>' '#include "wal/store.h"' '#include "api/api.h"' >api/json.c
        printf '%s\n' '#  include <uthash.h> /* its own */' '#include "wal/engine.h"' >api/api.h
        printf '%s\n' '#include <jansson.h>' '#include "wal/base.h"' '#include "client/a.h"' >client/a.c
        printf '%s\n' '#include <uthash.h>' '#include "api/api.h"' '#include "wal/base.h"' >server/main.c
        printf '%s\n' '#include <cmocka.h>' '#include "wal/io.h"' >tests/unit/test_a.c
        printf '%s\n' '#include <cmocka.h>' '#include <liburing.h>' >tests/unit/test_b.c
        printf '%s\n' "$line" >>"$file"
    )
    status=0
    (check "$work/tree") >"$work/report" 2>&1 || status=$?
    case $kind in
    clean) [ "$status" -eq 0 ] && [ ! -s "$work/report" ] && return ;;
    *) [ "$status" -ne 0 ] && grep -q "$file:[0-9]*: $kind: " "$work/report" &&
        [ "$(wc -l <"$work/report")" -eq 1 ] && return ;;
    esac
    echo "self-test: $line in $file: wanted $kind, status was $status, report was:"
    cat "$work/report"
    failed=1
}

self_test()
{
    failed=0
    plant clean wal/ring.c ''
    plant layer wal/ring.c '#include "api/api.h"'
    plant layer wal/io.h '#include "server/log.h"'
    plant layer api/json.c '#include "server/log.h"'
    plant layer api/json.c '#include "wal/io.h"'
    plant layer server/main.c '#include "wal/io.h"'
    plant layer wal/ring.c '#include "tests/sim/disk.h"'
    plant layer client/a.c '#include "wal/store.h"'
    plant layer client/a.c '#include "api/api.h"'
    plant layer client/a.c '#include "server/log.h"'
    plant layer api/json.c '#include "client/a.h"'
    plant clean server/main.c '#include "client/a.h"'
    plant party wal/ring.c '#include <isa-l.h>'
    plant party wal/ring.c '#include <isa-l/crc.h>'
    plant party wal/ring.c '  #  include <isa-l/crc.h>'
    plant party wal/store.h '#include <liburing.h>'
    plant party api/json.c '#include <uthash.h>'
    plant clean api/json.c '#include <microhttpd.h>'
    plant path wal/ring.c '#include "../api/api.h"'
    plant path api/json.c '#include "api/../wal/io.h"'
    plant path tests/unit/test_a.c '#include "../../wal/io.h"'
    plant path wal/ring.c '#include "io.h"'
    plant path wal/ring.c '#include <wal/io.h>'
    plant path wal/ring.c '#include HEADER'
    mkdir "$work/empty"
    if (check "$work/empty") >"$work/report" 2>&1; then
        echo 'self-test: a tree without sources passed'
        failed=1
    fi
    return "$failed"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

case ${1-} in
--self-test) self_test && echo 'every planted violation was seen' ;;
-*) echo "usage: ${0##*/} [ROOT | --self-test]" >&2 && exit 2 ;;
*) (check "${1:-"$(dirname "$0")/../.."}") && echo 'the layers hold' ;;
esac
