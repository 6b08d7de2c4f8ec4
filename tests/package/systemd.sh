#!/bin/bash
# shellcheck disable=SC2016 # much is for the shell of the machine
# The Debian package and its units under the systemd of a Debian that boots in a container: what the unit
# promises is tried, and each promise is broken once to see that it would be noticed.
#
#   systemd.sh FOLDER BUILD
# shellcheck source=tests/package/package.sh
. "${0%/*}/package.sh" "$@"
prelude='. /tests/machine.sh; '
failed=yes

cleanup()
{
    if [ "$failed" = yes ]; then
        docker exec machine journalctl --no-pager -n 30 2>/dev/null || true
    fi
    engine_stop
}

# not_so COMMAND: fails, since something was broken on purpose.
not_so()
{
    ! docker exec machine sh -c "$prelude$1" >"$folder/on.log" 2>&1 || die "would not be noticed: $1"
}

# writing LOG COMMAND: runs it while somebody appends, and then looks for all that was acknowledged.
writing()
{
    docker exec -d machine sh -c "$prelude write $1"
    on "more $1"
    on "$2"
    on "more $1; write_end $1; is_kept $1"
}

# machine_make: Debian with systemd, and what the package depends on; it has no network later.
machine_make()
{
    docker run --name making --network host debian:bookworm-slim sh -c "apt-get -q update &&
        DEBIAN_FRONTEND=noninteractive apt-get -q -y satisfy --no-install-recommends \
        '$(dpkg-deb -f "$deb" Depends), $(dpkg-deb -f "$deb" Recommends), systemd-sysv, curl' &&
        systemctl mask apt-daily.timer apt-daily-upgrade.timer" \
        >"$folder/making.log" 2>&1 || die "$(tail -n 20 "$folder/making.log")"
    docker commit making machine >/dev/null
    docker rm making >/dev/null
}

# machine_boot: systemd gets control groups that it may write to, and nothing of this machine.
machine_boot()
{
    docker run -d --name machine --network none --cgroupns private --tmpfs /run --tmpfs /run/lock \
        --cap-add SYS_ADMIN --cap-add SYS_PTRACE --stop-signal SIGRTMIN+3 -e container=docker \
        --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
        -v "$packages:/packages:ro" -v "$root/tests/package:/tests:ro" machine sh -c '
            for path in $(awk "\$3 ~ /^cgroup/ { print \$2 }" /proc/mounts); do
                mount -o remount,rw,bind "$path" || exit
            done
            exec /sbin/init' >"$folder/boot.log" 2>&1 ||
        skip "no container that systemd could boot in: $(grep '^docker: ' "$folder/boot.log")"
    machine_booted
}

machine_booted()
{
    local state=''
    for _ in $(seq 300); do
        state=$(docker exec machine systemctl is-system-running 2>&1) || true
        case $state in
        running | degraded) return 0 ;;
        esac
        [ "$(docker inspect -f '{{.State.Running}}' machine)" = true ] ||
            skip "systemd does not boot in a container here: $(docker logs --tail 2 machine 2>&1)"
        sleep 0.1
    done
    die "the machine does not boot: $state"
}

package_build packages-systemd
repack 0.1.0-2 'echo "# of the second" >>lib/systemd/system/wald.service'
repack 0.1.0-3 ':'
engine_start
trap cleanup EXIT
base_image
machine_make
machine_boot
on 'systemctl --failed --plain --no-legend >/root/failed'
it_is '! -e /bin/kill' # what only some machines have is not there

# ---- installed ----

on "apt-get -q -y install /packages/${deb##*/}"
on 'systemctl is-active wald && systemctl is-enabled wald'
on '! systemctl is-active wald.socket && ! systemctl is-enabled wald.socket'
it_is '"$(stat -c "%U:%G %a" /var/lib/wald)" = "wald:wald 700"'
it_is '"$(stat -c "%U:%G %a" /etc/wald/wald.conf)" = "root:root 644"'
it_is '"$(id -u wald)" -lt 1000'
on 'getent passwd wald | grep -q ":/var/lib/wald:.*/nologin$"'
on 'is StatusText "Serving at 127.0.0.1:8080"'
on 'systemctl status wald | grep "Status: \"Serving at 127.0.0.1:8080\""'
on 'curl -fs --data-binary kept $url/logs/orders | grep "\"offset\":0,.*\"durability\":\"committed\""'
on '[ "$(curl -fs $url/logs/orders/records/0)" = kept ]'
on '[ -z "$(find /var/lib/wald -perm /077)" ]'
not_so '[ -z "$(find /etc/wald -perm /077)" ]'
echo 'ok: installed, enabled and started'

