"""The torchvision shim, on stand-ins for torch and torchvision in interpreters of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.setup import install_shim

LIBRARY = """\
import torch
class Library:
    def __init__(self, name, kind): self.name = name
    def define(self, schema): torch.schemas.append(f"{self.name}::{schema.split('(')[0]}")
"""

# Like a CUDA build beside a CPU torch: importing it looks both operators up.
TORCHVISION = """\
import torch
for name in ("nms", "qnms"):
    if f"torchvision::{name}" not in torch.schemas:
        raise RuntimeError(f"operator torchvision::{name} does not exist")
"""


def make_site(folder: Path, *, torchvision: str, torch: bool = True) -> Path:
    folder.mkdir()
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(torchvision)
    if torch:
        (folder / "torch").mkdir()
        (folder / "torch" / "__init__.py").write_text("schemas = []\n")
        (folder / "torch" / "library.py").write_text(LIBRARY)
    return folder


def make_python(folder: Path, site: Path) -> str:
    """An interpreter that treats `site` as its site-packages, `.pth` files included."""
    python = folder / "python"
    start = f'import site; site.addsitedir("{site}"); exec(open(0).read())'
    # Arguments are `-W ignore -c CODE`: the code goes in on standard input.
    python.write_text(f"#!/bin/sh\necho \"$4\" | {sys.executable} -I -S -c '{start}'\n")
    python.chmod(0o755)
    return str(python)


def run(python: str, code: str) -> str:
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def installed(site: Path) -> bool:
    names = [f"{install_shim.MODULE}.py", f"{install_shim.MODULE}.pth"]
    present = [(site / name).exists() for name in names]
    assert len(set(present)) == 1, "module and line come and go together"
    return present[0]


def test_a_foreign_build_of_torchvision_imports_with_the_shim(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", torchvision=TORCHVISION)
    python = make_python(tmp_path, site)
    message = install_shim.ensure(python, site)
    assert "shim is installed" in message
    assert installed(site)
    assert run(python, "import torchvision; print(1)") == "1"


def test_a_matching_build_gets_no_shim_and_loses_an_old_one(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", torchvision="")
    install_shim.write(site)
    assert install_shim.ensure(make_python(tmp_path, site), site) == "torchvision imports as it is"
    assert not installed(site)


def test_a_shim_that_is_needed_stays_through_later_set_ups(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", torchvision=TORCHVISION)
    python = make_python(tmp_path, site)
    for _ in range(2):
        assert "shim is installed" in install_shim.ensure(python, site)
    assert installed(site)


@pytest.mark.parametrize(
    "torchvision", ["raise ImportError('libpng is missing')", TORCHVISION.replace("qnms", "roi")]
)
def test_an_error_that_the_shim_does_not_mend_is_told_and_leaves_no_shim(
    tmp_path: Path, torchvision: str
) -> None:
    site = make_site(tmp_path / "site", torchvision=torchvision)
    with pytest.raises(SystemExit, match=r"libpng is missing|torchvision::roi"):
        install_shim.ensure(make_python(tmp_path, site), site)
    assert not installed(site)


def test_the_hook_acts_once_and_leaves_the_import_system(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", torchvision=TORCHVISION)
    install_shim.write(site)
    code = "import sys; n = len(sys.meta_path); import torchvision; print(n - len(sys.meta_path))"
    assert run(make_python(tmp_path, site), code) == "1"


def test_starting_python_does_not_import_torch(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", torchvision=TORCHVISION)
    install_shim.write(site)
    assert run(make_python(tmp_path, site), "import sys; print('torch' in sys.modules)") == "False"


def test_without_torch_the_error_is_torchvisions_own(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", torchvision=TORCHVISION, torch=False)
    install_shim.write(site)
    problem = install_shim.import_error(make_python(tmp_path, site), shim=True)
    assert "No module named 'torch'" in problem
