#!/bin/bash
# The image as users get it: built from the unchanged Dockerfile, run by a real engine with default
# flags, with hardened ones and where io_uring is refused in each of the ways in which runtimes do it.
# What was acknowledged is there after a docker kill, the service says truly how it writes, turns
# healthy, and stops in good order. What keeps it from starting is told in one sentence.
#
#   containers.sh FOLDER [--whole]
#
# The folder is on a disk, and keeps Debian's base for the next time. With --whole it is also built with
# Docker's old builder, which makes every target, and so runs the unit tests.
# shellcheck source=tests/docker/engine.sh
. "${0%/*}/engine.sh" "$@"

failed=yes

name=''
url=''
writer=''
volume_mount=''

cleanup()
{
    [ -z "$writer" ] || kill "$writer" 2>/dev/null || true
    if [ "$failed" = yes ] && [ -n "$name" ]; then
        echo "--- what $name said last:"
        docker logs --tail 20 "$name" 2>&1 || true
    fi
    [ -z "$volume_mount" ] || umount -l "$volume_mount" || true
    engine_stop
}

# run IMAGE FLAG...: a container on the volume, and its address in `url`.
count=0
run()
{
    local image=$1 port
    shift
    count=$((count + 1))
    name=wald-$count
    docker run -d --name "$name" --network "$network" -p 127.0.0.1::8080 "$@" "$image" \
        >"$engine/out" 2>&1 || die "$image $*: $(cat "$engine/out")"
    port=$(docker port "$name" 8080/tcp | head -n 1)
    url=http://$port
    for _ in $(seq 200); do
        ! curl -fs "$url/readyz" >/dev/null 2>&1 || return 0
        sleep 0.05
    done
    die "$image $*: not ready"
}

# write LOG: appends without end, one after the other. Those that were acknowledged go to a file, by
# offset.
write()
{
    local number=0 offset
    while offset=$(curl -fs --max-time 10 --data-binary "record $1 $number" "$url/logs/$1" 2>/dev/null |
        jq -r .offset) && [ -n "$offset" ]; do
        echo "$offset record $1 $number" >>"$engine/$1.acknowledged"
        number=$((number + 1))
    done
}

# write_some LOG: until 20 more are acknowledged; the writer goes on.
write_some()
{
    local file=$engine/$1.acknowledged
    : >"$file"
    write "$1" &
    writer=$!
    for _ in $(seq 600); do
        [ "$(wc -l <"$file")" -lt 20 ] || return 0
        sleep 0.05
    done
    die "only $(wc -l <"$file") appends to $1 in 30 s"
}

write_end()
{
    wait "$writer" || true
    writer=''
}

# lost LOG: what was acknowledged and is not there, byte for byte, at its offset.
lost()
{
    curl -fs "$url/logs/$1/records?offset=0&limit=1000" | jq -r '"\(.offset) \(.data)"' |
        sort >"$engine/kept"
    sort "$engine/$1.acknowledged" | comm -23 - "$engine/kept"
}

expect_kept()
{
    [ -z "$(lost "$1")" ] || die "acknowledged, and not there: $(lost "$1" | head -n 5)"
}

# expect_backend BACKEND REASON: the line of its start, /stats and /metrics say the same.
expect_backend()
{
    local stats metric
    docker logs "$name" 2>&1 | grep -q "event=ready .* backend=$1 reason=\"$2" ||
        die "the line of the start: wanted $1, $2: $(docker logs "$name" 2>&1)"
    stats=$(curl -fs "$url/stats" | jq -r '.. | objects | select(has("backend")) | .backend, .reason')
    [ "$(echo "$stats" | head -n 1)" = "$1" ] || die "/stats: wanted $1: $stats"
    echo "$stats" | sed 1d | grep -q "^$2" || die "/stats: wanted $2: $stats"
    metric=$(curl -fs "$url/metrics" | grep 'backend="')
    echo "$metric" | grep -q "backend=\"$1\".*reason=\"$2" || die "/metrics: wanted $1, $2: $metric"
}

