#!/usr/bin/env bash
# Everything that is checked without running the program. All checks run; any failure fails.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

failed=()
check() { # NAME COMMAND..., whose output is shown only when it fails
    local name="$1" started=$SECONDS output
    shift
    if output="$("$@" 2>&1)"; then
        printf 'ok    %-14s %3d s\n' "$name" $((SECONDS - started))
    else
        printf '%s\n' "$output" >&2
        printf 'FAIL  %-14s %3d s: %s\n' "$name" $((SECONDS - started)) "$*" >&2
        failed+=("$name")
    fi
}

mapfile -t scripts < <(git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run)

check lint ruff check
check format ruff format --check --output-format concise
check types mypy --no-error-summary
check contracts lint-imports --no-logo
check shell shellcheck "${scripts[@]}"
check dockerfile hadolint Dockerfile
check compose check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
if command -v promtool >/dev/null; then
    check prometheus promtool check config deploy/prometheus/prometheus.yml
    check alerts promtool test rules deploy/prometheus/alerts_test.yml
else
    printf "skip  %-14s promtool is missing; make setup-test brings it on Debian\n" alerts
fi

[ "${#failed[@]}" = 0 ] || exit 1
