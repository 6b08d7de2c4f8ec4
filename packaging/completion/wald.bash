# bash completion for wald(1). What there is to complete it asks of the program, so it cannot be out of
# date; names of logs it asks of the service, and does without them if that is not there at once.

# _wald_commands WALD
_wald_commands()
{
    "$1" help 2>/dev/null | sed -n 's/^\(usage:\|      \) wald \([a-z][a-z]*\) .*/\2/p' | sort -u
}

# _wald_options WALD COMMAND: each option on a line, and behind it what it takes, if anything.
_wald_options()
{
    "$1" help "${2/healthcheck/serve}" 2>/dev/null |
        sed -n 's/^  *\(-[a-zA-Z], \)\{0,1\}\(--[a-z][a-z-]*\) \{0,1\}\([^ ]*\).*/\2 \3/p' | {
        # It takes the settings of the service, too, and prints none.
        case $2 in
        healthcheck) echo --live && grep -v '^--print-config' ;;
        *) cat ;;
        esac
    }
}

# _wald_logs WALD: the logs of the service.
_wald_logs()
{
    timeout 1 "$1" ls --retry-for 0s 2>/dev/null | head -n 1000
}

# _wald_values TAKES WORD: what stands for TAKES behind an option, or as an argument.
_wald_values()
{
    case $1 in
    *\|*) mapfile -t COMPREPLY < <(compgen -W "${1//|/ }" -- "$2") ;;
    FILE) mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
    DIR) mapfile -t COMPREPLY < <(compgen -d -- "$2") ;;
    LOG) mapfile -t COMPREPLY < <(compgen -W "$(_wald_logs "$wald")" -- "$2") ;;
    esac
}

_wald()
{
    local wald=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]} takes
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_wald_commands "$wald") --help --version" -- "$word")
        return
    fi
    # --option=value comes as three words.
    if [ "$word" = '=' ]; then
        word=''
    elif [ "$before" = '=' ]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    takes=$(_wald_options "$wald" "$command" | sed -n "s/^$before //p" 2>/dev/null | head -n 1)
    if [[ $before == --* && -n $takes ]]; then
        _wald_values "$takes" "$word"
    elif [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_wald_options "$wald" "$command" | sed 's/ .*//')" -- "$word")
    else
        case $command in
        help) mapfile -t COMPREPLY < <(compgen -W "$(_wald_commands "$wald") table" -- "$word") ;;
        append | import)
            takes=LOG
            [ "$COMP_CWORD" -eq 2 ] || takes=FILE
            _wald_values "$takes" "$word"
            ;;
        read | tail | ls | stats | trim | export) _wald_values LOG "$word" ;;
        verify | dump | repair | doctor | crashtest) _wald_values DIR "$word" ;;
        esac
    fi
}

complete -o filenames -F _wald wald