# expect_sandbox: whatever list the runtime has, the service gives up all that the kernel knows of.
expect_sandbox()
{
    docker logs "$name" 2>&1 | grep -q "event=ready .* sandbox=$sandbox " ||
        die "the line of the start: wanted $sandbox: $(docker logs "$name" 2>&1)"
}

expect_healthy()
{
    local health
    for _ in $(seq 300); do
        health=$(docker inspect -f '{{.State.Health.Status}}' "$name")
        [ "$health" != healthy ] || return 0
        sleep 0.1
    done
    die "health: $health: $(docker inspect -f '{{json .State.Health}}' "$name")"
}

# expect_stop: while appends and a reader who waits are under way. Status 137 would be that the grace
# was not enough.
expect_stop()
{
    local reader status
    curl -s --max-time 25 "$url/logs/$1/records?offset=1000000&wait=20s" >/dev/null 2>&1 &
    reader=$!
    docker stop "$name" >/dev/null
    status=$(docker inspect -f '{{.State.ExitCode}}' "$name")
    [ "$status" -eq 0 ] || die "docker stop: exit status $status"
    docker logs "$name" 2>&1 | grep -q 'event=stopped' || die 'no event=stopped'
    wait "$reader" || true
    write_end
}

# scenario TITLE IMAGE BACKEND REASON FLAG...
scenario()
{
    local title=$1 image=$2 backend=$3 reason=$4 volume
    shift 4
    volume=volume-$count
    docker volume create "$volume" >/dev/null
    set -- -v "$volume:/data" "$@"

    run "$image" "$@"
    expect_backend "$backend" "$reason"
    expect_sandbox
    write_some killed
    docker kill "$name" >/dev/null
    write_end
    docker rm "$name" >/dev/null

    run "$image" "$@"
    expect_backend "$backend" "$reason"
    expect_kept killed
    (curl -sN --max-time 2 -H 'Accept: text/event-stream' "$url/logs/killed/records?offset=0" || true) |
        grep -q 'record killed 0' || die 'a follower hears nothing'
    expect_healthy
    write_some stopped
    expect_stop stopped
    docker rm "$name" >/dev/null

    run "$image" "$@"
    expect_kept killed
    expect_kept stopped
    echo '0 never sent' >>"$engine/stopped.acknowledged"
    [ "$(lost stopped)" = '0 never sent' ] || die 'a record that was lost is not noticed'
    docker rm -f "$name" >/dev/null
    name=''
    docker volume rm "$volume" >/dev/null
    echo "ok: $title: $backend: $reason"
}

# fails TEXT FLAG...: a container that ends by itself with status 1 and one line, which has this text.
fails()
{
    local text=$1 status
    shift
    docker run -d --name refused "$@" >"$engine/out" 2>&1 ||
        die "$*: $(cat "$engine/out")"
    status=$(docker wait refused)
    docker logs refused >"$engine/out" 2>&1
    docker rm -v refused >/dev/null
    [ "$status" -eq 1 ] || die "$*: exit status $status: $(cat "$engine/out")"
    [ "$(wc -l <"$engine/out")" -eq 1 ] || die "$*: not one line: $(cat "$engine/out")"
    grep -q -- "event=start_failed reason=\".*$text" "$engine/out" ||
        die "$*: wanted $text, got $(cat "$engine/out")"
    echo "ok: $(sed 's/.*reason=//' "$engine/out")"
}

size_of()
{
    docker image inspect -f '{{.Size}}' "$1"
}

# ---- the images ----

engine_start
trap cleanup EXIT
base_image
DOCKER_BUILDKIT=$(builder)
export DOCKER_BUILDKIT
build wald --build-arg VERSION=9.8.7 --build-arg REVISION=abc
build wald:scratch --target scratch
if [ "${2-}" = --whole ]; then
    DOCKER_BUILDKIT=0 build wald:old
    build wald:test --target test