# ---- confined, and no less able ----

on 'abilities_alone >/root/alone; grep "sandbox=privileges,dumps,.*calls" /root/alone'
on able
on confined
on 'systemd-analyze security --threshold=20 wald'
not_so 'systemd-analyze security --threshold=5 wald'
on 'drop_in ProtectSystem=no "SystemCallFilter=~io_uring_setup landlock_create_ruleset"'
on 'systemctl restart wald'
not_so able
not_so confined
on 'drop_in; install -d -o wald -g wald -m 0700 /srv/logs; cp /etc/wald/wald.conf /root/
    sed -i "s|^data = .*|data = /srv/logs|" /etc/wald/wald.conf'
not_so 'systemctl restart wald'
on 'drop_in ReadWritePaths=/srv/logs; systemctl restart wald; curl -fs -d x $url/logs/there; [ -d /srv/logs/logs/there ]'
on 'cp /root/wald.conf /etc/wald/; drop_in; systemctl restart wald; able'
echo "ok: $(docker exec machine cat /root/alone)"

# ---- started when it is ready, and started again ----

slowly='"ExecStart=" "ExecStart=/bin/sh -c \"sleep 2; exec /usr/bin/wald serve --config /etc/wald/wald.conf\""'
on "drop_in $slowly; waits_for_ready"
on "drop_in $slowly Type=simple"
not_so waits_for_ready
on 'drop_in; systemctl restart wald'
writing restarted 'systemctl restart wald'
on 'drop_in RestartSec=1s; systemctl restart wald'
writing killed 'comes_back 10 KILL'
on 'refused killed'
on 'echo "0 never sent" >>/root/killed.acknowledged'
not_so 'is_kept killed'
on 'drop_in Restart=no'
not_so 'comes_back 2 KILL'
on 'is ActiveState failed'
on 'is WatchdogUSec 30s; drop_in WatchdogSec=1s; systemctl restart wald'
writing stopped 'comes_back 20 STOP; told "Watchdog timeout"'
on 'drop_in WatchdogSec=0; systemctl restart wald'
not_so 'comes_back 3 STOP'
on 'systemctl kill -s CONT wald; drop_in TimeoutStopSec=1s; systemctl restart wald; stops_late'
on 'systemctl start wald; drop_in TimeoutStopSec=1s Type=simple NotifyAccess=none WatchdogSec=0'
not_so stops_late
on 'drop_in; systemctl start wald; curl -fs $url/readyz'
echo 'ok: restarted, killed, and stopped by nobody but the watchdog'

# ---- tokens, which the service may read and not write ----

on 'echo "tokens = /etc/wald/tokens" >>/etc/wald/wald.conf'
on 'wald token --tokens /etc/wald/tokens gone append "*" >/root/gone
    chgrp wald /etc/wald/tokens && chmod 0640 /etc/wald/tokens
    wald token --tokens /etc/wald/tokens stays append "*" >/root/stays
    systemctl restart wald'
presenting='presenting() { status_of -H "Authorization: Bearer $(cat /root/$1)" -d x $url/logs/told; }'
on "$presenting; "'[ "$(presenting gone) $(presenting stays)" = "200 200" ]'
on 'sed -i "/^gone /d" /etc/wald/tokens; drop_in ExecReload= ExecReload=/bin/true; systemctl reload wald'
not_so "$presenting; "'[ "$(presenting gone)" = 401 ]'
on "drop_in; pid=\$(show MainPID); systemctl reload wald; $presenting"'
    await 10 eval "[ \$(presenting gone) = 401 ]"; is MainPID $pid; [ "$(presenting stays)" = 200 ]'
on 'cp /root/wald.conf /etc/wald/; systemctl restart wald'
echo 'ok: reloaded'

# ---- without a network ----

on 'sed -i "s|^listen = .*|listen = unix:/run/wald/socket|" /etc/wald/wald.conf; systemctl restart wald'
by_file='curl -fs --unix-socket /run/wald/socket http://localhost/readyz'
on "$by_file; able; comes_back 10 KILL; $by_file"
on '[ "$(stat -c "%U:%G %a" /run/wald/socket)" = "wald:wald 660" ]'
on '[ "$(wald read --url unix:/run/wald/socket orders)" = kept ]'
not_so 'curl -fs $url/readyz'
on 'cp /root/wald.conf /etc/wald/; systemctl restart wald; [ ! -e /run/wald/socket ]'
echo 'ok: by a socket in the file system'

# ---- what does not get better by trying again ----

