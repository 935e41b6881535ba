"""Installs the torchvision shim into this environment if, and only if, it is needed.

Run with the environment's own Python. Needed means: `import torchvision` fails without the shim and
for the reason that the shim mends. A shim that is no longer needed is removed.
"""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "torchvision_shim.py"
MODULE = "onlooker_torchvision_shim"
REASON = "operator torchvision::"


# Takes out the hook of a shim that an earlier set-up left here, whatever its version.
WITHOUT_SHIM = (
    "import sys; sys.meta_path[:] = "
    f"[finder for finder in sys.meta_path if type(finder).__module__ != '{MODULE}']; "
)


def import_error(python: str, *, shim: bool) -> str:
    """What importing torchvision in a fresh interpreter says; empty when it works."""
    code = ("" if shim else WITHOUT_SHIM) + "import torchvision"
    # torchvision's warning about its compiled part is expected here and says nothing new.
    command = [python, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip() or f"status {done.returncode}"


def write(site: Path) -> None:
    shutil.copyfile(SOURCE, site / f"{MODULE}.py")
    # Last, so that no interpreter ever starts with the line and without the module.
    (site / f"{MODULE}.pth").write_text(f"import {MODULE}; {MODULE}.install()\n")


def remove(site: Path) -> None:
    (site / f"{MODULE}.pth").unlink(missing_ok=True)
    (site / f"{MODULE}.py").unlink(missing_ok=True)


def ensure(python: str, site: Path) -> str:
    """Leave `site` with or without the shim, as it needs; returns what was done.

    Raises:
        SystemExit: torchvision cannot be imported, for a reason that the shim does not mend.
    """
    problem = import_error(python, shim=False)
    if not problem:
        remove(site)
        return "torchvision imports as it is"
    if REASON not in problem:
        raise SystemExit(f"torchvision cannot be imported, and the shim is no help:\n{problem}")
    write(site)
    problem = import_error(python, shim=True)
    if problem:
        remove(site)
        raise SystemExit(f"torchvision cannot be imported, not even with the shim:\n{problem}")
    return "torchvision is another build than torch; its shim is installed"


if __name__ == "__main__":
    print(ensure(sys.executable, Path(sysconfig.get_path("purelib"))))
