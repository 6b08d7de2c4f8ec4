#!/bin/bash
# README's two commands, in a Debian 12 with nothing in it: no compiler, no git, no sudo, no locale.
# scripts/run installs, builds and serves, and curl from outside is answered; scripts/test installs what
# it needs and tests.
#
#   fresh_machine.sh FOLDER [--whole]
#
# All of scripts/test takes most of an hour there, so it is the unit tests that are run, under one
# preset; --whole runs all of it.
# shellcheck source=tests/docker/engine.sh
. "${0%/*}/engine.sh" "$@"

slice=(--preset debug -L unit)
[ "${2-}" != --whole ] || slice=()
started=''

cleanup()
{
    [ -z "$started" ] || kill "$started" 2>/dev/null || true
    engine_stop
}

# checkout: the files of this project as an archive, and none of what was built from them.
checkout()
{
    if git -c safe.directory='*' -C "$root" rev-parse HEAD >/dev/null 2>&1; then
        git -c safe.directory='*' -C "$root" archive --prefix=wald/ HEAD
    else
        tar -C "$root" --exclude=./build --exclude=./data --transform='s|^\.|wald|' -c .
    fi
}

engine_start
trap cleanup EXIT
base_image
docker run -d --name fresh --network host debian:bookworm-slim sleep infinity >/dev/null
docker exec fresh sh -c '! command -v gcc && ! command -v git && ! command -v sudo && ! command -v curl' \
    >/dev/null || die 'this machine is not fresh'
checkout | docker cp - fresh:/

docker exec fresh /wald/scripts/run --listen 127.0.0.1:0 >"$folder/run.log" 2>&1 &
started=$!
for _ in $(seq 1200); do
    ! grep -q 'event=ready' "$folder/run.log" || break
    kill -0 "$started" 2>/dev/null || die "scripts/run: $(tail -n 20 "$folder/run.log")"
    sleep 0.5
done
ready=$(grep 'event=ready' "$folder/run.log") || die "scripts/run: $(tail -n 20 "$folder/run.log")"
url=${ready##* listen=}
url=http://${url%% *}
pid=${ready##* pid=}
[ "$(curl -fs --data-binary hello "$url/logs/greetings" | jq -r '"\(.offset) \(.durability)"')" = \
    '0 committed' ] || die 'the append was not answered as README says'
[ "$(curl -fs "$url/logs/greetings/records/0")" = hello ] || die 'the record is not there'
docker exec fresh sh -c "kill -TERM ${pid%%[!0-9]*}"
wait "$started" || die "scripts/run: exit status $?"
started=''
docker exec fresh test -d /wald/data/logs/greetings || die 'the data is not in ./data'
echo 'ok: scripts/run'

docker exec fresh /wald/scripts/test "${slice[@]}" >"$folder/test.log" 2>&1 ||
    die "scripts/test ${slice[*]}: $(tail -n 60 "$folder/test.log")"
tail -n 1 "$folder/test.log" | grep -q '^[1-9][0-9]* passed, 0 failed' ||
    die "scripts/test ${slice[*]}: $(tail -n 1 "$folder/test.log")"
echo "ok: scripts/test ${slice[*]}: $(tail -n 1 "$folder/test.log")"
echo passed
