#!/usr/bin/env bash
# Runs the named Makefile targets one after the other, all of them even when one fails, and ends with a
# table. Exit status 1 when any failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
results="${RESULTS:-runs/tests}"
rm -rf "$results"
mkdir -p "$results"

failed=()
for target in "$@"; do
    printf '\n==== make %s\n' "$target"
    started=$SECONDS
    if "${MAKE:-make}" --no-print-directory "$target"; then status=ok; else status=FAIL; fi
    [ "$status" = ok ] || failed+=("$target")
    printf '%s %s %s\n' "$target" "$status" $((SECONDS - started)) >>"$results/stages"
done

printf '\n'
"$VENV/bin/python" tests/summary.py "$results"
if [ "${#failed[@]}" -gt 0 ]; then
    printf '\nFailed: %s\n' "${failed[*]}"
    exit 1
fi
