#!/usr/bin/env bash
# A virtual environment with Python 3.11 or newer and a recent pip, made once. With SYSTEM_SITE=1 it
# sees the packages of the Python it is made from (an image that brings vLLM).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly OLDEST_PYTHON="3.11"

find_python() { # the first of these that is new enough
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        if [ -z "$candidate" ] || ! command -v "$candidate" >/dev/null; then continue; fi
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

explain_missing_python() {
    local found
    found="$(python3 --version 2>/dev/null || echo 'no python3 at all')"
    die "Onlooker needs Python $OLDEST_PYTHON or newer; found $found." \
        "Install one (Debian: apt-get install python3 python3-venv) or name it: make setup PYTHON=/path/to/python3.11"
}

main() {
    local python options=()
    if [ "${SYSTEM_SITE:-0}" = 1 ]; then options=(--system-site-packages); fi
    if [ ! -x "$VENV/bin/python" ]; then
        python="$(find_python)" || explain_missing_python
        if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then # Debian packs it separately
            can_install_system_packages ||
                die "$python has no venv module. Debian: sudo apt-get install python3-venv"
            LOG="${TMPDIR:-/tmp}/onlooker-setup.log" install_system_packages python3-venv
        fi
        LOG="${TMPDIR:-/tmp}/onlooker-setup.log" \
            step "making a virtual environment with $("$python" --version)" "$python" -m venv \
            "${options[@]}" "$VENV"
    fi
    # Dependency groups and a --dry-run that downloads nothing need a pip of 2025 or later.
    if [ "$DRY_RUN" = 1 ] || ! "$VENV/bin/python" -c \
        'import pip, sys; sys.exit(tuple(map(int, pip.__version__.split(".")[:2])) < (25, 1))'; then
        pip_install "updating pip" --upgrade 'pip>=25.1,<28'
    fi
}

main
