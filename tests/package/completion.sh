#!/bin/bash
# packaging/completion: in bash and, where there is one, in zsh every command, every setting and every
# choice is offered, and nothing else: held against README's table and the manual page.
#
#   completion.sh WALD FOLDER
set -euo pipefail
program=$(realpath "$1")
root=$(cd "${0%/*}/../.." && pwd)
mkdir -p "$2"
work=$(mktemp -d "$2/completion.XXXXXX")
trap 'rm -rf "$work"' EXIT
export PATH="${program%/*}:$PATH"
export WALD_URL=http://127.0.0.1:1 # where nobody is

die()
{
    echo "FAILED: $*"
    exit 1
}

# in_bash WORD...: what is offered for the last word.
in_bash()
{
    # shellcheck disable=SC2016 # for the other shell
    bash -c '. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _wald
        [ "${#COMPREPLY[@]}" -eq 0 ] || printf "%s\n" "${COMPREPLY[@]}"' \
        "$root/packaging/completion/wald.bash" "$@" | sort -u
}

# in_zsh WORD...: likewise; what the functions of the completion system are given is printed and matched
# as they would.
in_zsh()
{
    # shellcheck disable=SC2016 # for the other shell
    zsh -f -c 'words=("${@:2}"); CURRENT=$#words; prefix=$words[CURRENT]; prefix=${prefix#*=}
        compset() { : }
        _files() { if [[ $1 == -/ ]]; then print -l -- $prefix*(N/); else print -l -- $prefix*(N); fi }
        compadd() { shift; local offer; for offer; do [[ $offer == $prefix* ]] && print -r -- $offer; done; true }
        . "$1"' zsh "$root/packaging/completion/_wald" "$@" | sort -u
}

# offers WANTED WORD...: exactly these lines.
offers()
{
    local wanted=$1
    shift
    "$shell" "$@" >"$work/offered"
    [ "$(cat "$work/offered")" = "$wanted" ] ||
        die "$shell: $*: $(diff <(echo "$wanted") "$work/offered")"
}

# The settings by README, the commands by the manual page.
settings=$(sed -n 's/^| `\(--[a-z-]*\).*/\1/p' "$root/README.md")
[ "$(wc -l <<<"$settings")" -ge 30 ] || die 'README has no table of settings'
commands=$(awk '/^\.Sh SYNOPSIS/ { on = 1 } /^\.Sh DESCRIPTION/ { exit }
    on && $1 == ".Cm" { for (i = 2; i <= NF; i++) if ($i ~ /^[a-z]+$/) print $i }' "$root/docs/wald.1" | sort -u)
[ "$(wc -l <<<"$commands")" -ge 10 ] || die 'the manual page has no commands'

check()
{
    shell=$1
    mkdir -p "$work/folder/inner"
    : >"$work/folder/file"
    offers "$(printf '%s\n' "$commands" --help --version | sort)" wald ''
    offers verify wald ver
    offers "$(printf '%s\n' "$settings" --print-config --help | sort -u)" wald serve --
    offers "$(printf '%s\n' "$settings" --live --help | sort -u)" wald healthcheck --
    offers --max-record-bytes wald serve --max-r
    offers "$(printf 'auto\nposix\nuring')" wald serve --io ''
    offers posix wald serve --io p
    offers "$(printf 'off\non')" wald serve --auto-create o
    offers '' wald serve --max-record-bytes ''
    offers "$work/folder/inner" wald serve --data "$work/folder/"
    offers "$(printf '%s\n' "$work/folder/file" "$work/folder/inner")" wald serve --config "$work/folder/"
    offers "$work/folder/inner" wald verify "$work/folder/"
    offers "$(printf '%s\n' --json --help | sort)" wald doctor --
    offers verify wald help ver
    offers '' wald tail ''
    offers '' wald nonsense ''
    # Each command that is offered has a help of its own, and each of its options is in there.
    while read -r command; do
        wald help "$command" >"$work/help" 2>&1 || die "wald help $command"
        "$shell" wald "$command" -- >"$work/offered"
        while read -r option; do
            case "$command $option" in
            'serve --print-config' | 'serve --help') ;;
            *) grep -q -e "$option" "$work/help" || die "$shell: wald $command has no $option" ;;
            esac
        done <"$work/offered"
    done < <(grep -vx 'help\|healthcheck' <<<"$commands")
    echo "$shell: $(wc -l <<<"$commands") commands, $(wc -l <<<"$settings") settings"
}
check in_bash
if command -v zsh >/dev/null; then
    check in_zsh
else
    echo 'without zsh'
fi
echo passed
