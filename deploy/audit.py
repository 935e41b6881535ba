"""Asks the service behind pip-audit whether our pinned packages have known vulnerabilities.

`make audit` runs it, with pip-audit in an environment of its own: what looks for faults in our
dependencies should not be one of them. It is no part of `make test`, which needs no network.
Exit status: 0 nothing is known, 1 something is; where nothing was checked 0, or 2 with
``--must-check``.
"""

import argparse
import json
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOOL = "pip-audit==2.10.1"
TOOL_FOLDER = ROOT / "runs" / "audit"
PINS = ROOT / "deploy" / "setup" / "constraints.txt"

SERVICES = ("pypi", "osv")
"""Where vulnerabilities are listed; the second is asked where the first says nothing."""

TIMEOUT_S = 15
"""Time for one reply of the service."""

OVERALL_S = 600
"""Time for all that is asked, and to install the tool."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One known vulnerability of one of our packages."""

    package: str
    id: str
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        fixed = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "not fixed yet"
        return f"{self.package}: {self.id} ({fixed})"


class NotChecked(Exception):
    """Nothing was learned; the message says why."""


def findings(report: str) -> tuple[list[Finding], int]:
    """What pip-audit's JSON says, and of how many packages. Where its service knows no package at
    all, pip-audit itself says that no vulnerability was found.

    Raises:
        NotChecked: it is no report, or speaks of no package.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        raise NotChecked("pip-audit gave no report") from None
    known = [package for package in packages if "version" in package]
    if not known:
        raise NotChecked("the service that was reached knows none of our packages")
    found = [
        Finding(f"{package['name']} {package['version']}", one["id"], tuple(one["fix_versions"]))
        for package in known
        for one in package["vulns"]
    ]
    return found, len(known)


def ask(tool: Path, service: str) -> str:
    """pip-audit's report on our pins, as JSON. Raises `NotChecked`."""
    command = [
        str(tool),
        "--vulnerability-service",
        service,
        "--requirement",
        str(PINS),
        "--no-deps",
        "--disable-pip",
    ]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", str(TIMEOUT_S)]
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=OVERALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotChecked(f"its service gave no answer in {OVERALL_S} s") from None
    if not ran.stdout.strip():
        raise NotChecked(f"its service cannot be reached: {_last_line(ran.stderr)}")
    return ran.stdout


def install(folder: Path) -> Path:
    """pip-audit in an environment of its own; returns its command. Raises `NotChecked`."""
    tool = folder / "bin" / "pip-audit"
    stamp = folder / "installed"
    if tool.exists() and stamp.exists() and stamp.read_text() == TOOL:
        return tool
    venv.create(folder, with_pip=True, clear=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    command += ["--disable-pip-version-check", TOOL]
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=OVERALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotChecked(f"{TOOL} could not be installed in {OVERALL_S} s") from None
    if ran.returncode:
        raise NotChecked(f"{TOOL} cannot be installed: {_last_line(ran.stderr)}")
    stamp.write_text(TOOL)
    return tool


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Look for known vulnerabilities of our packages.")
    parser.add_argument(
        "--must-check", action="store_true", help="fail where the service cannot be reached"
    )
    options = parser.parse_args(arguments)
    try:
        tool = install(TOOL_FOLDER)
        try:
            found, num_packages = findings(ask(tool, SERVICES[0]))
        except NotChecked as error:
            print(f"{SERVICES[0]}: {error}")
            found, num_packages = findings(ask(tool, SERVICES[1]))
    except NotChecked as error:
        print(f"NOTHING WAS CHECKED: {error}")
        return 2 if options.must_check else 0
    for finding in found:
        print(finding)
    print(f"{num_packages} packages checked, {len(found)} known vulnerabilities")
    return 1 if found else 0


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
