# shellcheck shell=bash
# What the tests of the Debian package share: the package, others made from it, and a container called
# "machine" on which they are installed.
#
# Their arguments are a folder, and the one where the program has been built for release.
build=$(realpath "$2")
# shellcheck source=tests/docker/engine.sh
. "${BASH_SOURCE[0]%/*}/../docker/engine.sh" "$1"

for program in cpack dpkg-deb dpkg-shlibdeps; do
    command -v "$program" >/dev/null || skip "there is no $program"
done
[ "$(id -u)" -eq 0 ] || skip 'a package is installed by root'

# package_build NAME: makes it, `deb`, in a folder with this name, `packages`.
package_build()
{
    packages=$folder/$1
    rm -rf "$packages"
    (umask 0027 && cd "$build" && cpack -G DEB -B "$packages" >"$folder/cpack.log" 2>&1) ||
        die "cpack: $(tail -n 20 "$folder/cpack.log")"
    deb=$(find "$packages" -maxdepth 1 -name 'wald_*.deb')
    [ -f "$deb" ] || die "cpack made no package: $(tail -n 20 "$folder/cpack.log")"
}

# repack VERSION COMMAND: another package, changed by a command in its unpacked folder.
repack()
{
    local tree=$packages/tree
    rm -rf "$tree"
    dpkg-deb -R "$deb" "$tree"
    sed -i "s/^Version: .*/Version: $1/" "$tree/DEBIAN/control"
    (cd "$tree" && eval "$2")
    dpkg-deb --root-owner-group -b "$tree" "$packages/wald_$1.deb" >/dev/null
}

prelude='' # of each command on the machine

# on COMMAND: runs it on the machine; it ends with the first of its commands that fails.
on()
{
    docker exec machine sh -ec "$prelude$1" >"$folder/on.log" 2>&1 || die "$1: $(tail -n 20 "$folder/on.log")"
}

# it_is CONDITION: of test(1), there.
it_is()
{
    docker exec machine sh -c "test $1" || die "not so: $1"
}
