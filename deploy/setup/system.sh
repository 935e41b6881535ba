#!/usr/bin/env bash
# System packages. `system.sh runtime`: what the engine needs. `system.sh test`: what the tests of the
# page, of Redis and of MQTT need; without them those tests skip, except in CI (CI=true), where nothing may skip.
# INSTALL=0 only looks.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
LOG="${TMPDIR:-/tmp}/onlooker-setup.log"

has_library() { ldconfig -p 2>/dev/null | grep -q "$1" || /sbin/ldconfig -p 2>/dev/null | grep -q "$1"; }

has() { # PACKAGE, by what it is needed for
    case "$1" in
    libnuma1) has_library libnuma.so.1 ;;
    chromium) command -v chromium || command -v chromium-browser || command -v google-chrome ;;
    chromium-driver) command -v chromedriver ;;
    mosquitto) command -v mosquitto || [ -x /usr/sbin/mosquitto ] ;;
    nodejs) command -v node ;;
    *) command -v "$1" ;;
    esac >/dev/null 2>&1
}

missing_of() { # PACKAGE...
    local package
    for package in "$@"; do
        if [ "$DRY_RUN" = 1 ] || ! has "$package"; then printf '%s\n' "$package"; fi
    done
}

main() {
    local wanted missing
    case "${1:-}" in
    runtime) wanted=(libnuma1) ;;
    test) wanted=(chromium chromium-driver nodejs redis-server haproxy mosquitto) ;;
    *) die "say which: system.sh runtime | system.sh test" ;;
    esac
    if [ "$1" = test ]; then
        "$SETUP_DIR/promtool.sh"
        "$SETUP_DIR/axe.sh"
        "$SETUP_DIR/helm.sh"
    fi
    if [ "$(uname -s)" != Linux ]; then return 0; fi
    mapfile -t missing < <(missing_of "${wanted[@]}")
    if [ "${#missing[@]}" = 0 ]; then return 0; fi
    if [ "${INSTALL:-1}" = 1 ] && can_install_system_packages; then
        # A failure is told below, by what is still missing, with what it means.
        (install_system_packages "${missing[@]}") || true
        if [ "$DRY_RUN" = 1 ]; then return 0; fi
        mapfile -t missing < <(missing_of "${missing[@]}")
        if [ "${#missing[@]}" = 0 ]; then return 0; fi
    fi
    if [ "$1" = runtime ]; then
        die "the engine needs ${missing[*]}. Debian: sudo apt-get install ${missing[*]}"
    elif is_ci; then
        die "in CI nothing skips, and these are missing: ${missing[*]}"
    fi
    warn "not installed: ${missing[*]}. Tests that need them will skip." \
        "To run them too: sudo apt-get install ${missing[*]}"
}

main "$@"
