#!/bin/bash
# npm.sh SOURCE FOLDER: installs what package-lock.json names, and nothing else, below FOLDER, and puts
# the scripts of SOURCE that use it there. Nothing is written into the source tree, and no script of a
# package is run. With NPM_REQUIRED=1, as scripts/test has it, what is missing is a failure and no skip.
set -euo pipefail

source=$1
folder=$2

# lacking REASON
lacking()
{
    if [ "${NPM_REQUIRED:-0}" = 1 ]; then
        echo "FAILED: $1"
        exit 1
    fi
    echo "skipped: $1"
    exit 77
}

command -v node >/dev/null || lacking 'there is no node; apt-get install nodejs npm'
command -v npm >/dev/null || lacking 'there is no npm; apt-get install nodejs npm'

mkdir -p "$folder"
# What is there stays only while it is what the lock names.
if ! cmp -s "$source/package-lock.json" "$folder/installed"; then
    rm -rf "$folder/node_modules" "$folder/installed"
    cp "$source/package.json" "$source/package-lock.json" "$folder/"
    if ! (cd "$folder" && timeout 240 npm ci --ignore-scripts --no-audit --no-fund \
        --no-update-notifier </dev/null); then
        lacking "npm could not install $source/package-lock.json; is the registry reachable?"
    fi
    cp "$source/package-lock.json" "$folder/installed"
fi
cp "$source"/*.mjs "$folder/"
echo "node $(node --version), npm $(npm --version 2>/dev/null)"
