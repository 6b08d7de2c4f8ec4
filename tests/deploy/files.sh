#!/bin/bash
# The files of docker/ and deploy/ by the linters there are: YAML as such, the Dockerfile, compose.yaml
# against its schema and what it mounts, the manifests against Pod Security, each other and the API's
# types.
#
#   files.sh FOLDER WALD
#
# Some linters come from npm, as tests/npm.sh installs them. Where they cannot be installed the test is
# skipped once all else has passed; with NPM_REQUIRED=1, as scripts/test has it, it fails.
# shellcheck source=tests/deploy/lib.sh
. "${0%/*}/lib.sh" "$1"
here=$root/tests/deploy
wald=$2
packages=$1/npm
export PYTHONDONTWRITEBYTECODE=1

yamllint --strict --config-file "$root/tests/openapi/yamllint.yaml" \
    "$root/docker" "$root/deploy" "$here/rules_test.yml" || die 'see above'

python3 "$here/compose.py" "$root" || die 'see above'
python3 "$here/compose.py" "$root" --prove || die 'compose.py sees too little'
python3 "$here/kubernetes.py" "$root" "$wald" || die 'see above'
python3 "$here/kubernetes.py" "$root" "$wald" --prove || die 'kubernetes.py sees too little'
python3 "$here/kubernetes.py" "$root" "$wald" --print >"$work/built.json"

# ---- by npm ----

echo 'what needs no npm has passed'
"$root/tests/npm.sh" "$here" "$packages"

# types FILE...: what kubernetes.py printed, by the types of the API; what they say: $work/types.
types()
{
    local file
    rm -f "$packages"/*.ts
    for file in "$@"; do
        node "$packages/kubernetes.mjs" "$file" >"$packages/$(basename "$file" .json).ts"
    done
    (cd "$packages" && node node_modules/typescript/bin/tsc --noEmit --strict --skipLibCheck \
        --module esnext --moduleResolution bundler ./*.ts) >"$work/types"
}
types "$work/built.json" || die "$(cat "$work/types")"
mistakes=0
for mistake in 's/"serviceName"/"servicesName"/' 's/"maxUnavailable"/"maxUnavailabel"/' \
    's/"containerPort": 8080/"containerPort": "8080"/' 's/"periodSeconds"/"periodsSeconds"/'; do
    mistakes=$((mistakes + 1))
    sed "$mistake" "$work/built.json" >"$work/mistake$mistakes.json"
done
! types "$work"/mistake?.json || die 'the types see nothing'
seen=$(grep -o '^mistake.\.ts' "$work/types" | sort -u | wc -l)
[ "$seen" -eq "$mistakes" ] || die "of $mistakes mistakes the types see $seen: $(cat "$work/types")"

dclint()
{
    node "$packages/node_modules/dclint/bin/dclint.cjs" --config "$here/dclint.json" \
        --max-warnings 0 "$1" >"$work/dclint" 2>&1
}
dclint "$root/docker/compose.yaml" || die "$(cat "$work/dclint")"
sed 's/mem_limit/memory_limit/' "$root/docker/compose.yaml" >"$work/compose.yaml"
! dclint "$work/compose.yaml" || die 'dclint sees nothing'

dockerfile()
{
    node "$packages/node_modules/dockerfile-utils/bin/dockerfile-utils" lint "$1" \
        >"$work/dockerfile" 2>&1
}
dockerfile "$root/docker/Dockerfile" || die "$(cat "$work/dockerfile")"
sed 's/^EXPOSE 8080/EXPOSE port/' "$root/docker/Dockerfile" >"$work/Dockerfile"
! dockerfile "$work/Dockerfile" || die 'dockerfile-utils sees nothing'
echo passed
