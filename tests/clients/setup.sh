#!/usr/bin/env bash
# Sets up the clients that others wrote, beneath runs/clients: an environment for Python, and
# node_modules where npm is there. Instant when nothing changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python="${1:?usage: setup.sh PYTHON}"
here=tests/clients
there="${ONLOOKER_TEST_CLIENTS:-runs/clients}"
mkdir -p "$there/node"

if ! cmp -s "$here/requirements.txt" "$there/requirements.txt"; then
    "$python" -m venv --clear "$there/python"
    "$there/python/bin/pip" install -q -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$there/requirements.txt"
fi

if ! cmp -s "$here/homeassistant.txt" "$there/homeassistant.txt"; then
    "$python" -m venv --clear "$there/homeassistant"
    "$there/homeassistant/bin/pip" install -q -r "$here/homeassistant.txt"
    cp "$here/homeassistant.txt" "$there/homeassistant.txt"
fi

if ! command -v npm >/dev/null; then
    echo "npm is not there: the clients for Node are left out" >&2
elif ! cmp -s "$here/node/package.json" "$there/node/package.json"; then
    rm -rf "$there/node/node_modules"
    cp "$here/node/package.json" "$there/node/package.json"
    if ! npm --prefix "$there/node" install --silent --no-audit --no-fund; then
        rm -f "$there/node/package.json" # so that the next call tries again
        exit 1
    fi
fi
cp "$here"/node/*.mjs "$there/node/"
