#!/usr/bin/env bash
# Everything `make setup` does. Instant when nothing changed since it last succeeded: the stamp in the
# environment holds a digest of all that the result depends on.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

fingerprint() {
    {
        printf '%s\n' "$EXTRA" "$WEBRTC" "$DOORS" "$DEV" "$EDITABLE" "$ROOT"
        "$VENV/bin/python" --version
        "$VENV/bin/python" "$SETUP_DIR/requirements.py" --fingerprint
        cat "$SETUP_DIR"/*.sh "$SETUP_DIR"/*.py "$SETUP_DIR/constraints.txt"
    } | "$VENV/bin/python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

main() {
    local stamp="$VENV/.onlooker-setup" started=$SECONDS
    if [ -x "$VENV/bin/python" ] && [ "$DRY_RUN" = 0 ] &&
        [ "$(cat "$stamp" 2>/dev/null)" = "$(fingerprint)" ]; then
        return 0
    fi
    rm -f "$stamp"
    say "preparing $VENV (EXTRA=$EXTRA); later runs find it ready"
    "$SETUP_DIR/venv.sh"
    if [ "$EXTRA" = cpu ]; then "$SETUP_DIR/system.sh" runtime; fi
    "$SETUP_DIR/packages.sh"
    if [ "$DRY_RUN" = 1 ]; then return 0; fi
    fingerprint >"$stamp"
    say "ready after $((SECONDS - started)) s"
}

# Scripts called from here see the same choices.
export VENV EXTRA WEBRTC DOORS DEV EDITABLE DRY_RUN LOG
main