fi
docker network create wald-test >/dev/null
network=wald-test

echo "sizes: debian:bookworm-slim $(size_of debian:bookworm-slim)," \
    "runtime $(size_of wald), scratch $(size_of wald:scratch) bytes"
[ "$(size_of wald:scratch)" -le 12000000 ] || die 'scratch is larger than 12 MB'
for image in wald wald:scratch; do
    inspected=$(docker image inspect "$image" | jq -r '.[0].Config |
        "\(.User) \(.StopSignal) \(.Volumes | keys[]) \(.ExposedPorts | keys[]) \(.Healthcheck.Test[1])"')
    [ "$inspected" = '10001:10001 SIGTERM /data 8080/tcp /usr/local/bin/wald' ] ||
        die "$image: $inspected"
done
[ "$(docker image inspect -f '{{index .Config.Labels "org.opencontainers.image.version"}}' wald)" = \
    9.8.7 ] || die 'no label with the version'
docker run --rm --network none --entrypoint /usr/bin/ldd wald /usr/local/bin/wald | grep -q 'not found' &&
    die 'a library is missing'

# ---- each way to run them ----

sandbox=privileges,dumps,files,calls,ring
[ "$(docker run --rm --network none --security-opt seccomp=unconfined --entrypoint wald wald doctor --json /data |
    jq -r '.checks[] | select(.name == "sandbox files") | .ok')" = true ] || sandbox=privileges,dumps,calls,ring

# What a runtime does to io_uring, and nothing else.
refusing()
{
    cat >"$engine/$1.json" <<END
{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
    "names": ["io_uring_setup", "io_uring_enter", "io_uring_register"],
    "action": "SCMP_ACT_ERRNO", "errnoRet": $2}]}
END
}
refusing EPERM 1
refusing ENOSYS 38

hardened=(--read-only --cap-drop=ALL --security-opt no-new-privileges
    --security-opt "seccomp=$root/docker/seccomp.json" --pids-limit 64)
quick=(--health-interval 1s)

# Engines from 25 on refuse io_uring by default.
case $(docker version --format '{{.Server.Version}}') in
1?.* | 20.* | 23.* | 24.*)
    scenario 'default flags' wald uring 'io_uring with'
    ;;
*)
    scenario 'default flags' wald posix 'system calls with .*; io_uring_setup: EPERM; seccomp forbids'
    ;;
esac
scenario 'hardened, our profile' wald uring 'io_uring with' "${hardened[@]}" "${quick[@]}"
scenario 'scratch, hardened, our profile' wald:scratch uring 'io_uring with' \
    "${hardened[@]}" "${quick[@]}"
scenario 'io_uring refused with EPERM, as Docker does' wald posix \
    'system calls with .*; io_uring_setup: EPERM; seccomp forbids it (container runtimes' \
    --security-opt "seccomp=$engine/EPERM.json" "${quick[@]}"
scenario 'io_uring refused with ENOSYS, as podman does' wald posix \
    'system calls with .*; io_uring_setup: ENOSYS; seccomp hides it' \
    --security-opt "seccomp=$engine/ENOSYS.json" "${quick[@]}"
scenario 'no locked memory' wald posix \
    'system calls with .*; io_uring_setup: ENOMEM; locked memory limit 0 KiB' \
    --ulimit memlock=0:0 "${quick[@]}"
scenario 'a limit of 16 processes' wald uring 'io_uring with' --pids-limit 16 "${quick[@]}"

# ---- the commands that talk to the service beside them ----

