#!/usr/bin/env bash
# Everything that is checked without running the program. All checks run; any failure fails.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

failed=()
check() { # NAME COMMAND...
    local name="$1" started=$SECONDS
    shift
    if "$@"; then
        printf 'ok    %-14s %3d s\n' "$name" $((SECONDS - started))
    else
        printf 'FAIL  %-14s %3d s: %s\n' "$name" $((SECONDS - started)) "$*" >&2
        failed+=("$name")
    fi
}

mapfile -t scripts < <(git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run)

check lint ruff check --quiet
check format ruff format --quiet --check
check types mypy --no-error-summary
check contracts lint-imports --no-logo --quiet
check shell shellcheck "${scripts[@]}"
check dockerfile hadolint Dockerfile

[ "${#failed[@]}" = 0 ] || exit 1