on 'echo "no-such-setting = 1" >>/etc/wald/wald.conf'
not_so 'systemctl restart wald'
on 'sleep 1; is Result exit-code && is ExecMainStatus 2 && is ActiveState failed && is NRestarts 0'
on 'told no-such-setting; systemctl --failed | grep wald'
on 'drop_in RestartPreventExitStatus='
not_so 'systemctl start wald; sleep 1; is NRestarts 0'
on 'drop_in; cp /root/wald.conf /etc/wald/; systemctl start wald'
echo 'ok: a wrong setting is tried once'

# ---- by its socket ----

on 'systemctl stop wald'
not_so 'curl -fs $url/readyz'
on 'systemctl stop wald && systemctl enable --now wald.socket; is ActiveState inactive'
on 'curl -fs --max-time 20 $url/readyz; is ActiveState active; is StatusText "Serving at 127.0.0.1:8080"'
on 'systemctl stop wald wald.socket; mkdir /run/systemd/system/wald.socket.d;
    printf "[Socket]\nListenStream=\nListenStream=/run/wald/socket\n" >/run/systemd/system/wald.socket.d/test.conf
    systemctl daemon-reload; systemctl start wald.socket'
on "$by_file; systemctl restart wald; $by_file; systemctl stop wald; $by_file; "'is StatusText "Serving at unix:/run/wald/socket"'
on 'drop_in RuntimeDirectoryPreserve=no; systemctl stop wald'
not_so "$by_file"
on 'rm -r /run/systemd/system/wald.socket.d; drop_in; systemctl stop wald wald.socket; systemctl start wald.socket'
writing activated 'systemctl restart wald; comes_back 10 KILL'
not_so 'refused activated'
stops='grep -c event=stopped'
on "journalctl -q -u wald | $stops >/root/stops"
docker restart -t 60 machine >/dev/null
machine_booted
on 'systemctl is-active wald wald.socket; is_kept activated'
on "journalctl --sync; [ \$(journalctl -q -u wald | $stops) -eq \$((\$(cat /root/stops) + 1)) ]"
echo 'ok: started by a request, and with the machine'

# ---- upgraded, removed, purged ----

writing upgraded 'pid=$(show MainPID); apt-get -q -y install /packages/wald_0.1.0-2.deb; ! is MainPID $pid'
not_so 'refused upgraded'
on 'tail -n 1 /lib/systemd/system/wald.service | grep second; is NeedDaemonReload no; able'
on 'systemctl disable --now wald wald.socket; apt-get -q -y install /packages/wald_0.1.0-3.deb'
not_so 'systemctl is-active wald || systemctl is-enabled wald'
on 'systemctl enable --now wald.socket; systemctl enable --now wald; is_kept upgraded'
on 'running; apt-get -q -y remove wald'
it_is '! -e /usr/bin/wald -a -s /etc/wald/wald.conf -a -d /var/lib/wald/logs/orders'
not_so 'curl -s $url/readyz'
not_so running
on "apt-get -q -y install /packages/${deb##*/}; await 10 is ActiveState active"
on '[ "$(curl -fs $url/logs/orders/records/0)" = kept ]; is_kept upgraded'
on 'systemctl stop wald wald.socket; wald verify /var/lib/wald; systemctl start wald.socket wald'
on 'cp /usr/bin/wald /usr/local/bin/; cp /lib/systemd/system/wald.service /root/'
on 'rm /etc/wald/tokens; apt-get -q -y purge wald'
it_is '! -e /var/lib/wald -a ! -e /etc/wald'
on 'id wald'
on '! systemctl list-units --all --plain --no-legend "wald*" | grep .'
on '! find /etc /lib /run /usr /var -xdev -name "*wald*" -not -path "/var/cache/*" \
    -not -path "/var/log/*" -not -path "/usr/local/*" | grep .'
on 'systemctl --failed --plain --no-legend | diff - /root/failed'
echo 'ok: upgraded, removed and purged'

# ---- without the package ----

on 'userdel wald; install -D -m 0644 /root/wald.conf /etc/wald/wald.conf
    sed "s|/usr/bin/wald|/usr/local/bin/wald|; s/^User=.*/DynamicUser=yes/; /^Group=/d" /root/wald.service \
        >/etc/systemd/system/wald.service; systemctl daemon-reload; systemctl enable --now wald'
on 'able; curl -fs --data-binary anew $url/logs/orders; systemctl restart wald'
on '[ "$(curl -fs $url/logs/orders/records/0)" = anew ]; [ "$(stat -c %a /var/lib/private/wald)" = 700 ]'
echo 'ok: by hand, for a user of the moment'
failed=no
echo passed
