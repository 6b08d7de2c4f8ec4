#!/bin/bash
# shellcheck disable=SC2119 # start, serve and stop take arguments of their own
# Help, what is wrong with a command line, and what is said when there is no service.
# shellcheck source=tests/cli/lib.sh
. "${0%/*}/lib.sh" "$@"

# The manual page is well-formed, and has all that the help has.
manual=${0%/*}/../../docs/wald.1
if command -v mandoc >/dev/null; then
    mandoc -T lint "$manual" | grep -v 'outdated mandoc.db\|referenced manual not found' \
        >"$work/lint" || true
    [ ! -s "$work/lint" ] || die "$(cat "$work/lint")"
fi

for command in append read tail ls stats trim export import; do
    wald help | grep "^       wald $command " >/dev/null || die "help does not list $command"
    wald "$command" --help >"$work/help"
    grep -q "^usage: wald $command " "$work/help" || die "$command --help"
    grep -q '^      --url URL' "$work/help" || die "$command --help without its options"
    ! grep -qE '.{100}' "$work/help" || die "$command --help is too wide"
    grep -q "^\.Ss .*$command" "$manual" || die "$manual does not tell of $command"
    sed -n 's/^  .*--\([a-z-]*\).*/\1/p' "$work/help" | while read -r option; do
        grep -q "Fl -$option\\|, -$option" "$manual" || die "$manual does not tell of --$option"
    done
    wald help "$command" | cmp -s - "$work/help" || die "help $command"
    fails 64 "is not an option of this command. Try: wald $command --help" "$command" --loud log
    fails 64 'is not an option of this command' "$command" -Z log
    fails 64 'wants a value' "$command" log --url
    fails 64 '\-\-retry-for is a time such as' "$command" log --retry-for soon
done
# Each command that is listed has a help of its own, or what the list says.
listed=$(wald help | sed -n 's/^\(usage:\|      \) wald \([a-z][a-z]*\) .*/\2/p' | sort -u)
[ "$(wc -l <<<"$listed")" -ge 15 ] || die "help lists too few: $listed"
for command in $listed; do
    wald help "$command" >"$work/help" || die "wald help $command"
    grep -q "wald $command " "$work/help" || die "wald help $command: $(cat "$work/help")"
done
fails 64 'is no address of a service' ls --url ftp://127.0.0.1
fails 64 'is no address of a service' append log --url ftp://127.0.0.1 <<<text

# libcurl is not linked but loaded: where it is missing, or something else, is said; help goes without.
mkdir "$work/libraries"
library=$work/libraries/libcurl-gnutls.so.4
for broken in /dev/null "$(ldd "$wald" | sed -n 's/.*libinih[^>]*=> \([^ ]*\) .*/\1/p')"; do
    cp --no-preserve=mode "$broken" "$library"
    LD_LIBRARY_PATH=$work/libraries fails 71 'cannot be loaded: .*libcurl.*package libcurl3-gnutls' ls
    LD_LIBRARY_PATH=$work/libraries wald help ls >/dev/null
done
! ldd "$wald" | grep -q libcurl || die 'libcurl is linked'

for command in append read tail trim export import; do
    fails 64 'takes LOG' "$command"
    fails 64 'is no name of a log' "$command" a/b
    fails 64 'is no name of a log' "$command" .hidden
    fails 64 'is no name of a log' "$command" "$(printf 'a%.0s' $(seq 129))"
done
fails 64 'takes LOG' read a b
fails 64 '\-\-last is a number from 0, not "-1"' tail a -n -1
fails 64 '\-\-last is a number from 0, not "99999999999999999999"' tail a -n 99999999999999999999
fails 64 'Give one of them' read a --offset 1 --last 2
fails 64 '\-\-offset is a number from 0' read a --offset '1&limit=2'
fails 64 '\-\-at is a time such as' read a --at yesterday
fails 64 '\-\-separator is one of newline|nul|none|length, not "x"' read a -s x
fails 64 'Say what to drop' trim a
fails 64 'Say what to drop' trim a --keep 1 --before 2

# Nobody there: at once for who only asks, and for the others when their time is up.
for command in 'read a' 'tail a -f' ls stats 'trim a --keep 1' 'export a'; do
    # shellcheck disable=SC2086
    fails 69 'http://127.0.0.1:1 cannot be reached: .* Is it running?' $command \
        --url http://127.0.0.1:1
done
echo text >"$work/text"
fails 69 'cannot be reached' append a "$work/text" --url http://127.0.0.1:1/ --retry-for 300ms
grep -q 'trying again' "$work/errors" || die 'no word about trying again'
fails 69 'cannot be reached' append a "$work/text" --url http://127.0.0.1:1 --retry-for 0s
! grep -q 'trying again' "$work/errors" || die 'tried again'
WALD_URL=http://127.0.0.1:1 fails 69 'http://127.0.0.1:1 cannot be reached' ls

# Something else answers there.
in_python -u -m http.server --bind 127.0.0.1 --directory "$work" 0 >"$work/other" 2>&1 &
proxy_pid=$!
for _ in $(seq 200); do
    ! grep -q 'port [0-9]' "$work/other" || break
    sleep 0.05
done
other=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$work/other")
fails 69 'answered with status 404 and not as a wald service does' ls --url "http://127.0.0.1:$other"

# A service does not complain about what is meant for the commands.
export WALD_URL=http://127.0.0.1:1
start
! grep -q WALD_URL "$work/log" || die 'the service complains about WALD_URL'
stop
passed
