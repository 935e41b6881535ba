"""`PartNotes`: figures that are written to a file as they come, so that whatever ends a part
leaves what it has found."""

import json
import time
from pathlib import Path
from typing import Any


class PartNotes:
    """The figures of one part, in its own file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Any] = {}
        self._began_s = time.monotonic()

    def note(self, **figures: Any) -> None:
        """Add figures, and the seconds since the part began."""
        self._found |= figures
        self._found["took_s"] = round(time.monotonic() - self._began_s, 1)
        write(self._path, self._found)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON so that whoever reads meanwhile sees the old file or the new one."""
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(content, indent=1) + "\n")
    beside.replace(path)


def read(path: Path) -> dict[str, Any]:
    """What was noted; nothing where there is no file yet."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
