#!/bin/bash
# shellcheck disable=SC2016 # much is for the shell of the machine
# The Debian package: lintian finds nothing, and on a bare Debian it is installed, serves, is upgraded,
# removed and purged, with the logs in each case where they should be.
#
#   deb.sh FOLDER BUILD      the folder where the program has been built for release
# shellcheck source=tests/package/package.sh
. "${0%/*}/package.sh" "$@"
command -v lintian >/dev/null || skip 'there is no lintian'

package_build packages
lintian --allow-root --fail-on error,warning "$deb" >"$folder/lintian.log" 2>&1 ||
    die "lintian: $(cat "$folder/lintian.log")"

repack 0.1.0-2 'chmod 0777 usr/bin/wald'
! lintian --allow-root --fail-on error,warning "$packages/wald_0.1.0-2.deb" >"$folder/planted.log" 2>&1 ||
    die "lintian does not see a program that everybody may change: $(cat "$folder/planted.log")"
repack 0.1.0-2 'echo "# of the second" >>etc/wald/wald.conf'
echo 'ok: lintian'

engine_start
base_image
docker run -d --name machine --network host -v "$packages:/packages:ro" debian:bookworm-slim sleep infinity >/dev/null

serve()
{
    on 'rm -f /tmp/events'
    docker exec -d machine sh -c 'exec setpriv --reuid=wald --regid=wald --clear-groups \
        wald serve --config /etc/wald/wald.conf --listen 127.0.0.1:0 2>/tmp/events'
    on 'for i in $(seq 300); do ! grep -qs event=ready /tmp/events || exit 0; sleep 0.1; done; cat /tmp/events; exit 1'
    url=$(docker exec machine sed -n 's/.*event=ready listen=\([^ ]*\) .*/http:\/\/\1/p' /tmp/events)
    on "grep -q sandbox=privileges,dumps,files,calls,ring /tmp/events"
}
stop()
{
    on 'kill -TERM $(sed -n "s/.* pid=//p" /tmp/events)
        for i in $(seq 300); do grep -q event=stopped /tmp/events && exit; sleep 0.1; done; exit 1'
}

on "apt-get -q update && apt-get -q -y install --no-install-recommends /packages/${deb##*/}"
it_is '"$(stat -c "%U %a" /var/lib/wald)" = "wald 700"'
it_is '-s /lib/systemd/system/wald.service'
it_is '-s /usr/share/bash-completion/completions/wald'
on 'wald --version && wald doctor --json /var/lib/wald || [ $? -eq 1 ]'
serve
[ "$(curl -fs --data-binary kept "$url/logs/orders" | jq -r .durability)" = committed ] || die 'an append'
stop
on 'echo "# of the administrator" >>/etc/wald/wald.conf'
on 'DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i /packages/wald_0.1.0-2.deb'
on 'grep -q "of the administrator" /etc/wald/wald.conf'
serve
[ "$(curl -fs "$url/logs/orders/records/0")" = kept ] || die 'an upgrade lost a record'
stop
on 'dpkg -r wald'
it_is '! -e /usr/bin/wald'
it_is '! -e /lib/systemd/system/wald.service'
it_is '-s /etc/wald/wald.conf'
it_is '-d /var/lib/wald/logs/orders'
on 'DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i /packages/wald_0.1.0-2.deb'
serve
[ "$(curl -fs "$url/logs/orders/records/0")" = kept ] || die 'a removal lost a record'
stop
on 'dpkg -P wald'
it_is '! -e /var/lib/wald'
it_is '! -e /etc/wald'
on '! find / -xdev -path /proc -prune -o -name "*wald*" -not -path "/packages/*" -not -path "/var/lib/dpkg/*" \
    -not -path "/tmp/*" -not -path "/var/log/*" -not -path "/var/cache/*" -print | grep .'
echo passed