run wald "${hardened[@]}"
[ "$(echo 'from inside' | docker exec -i "$name" wald append told)" = 0 ] || die 'wald append'
[ "$(docker exec "$name" wald read told)" = 'from inside' ] || die 'wald read'
docker rm -fv "$name" >/dev/null
run wald:scratch
status=0
docker exec "$name" /usr/local/bin/wald ls >"$engine/out" 2>&1 || status=$?
[ "$status" -eq 71 ] || die "wald ls in scratch: exit status $status: $(cat "$engine/out")"
grep -q 'cannot be loaded: .* package libcurl3-gnutls' "$engine/out" || die "$(cat "$engine/out")"
docker rm -fv "$name" >/dev/null
echo 'ok: the commands work in runtime, and say what scratch does not have'

# ---- the monitoring that is shipped, on a container ----

run wald "${hardened[@]}"
status=0
"$root/tests/deploy/monitoring.sh" "$engine" "$url" >"$engine/out" 2>&1 || status=$?
[ "$status" -eq 0 ] || die "monitoring.sh: exit status $status: $(tail -n 20 "$engine/out")"
docker rm -fv "$name" >/dev/null
echo "ok: $(tail -n 1 "$engine/out"), in a container"

# ---- what keeps it from starting ----

mkdir "$engine/bind"
fails 'Permission denied; this process is uid 10001, gid 10001, and the directory belongs to uid 0, gid 0, mode 0755: .*chown -R 10001:10001.*--user.*fsGroup: 10001' \
    -v "$engine/bind:/data" wald
chown 10001:10001 "$engine/bind"
run wald -v "$engine/bind:/data"
[ "$(curl -s -o /dev/null -w '%{http_code}' -H 'Host: logs.example' -d x "$url/logs/a")" = 200 ] ||
    die 'another name than that of the loopback is not answered'
docker rm -f "$name" >/dev/null

docker volume create read-only >/dev/null
fails 'Read-only file system; .*mount it for writing' -v read-only:/data:ro wald
fails 'Read-only file system; .*mount it for writing' "${hardened[@]}" -v read-only:/data:ro wald

truncate -s 8M "$engine/image"
mkfs.ext4 -q -m 0 "$engine/image"
mkdir "$engine/full"
mount -o loop "$engine/image" "$engine/full"
volume_mount=$engine/full
mkdir "$engine/full/data"
chown 10001:10001 "$engine/full/data"
for size in 64k 4k 1k; do
    dd if=/dev/zero of="$engine/full/filler" bs="$size" oflag=direct,append conv=notrunc \
        status=none 2>/dev/null || true
done
fails 'No space left on device; .*make room' -v "$engine/full/data:/data" wald
rm "$engine/full/filler"
run wald -v "$engine/full/data:/data" -e WALD_SPACE_FLOOR=0KiB
docker rm -f "$name" >/dev/null
umount "$engine/full"
volume_mount=''

run wald
fails 'Address already in use: stop what listens there, or choose another port' \
    --network host -e "WALD_LISTEN=${url#http://}" wald
docker rm -f "$name" >/dev/null
fails 'no thread can be started: raise the limit of processes' --pids-limit 1 wald
fails 'this directory is in memory (tmpfs or ramfs)' --tmpfs /data wald
fails 'io_uring_setup: EPERM; seccomp forbids it .*; --io auto would take plain system calls' \
    --security-opt "seccomp=$engine/EPERM.json" wald serve --io uring

# A container that is not ready is not healthy, and says why.
run wald "${quick[@]}" --health-retries 1
docker rm -f "$name" >/dev/null
docker run -d --name unready "${quick[@]}" --health-retries 1 --health-start-period 0s \
    -e WALD_SPACE_FLOOR=1TiB wald >/dev/null
for _ in $(seq 300); do
    [ "$(docker inspect -f '{{.State.Health.Status}}' unready)" != unhealthy ] || break
    sleep 0.1
done
docker inspect -f '{{json .State.Health}}' unready | grep -q '"unhealthy".*503: space: [0-9]* bytes' ||
    die "not unhealthy: $(docker inspect -f '{{json .State.Health}}' unready)"
name=''
failed=no
echo passed
