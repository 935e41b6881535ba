"""What control groups allow, as containers and services have them."""

import os
from pathlib import Path

import pytest

from onlooker.core.machine_memory import machine_memory_bytes

TOTAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def allowed(folder: Path, own: str, limits: dict[str, str]) -> int:
    """What a process may use that is in the groups `own`, with these files of limits."""
    for name, text in limits.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "own").write_text(own)
    return machine_memory_bytes(groups=folder / "groups", own=folder / "own")


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "5000\n"}, 5000),
        ("0::/a/b\n", {"a/memory.max": "4000\n", "a/b/memory.max": "max\n"}, 4000),
        ("0::/not/seen\n", {"memory.max": "3000\n"}, 3000),
        ("0::/../x\n", {"memory.max": "3000\n"}, 3000),
        ("5:memory:/d\n4:cpu:/d\n", {"memory/d/memory.limit_in_bytes": "2000\n"}, 2000),
        ("5:memory:/d\n", {"memory/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, TOTAL),
        ("0::/\n", {}, TOTAL),
        ("0::/a\n", {"a/memory.max": "nonsense"}, TOTAL),
    ],
)
def test_the_lowest_limit_counts(
    own: str, limits: dict[str, str], expected: int, tmp_path: Path
) -> None:
    assert allowed(tmp_path, own, limits) == expected


def test_without_control_groups_it_is_all_of_the_machine(tmp_path: Path) -> None:
    assert machine_memory_bytes(groups=tmp_path, own=tmp_path / "none") == TOTAL


def test_this_process_may_use_some() -> None:
    assert 0 < machine_memory_bytes() <= TOTAL
