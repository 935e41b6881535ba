"""Says whether the torch that pip would install is a CPU build: exit status 0 if so, 1 if not.

Reads the report of `pip install --dry-run --report -` on standard input. A CPU build either says so
in its local version (`2.13.0+cpu`) or, on systems where only CPU builds exist, asks for no CUDA
package; a CUDA build asks for gigabytes of them. With `--installed` it looks at the torch of this
environment instead, without importing it.
"""

import importlib.util
import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

CUDA_PACKAGE = re.compile(r"(nvidia|cuda)[-_]", re.IGNORECASE)


def is_cpu_build(report: dict[str, Any]) -> bool:
    """Whether the report's one package is a CPU build of torch."""
    found = [item["metadata"] for item in report.get("install", [])]
    torch = [metadata for metadata in found if metadata["name"] == "torch"]
    if len(torch) != 1:
        return False
    local = torch[0]["version"].partition("+")[2]
    if local:
        return bool(local.startswith("cpu"))
    return not any(CUDA_PACKAGE.match(line) for line in torch[0].get("requires_dist", []))


def is_installed_cpu_build() -> bool:
    """Whether this environment has a torch, and it was built without CUDA."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    return runpy.run_path(str(Path(spec.origin).parent / "version.py"))["cuda"] is None


def main(arguments: list[str]) -> int:
    if "--installed" in arguments:
        return 0 if is_installed_cpu_build() else 1
    try:
        report = json.load(sys.stdin)
    except ValueError:  # pip found no such version and printed nothing
        return 1
    return 0 if is_cpu_build(report) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
