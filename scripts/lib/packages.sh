# shellcheck shell=sh
# packages_install NAME...: makes sure that these Debian packages are there. To be sourced.
#
# When nothing is missing it needs neither root nor a network.
packages_install()
{
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        echo "not a Debian system: assuming that what these packages hold is there: $*" >&2
        return 0
    fi

    missing=''
    for package in "$@"; do
        # shellcheck disable=SC2016 # dpkg-query's variable, not the shell's
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
        *' installed') ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0

    as_root=''
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "missing packages, and neither root nor sudo to install them:$missing" >&2
            return 1
        fi
        as_root=sudo
    fi

    echo "installing:$missing" >&2
    # A machine just started may still be running apt by itself: wait for its lock.
    $as_root apt-get -q -o DPkg::Lock::Timeout=300 update || return
    # shellcheck disable=SC2086 # one word for each package
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends $missing
}
