"""axe-core: what of a page shuts people out."""

from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[2] / "runs" / "tools" / "axe.min.js"
"""Fetched by `make setup-test` (deploy/setup/axe.sh)."""


def missing() -> str | None:
    """What is not installed, for the line that says why a test is skipped."""
    return None if SCRIPT.exists() else "axe-core is not there; `make setup-test` fetches it"


def shut_out(driver: Any) -> list[str]:
    """What axe finds on the page as it is now, of any weight: the rule, then where it is broken."""
    driver.execute_script(SCRIPT.read_text())
    found: list[dict[str, Any]] = driver.execute_async_script(
        "const done = arguments[0]; axe.run().then((found) => done(found.violations))"
    )
    return [
        f"{fault['impact']}: {fault['help']}: {', '.join(str(n['target']) for n in fault['nodes'])}"
        for fault in found
    ]
