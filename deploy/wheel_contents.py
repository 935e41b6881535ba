"""Compares a wheel with the checkout it came from: every tracked file of every package is in it.

`wheel_contents.py ROOT WHEEL` prints what is missing and ends with status 1 if anything is.
"""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path


def expected(root: Path) -> set[str]:
    """Names in the wheel of all tracked files below the folders that pyproject.toml maps."""
    pyproject = tomllib.loads((root / "pyproject.toml").read_text())
    folders: dict[str, str] = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["sources"]
    command = ["git", "-C", str(root), "ls-files", "-z", "--", *folders]
    listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    names = set()
    for name in listed.split("\0"):
        folder = next((f for f in folders if name.startswith(f + "/")), None)
        if folder and not (root / name).is_symlink():
            names.add(folders[folder] + name.removeprefix(folder))
    return names


def main(root: Path, wheel: Path) -> int:
    with zipfile.ZipFile(wheel) as archive:
        missing = sorted(expected(root) - set(archive.namelist()))
    for name in missing:
        print(f"not in {wheel.name}: {name}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
