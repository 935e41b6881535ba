#!/usr/bin/env bash
# Sets up Ray Serve beneath runs/ray-serve, in an environment of its own. Instant when nothing changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python="${1:?usage: setup.sh PYTHON}"
there="${ONLOOKER_TEST_RAY:-runs/ray-serve}"
mkdir -p "$(dirname "$there")"

if ! cmp -s pyproject.toml "$there/pyproject.toml"; then
    "$python" -m venv "$there"
    "$there/bin/pip" install -q -c deploy/setup/constraints.txt -e '.[ray]'
    cp pyproject.toml "$there/pyproject.toml"
fi
