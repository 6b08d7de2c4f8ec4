# shellcheck shell=bash
# What the tests with containers share: an engine of their own, in a folder of their own, and Debian's
# base image made here, since there may be no registry to take it from. Their first argument is the
# folder; needs root.
set -euo pipefail

mkdir -p "$1"
folder=$(cd "$1" && pwd)
root=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
engine=''
engine_exec='' # for sockets, whose paths have to be short
engine_pid=''
network=''

die()
{
    echo "FAILED: $*"
    exit 1
}

skip()
{
    echo "skipped: $*"
    exit 77
}

# docker ARGUMENT...: Debian's client, which comes with the engine, before any other of the machine;
# and nothing of what the user has set for his own.
docker()
{
    local client=docker
    [ ! -x /usr/bin/docker ] || client=/usr/bin/docker
    DOCKER_HOST=unix://$engine_exec/docker.sock DOCKER_CONFIG=$engine/client DOCKER_CONTEXT='' \
        command "$client" "$@"
}

# Everything that engine_start() began ends, whatever happened in between.
engine_stop()
{
    local ids
    if [ -n "$engine_pid" ]; then
        ids=$(docker ps -aq 2>/dev/null || true)
        # shellcheck disable=SC2086 # one word for each container
        [ -z "$ids" ] || docker rm -f -v $ids >/dev/null 2>&1 || true
        [ -z "$network" ] || docker network rm "$network" >/dev/null 2>&1 || true
        kill -TERM "$engine_pid" 2>/dev/null || true
        wait "$engine_pid" 2>/dev/null || true
    fi
    if [ -n "$engine" ]; then
        umount -l "$engine_exec/netns/default" 2>/dev/null || true
        ! grep -q " $engine/data " /proc/mounts || umount -l "$engine/data" || true
        rm -rf "$engine" "$engine_exec" || true
    fi
}

# A docker that leaves no rules, no forwarding and no bridge of its own on the machine. Skips the test
# where it cannot run, as in a container without rights.
engine_start()
{
    [ "$(id -u)" -eq 0 ] || skip 'an engine of our own wants root'
    command -v dockerd >/dev/null || skip 'there is no dockerd here (Debian: docker.io)'
    engine=$(mktemp -d "$folder/engine.XXXXXX")
    engine_exec=$(mktemp -d "${TMPDIR:-/tmp}/wald.XXXXXX")
    trap engine_stop EXIT
    mkdir "$engine/client"
    setsid dockerd --data-root "$engine/data" --exec-root "$engine_exec" \
        --pidfile "$engine/dockerd.pid" -H "unix://$engine_exec/docker.sock" \
        --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --bridge=none \
        >"$engine/log" 2>&1 &
    engine_pid=$!
    for _ in $(seq 300); do
        if docker version >/dev/null 2>&1; then
            echo "engine: docker $(docker version --format '{{.Server.Version}}'), storage" \
                "$(docker info --format '{{.Driver}}, seccomp {{.SecurityOptions}}')"
            return
        fi
        kill -0 "$engine_pid" 2>/dev/null || break
        sleep 0.1
    done
    skip "dockerd does not start here: $(tail -n 2 "$engine/log")"
}

# Where this machine gets Debian from, so that a mirror set up here is used in containers as well: by the
# lists that apt has fetched, or by what it would fetch; or nothing.
mirror()
{
    {
        # shellcheck disable=SC2016 # apt's variables
        apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(COMPONENT) $(CREATED_BY) $(REPO_URI)' |
            sed -n 's|^Debian bookworm main Packages ||p'
        apt-get update --print-uris |
            sed -n "s|^'\([^']*/debian/\)dists/bookworm/main/binary-[^/]*/Packages.*|\1|p"
    } 2>/dev/null | sed -n 1p
}

# make_base FILE: the smallest Debian 12 that apt works in, as an archive. As in the official image, apt
# keeps no copies of what it installs, and there are no manuals and translations.
make_base()
{
    local tree=$engine/base uri
    command -v debootstrap >/dev/null || die 'there is no debootstrap'
    uri=$(mirror) || true
    [ -n "$uri" ] || skip 'apt on this machine knows no Debian 12 (bookworm, main) to make a base from'
    debootstrap --variant=minbase bookworm "$tree" "$uri" >"$engine/debootstrap.log" 2>&1 ||
        die "debootstrap: $(tail -n 3 "$engine/debootstrap.log")"
    rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/* \
        "$tree"/usr/share/man/* "$tree"/usr/share/locale/* "$tree"/usr/share/doc/*/changelog*
    cat >"$tree/etc/apt/apt.conf.d/docker-clean" <<'END'
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
END
    tar -C "$tree" -c . >"$1.new"
    mv "$1.new" "$1"
    rm -rf "$tree"
}

# base_image: puts Debian's base image into the engine, under its official name.
base_image()
{
    local archive=$folder/debian-bookworm.tar
    [ -s "$archive" ] || make_base "$archive"
    docker import -c 'CMD ["bash"]' "$archive" debian:bookworm-slim >/dev/null
}

# builder: 1 where the client has BuildKit, which leaves out what a target does not need; else 0, the old
# one. Both have to manage.
builder()
{
    if DOCKER_BUILDKIT=1 docker build --help >/dev/null 2>&1; then
        echo 1
    else
        echo 0
    fi
}

# build TAG ARGUMENT...: the Dockerfile, unchanged, with the builder that DOCKER_BUILDKIT names. The
# network of the machine is only for apt.
build()
{
    local tag=$1 name
    shift
    for name in http_proxy https_proxy no_proxy; do
        [ -z "${!name-}" ] || set -- --build-arg "$name=${!name}" "$@"
    done
    docker build --network=host -f "$root/docker/Dockerfile" -t "$tag" "$@" "$root" \
        >"$engine/build.log" 2>&1 || die "docker build $*: $(tail -n 30 "$engine/build.log")"
}
