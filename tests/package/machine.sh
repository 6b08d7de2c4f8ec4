# shellcheck shell=sh
# What tests/package/systemd.sh calls on the machine that it has booted.
url=http://127.0.0.1:8080
kept=/root # what a reboot keeps

show()
{
    systemctl show -P "$1" wald.service
}

# is PROPERTY VALUE: of the service.
is()
{
    [ "$(show "$1")" = "$2" ]
}

# await SECONDS COMMAND...: until the command succeeds.
await()
{
    tries=$(($1 * 10))
    shift
    while ! "$@"; do
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ]; then
            echo "in vain: $*"
            systemctl status --no-pager wald.service
            return 1
        fi
        sleep 0.1
    done
}

# drop_in LINE...: changes the unit, until it is called again.
drop_in()
{
    folder=/run/systemd/system/wald.service.d
    rm -rf "$folder"
    if [ $# -gt 0 ]; then
        mkdir "$folder"
        printf '%s\n' '[Service]' "$@" >"$folder/test.conf"
    fi
    systemctl daemon-reload
    systemctl reset-failed wald.service
}

# told TEXT: in the journal, the last line with it.
told()
{
    journalctl --sync
    journalctl -q -o cat -u wald.service | grep -e "$1" | tail -n 1 | grep .
}

# abilities: how it writes and what it has given up, in a line of event=ready.
abilities()
{
    sed -n 's/.*event=ready .*\(backend=.*\) data=.*/\1/p'
}

# abilities_alone: those that it has here without the unit.
abilities_alone()
{
    install -d -o wald /var/tmp/alone
    setpriv --reuid=wald --regid=wald --clear-groups wald serve --data /var/tmp/alone \
        --listen 127.0.0.1:0 2>/var/tmp/alone.log &
    await 30 grep -q event=ready /var/tmp/alone.log
    kill "$!"
    wait "$!"
    abilities </var/tmp/alone.log
    rm -r /var/tmp/alone /var/tmp/alone.log
}

# able: the unit takes nothing away that the service could use.
able()
{
    [ "$(told event=ready | abilities)" = "$(cat $kept/alone)" ]
}

# confined: the unit holds it to its directory.
confined()
{
    pid=$(show MainPID)
    nsenter -t "$pid" -m touch /var/lib/wald/planted && rm /var/lib/wald/planted &&
        ! nsenter -t "$pid" -m touch /usr/planted &&
        ! nsenter -t "$pid" -m touch /etc/wald/planted &&
        grep -q '^NoNewPrivs:.1' "/proc/$pid/status" &&
        grep -q '^CapBnd:.0*$' "/proc/$pid/status" &&
        grep -q '^Seccomp:.2' "/proc/$pid/status"
}

# waits_for_ready: whoever starts it gets the word when requests are answered, and not before.
waits_for_ready()
{
    systemctl stop wald.service
    systemctl start --no-block wald.service
    await 1 is ActiveState activating && systemctl start wald.service && curl -fs "$url/readyz"
}

# stops_late: a stop that takes longer than the unit has it, since a request is under way, is let do so.
stops_late()
{
    (printf 'the beginning' && sleep 3) | curl -sT - -X POST "$url/logs/late" &
    sleep 0.5
    began=$(date +%s)
    systemctl stop wald.service
    wait "$!" || true
    is Result success && [ $(($(date +%s) - began)) -ge 2 ]
}

# comes_back SECONDS SIGNAL: as another process, by itself.
comes_back()
{
    pid=$(show MainPID)
    count=$(show NRestarts)
    systemctl kill -s "$2" wald.service
    await "$1" is NRestarts $((count + 1)) && await 30 is ActiveState active && ! is MainPID "$pid"
}

# running: some process is the service.
running()
{
    readlink /proc/[0-9]*/exe | grep /wald
}

# status_of CURL-ARGUMENT...: that of the answer.
status_of()
{
    curl -s -o /dev/null --max-time 20 -w '%{http_code}' "$@"
}

# write LOG: appends, one after the other, until write_end. What is acknowledged goes to one file, by
# offset, and the exit status of curl for all else to another one.
write()
{
    number=0
    while [ ! -e $kept/enough ]; do
        if receipt=$(curl -fs --max-time 20 --data-binary "record $1 $number" "$url/logs/$1"); then
            offset=${receipt#*\"offset\":}
            echo "${offset%%,*} record $1 $number" >>"$kept/$1.acknowledged"
        else
            echo "$?" >>"$kept/$1.unanswered"
            sleep 0.01
        fi
        number=$((number + 1))
    done
    touch "$kept/$1.ended"
}

# more LOG: 10 more have been acknowledged.
more()
{
    touch "$kept/$1.acknowledged"
    await 30 has_lines "$1" $(($(wc -l <"$kept/$1.acknowledged") + 10))
}

has_lines()
{
    [ "$(wc -l <"$kept/$1.acknowledged")" -ge "$2" ]
}

write_end()
{
    touch $kept/enough
    await 30 test -e "$kept/$1.ended" && rm $kept/enough
}

# refused LOG: somebody was at a time when nobody listened.
refused()
{
    touch "$kept/$1.unanswered"
    grep -qx 7 "$kept/$1.unanswered"
}

# is_kept LOG: each record that was acknowledged is there, at its offset, and none is there twice.
is_kept()
{
    curl -fs "$url/logs/$1/records?offset=0&limit=10000" |
        sed 's/^{"offset":\([0-9]*\),.*"data":"\(.*\)"}$/\1 \2/' | sort >"$kept/$1.there"
    [ -z "$(sort "$kept/$1.acknowledged" | comm -23 - "$kept/$1.there")" ] &&
        [ -z "$(sed 's/^[0-9]* //' "$kept/$1.there" | sort | uniq -d)" ]
}
