#!/usr/bin/env bash
# axe-core, which finds what shuts people out of the page, for the browser tests: into runs/tools/axe.min.js.
# It is taken out of a wheel that carries it, so that pip is enough and npm is not needed. What was fetched is
# held to a digest; the wheel's own dependency (Playwright) is not installed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

WHEEL="axe-playwright-python==0.1.8" # carries axe-core 4.12.1
DIGEST="84494fec757e4710dc751c8d7a636e457f4532f08f85c86dc9070133fbff53bc"
SCRIPT="$ROOT/runs/tools/axe.min.js"

is_there() { printf '%s  %s\n' "$DIGEST" "$SCRIPT" | sha256sum --check --status 2>/dev/null; }

unpack() { # FOLDER
    "$VENV/bin/python" -m pip download --no-deps --only-binary :all: --no-input \
        --disable-pip-version-check --progress-bar off --dest "$1" "$WHEEL" &&
        "$VENV/bin/python" -m zipfile --extract "$1"/axe_playwright_python-*.whl "$1" &&
        mkdir -p "$(dirname "$SCRIPT")" &&
        mv "$1/axe_playwright_python/axe.min.js" "$SCRIPT"
}

main() {
    local folder
    if [ "$DRY_RUN" = 0 ] && is_there; then return 0; fi
    if [ "$DRY_RUN" = 1 ]; then
        step "fetching axe-core" unpack FOLDER
        return 0
    fi
    if [ "${INSTALL:-1}" = 1 ] && [ -x "$VENV/bin/python" ]; then
        folder="$(mktemp -d)"
        (step "fetching axe-core, which looks for what shuts people out of the page" unpack "$folder") || true
        rm -rf "$folder"
        if is_there; then return 0; fi
    fi
    if is_ci; then die "in CI nothing skips, and axe-core ($SCRIPT) is missing"; fi
    warn "axe-core is not there: whether the page shuts people out is not tested. deploy/setup/axe.sh fetches it"
}

main
