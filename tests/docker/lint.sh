#!/bin/bash
# docker/ stays plain: a Dockerfile that Docker's old builder, BuildKit and podman read alike, which
# brings nothing but Debian packages and pins no architecture; scripts without complaints; a list of
# system calls that is JSON and forbids what it does not name. And each rule is seen to be able to fail.
set -euo pipefail
root=$(cd "${0%/*}/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# lint FILE: what is wrong with a Dockerfile.
lint()
{
    grep -nE '^# *syntax=|<<|--link|--start-interval|--chmod|--mount=|--platform=|TARGETARCH' "$1" &&
        echo 'not for every builder'
    grep -nEi 'amd64|x86_64|arm64|aarch64' "$1" && echo 'names an architecture'
    grep -nE '^ADD|curl |wget |git clone|pip3? |npm ' "$1" && echo 'fetches something else than packages'
    grep -nE '^FROM [a-z]' "$1" | grep -vE 'FROM (scratch|build|libraries) AS' &&
        echo 'a base that BASE_IMAGE does not choose'
    grep -nE '^(CMD|ENTRYPOINT) [^[]' "$1" && echo 'wants a shell'
    [ "$(grep -c 'apt-get update' "$1")" -eq "$(grep -c 'rm -rf /var/lib/apt/lists' "$1")" ] ||
        echo 'leaves lists of apt behind'
    grep '^USER' "$1" | grep -qvE '^USER 10001:10001$' && echo 'another user'
    [ "$(sed -n '/ AS scratch$/,$p' "$1" | grep -cE '^(USER|VOLUME|STOPSIGNAL|HEALTHCHECK)')" -eq 8 ] ||
        echo 'scratch or runtime has no user, volume, signal or health check'
    # What scripts/build installs, in one list there and in another here.
    sed -n '/^packages_install/,/[^\\]$/p' "$root/scripts/build" | grep -oE '[a-z0-9.+-]+' |
        grep -vx 'install' | sort -u >"$work/wanted"
    grep -oE '[a-z0-9.+-]+' "$1" | sort -u | comm -13 - "$work/wanted" |
        grep -vx 'packages' && echo 'lacks a package of scripts/build'
    return 0
}

bad=0
for planted in 's|^ARG BASE_IMAGE=.*|# syntax=docker/dockerfile:1|' 's|^ENTRYPOINT.*|ENTRYPOINT wald|' \
    's|^FROM .* AS build|FROM alpine AS build|' 's|^USER.*|USER wald|' '/^HEALTHCHECK/d' \
    's|gcc libc6-dev|gcc:amd64 libc6-dev|' 's|&& rm -rf /var/lib.*|\&\& true|' \
    's|libinih-dev||' 's|^WORKDIR.*|ADD https://example.org/x /x|'; do
    sed "$planted" "$root/docker/Dockerfile" >"$work/Dockerfile"
    if [ -z "$(lint "$work/Dockerfile")" ]; then
        echo "not noticed: $planted"
        bad=1
    fi
done

lint "$root/docker/Dockerfile" >"$work/found"
if [ -s "$work/found" ]; then
    cat "$work/found"
    bad=1
fi
(cd "$root" && shellcheck -x docker/collect tests/docker/*.sh tests/package/*.sh tests/deploy/*.sh) || bad=1
jq -e '.defaultAction == "SCMP_ACT_ERRNO" and (.architectures | length) == 2 and
    ([.syscalls[].names[]] | (unique | length) == (map(select(. != "socket")) | length) + 1)' \
    "$root/docker/seccomp.json" >/dev/null || {
    echo 'docker/seccomp.json: names a call twice, or does not forbid the others'
    bad=1
}
[ "$bad" -eq 0 ] || exit 1
echo passed
