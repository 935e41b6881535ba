"""The check of a GPU keeps what its parts found, whatever becomes of them."""

import json
import sys
from pathlib import Path
from typing import Any

from onlooker.benchmarks.gpu_check.gpu_check import MINUTES, PARTS, CheckPart, GpuCheck
from onlooker.benchmarks.gpu_check.part_notes import PartNotes, read

WELL = "write({'figure': 1})"
CRASHES = "write({'figure': 2}); raise SystemExit(3)"
HANGS = "write({'figure': 3}); import time; time.sleep(600)"

_SCRIPT = """
import json, pathlib, sys
part, notes = sys.argv[2], pathlib.Path(sys.argv[4])
write = lambda found: notes.write_text(json.dumps(found))
exec(dict(json.loads(sys.argv[5] if len(sys.argv) > 5 else PARTS))[part])
"""


def checked(tmp_path: Path, *, minutes: float = MINUTES, **parts: str) -> dict[str, Any]:
    """What a check of such parts writes; a part may take a second."""
    script = _SCRIPT.replace("PARTS", repr(json.dumps(list(parts.items()))))
    out = tmp_path / "out" / "check.json"
    command = [sys.executable, "-c", script]
    check = GpuCheck(out, command, minutes=minutes)
    check.run([CheckPart(name, 1.0) for name in parts])
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_parts_that_crash_or_hang_leave_their_figures_and_the_others_run(tmp_path: Path) -> None:
    found = checked(tmp_path, crashes=CRASHES, hangs=HANGS, well=WELL)
    assert found["crashes"] == {"figure": 2, "ended": "with status 3; see check.crashes.log"}
    assert found["hangs"]["figure"] == 3
    assert found["hangs"]["ended"].startswith("after its")
    assert found["well"] == {"figure": 1, "ended": "well"}


def test_a_part_for_which_no_time_is_left_says_so(tmp_path: Path) -> None:
    found = checked(tmp_path, minutes=0.0, well=WELL)
    assert found == {"well": {"ended": "no time was left"}}


def test_all_parts_together_take_less_than_twelve_minutes() -> None:
    assert sum(part.limit_s for part in PARTS) < 12 * 60


def test_figures_are_there_as_soon_as_they_are_noted(tmp_path: Path) -> None:
    notes = PartNotes(tmp_path / "notes.json")
    assert read(tmp_path / "notes.json") == {}
    notes.note(a=1)
    notes.note(b=2)
    found = read(tmp_path / "notes.json")
    assert (found["a"], found["b"]) == (1, 2)
    assert found["took_s"] >= 0
