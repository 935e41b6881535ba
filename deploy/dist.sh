#!/usr/bin/env bash
# Proves that the package can be shipped: an sdist, a wheel made from the sdist, and that wheel in a
# clean environment, from outside the checkout, where it shows its demo without an engine, as
# `pipx run --spec dist/onlooker-*.whl onlooker demo --mode fake` does. Leaves both files in dist/.
set -euo pipefail
unset PYTHONPATH # what is tried out is the wheel, not a checkout
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root="$PWD"
python="$(command -v "${PYTHON:-python3}")"
case "$python" in /*) ;; *) python="$root/$python" ;; esac
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

pip() { # ENVIRONMENT ARGUMENTS...; what it says is shown when it fails
    "$work/$1/bin/python" -m pip --disable-pip-version-check "${@:2}" >"$work/pip.log" 2>&1 ||
        { tail -n 25 "$work/pip.log" >&2 && return 1; }
}

echo "dist: building the sdist"
rm -rf dist
"$python" -m venv "$work/build"
pip build install 'hatchling>=1.27'
"$work/build/bin/python" -m hatchling build --target sdist --directory dist
echo "dist: building the wheel from the sdist"
pip build wheel --no-deps --wheel-dir dist dist/onlooker-*.tar.gz
echo "dist: installing the wheel into a clean environment"
"$python" -m venv "$work/clean"
pip clean install --constraint deploy/setup/constraints.txt dist/onlooker-*.whl
cd "$work"
"$work/clean/bin/onlooker" --version
echo "dist: trying it out there: the drawn world, a server with scripted answers, questions about it"
port="$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
"$work/clean/bin/onlooker" demo --seconds 12 --port "$port" --mode fake >"$work/demo.log" 2>&1 ||
    { tail -n 25 "$work/demo.log" >&2 && exit 1; }
grep "I have seen" "$work/demo.log" >/dev/null ||
    { echo "dist: the demo ended without an answer:" && cat "$work/demo.log" && exit 1; } >&2
"$python" "$root/deploy/wheel_contents.py" "$root" "$root"/dist/onlooker-*.whl
