"""Nothing waits for ever: a test that hangs fails, and says where, and the next one runs."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from tests.fakes import waiting

ROOT = Path(__file__).resolve().parents[1]

HANGING = """\
    import asyncio, threading, time
    from hypothesis import given, strategies as st

    @given(st.integers())
    def test_an_example_that_never_ends(number):
        threading.Event().wait()

    def test_a_task_that_nobody_awaits_gets_the_news_first():
        async def main():
            busy = asyncio.create_task(spin())
            await asyncio.Event().wait()

        async def spin():
            end_s = time.monotonic() + 0.6
            while time.monotonic() < end_s:
                pass

        asyncio.run(main())

    def test_that_comes_after(): pass
"""


def test_a_test_that_hangs_fails_at_its_time_limit_and_the_next_one_runs(tmp_path: Path) -> None:
    conftest = (ROOT / "tests" / "conftest.py").read_text()
    (tmp_path / "conftest.py").write_text(conftest.replace("AGAIN_S = 5.0", "AGAIN_S = 0.5"))
    (tmp_path / "pytest.ini").write_text("[pytest]\ntimeout = 0.3\n")
    (tmp_path / "test_it.py").write_text(textwrap.dedent(HANGING))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio",
         "-p", "no:schemathesis"],
        cwd=tmp_path, env=os.environ | {"CI": ""}, capture_output=True, text=True, check=False,
        timeout=waiting.WAIT_S,
    )  # fmt: skip
    assert "2 failed, 1 passed" in done.stdout, done.stdout
    assert done.stdout.count("TimeLimit: Timeout (>0.3s) from pytest-timeout.") == 2


async def test_who_waits_in_vain_says_what_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "WAIT_S", 0.01)
    with pytest.raises(AssertionError, match=r"waited 0.01 s for .*len\(\[\]\) == 1"):
        await waiting.until(lambda: len([]) == 1)
    with pytest.raises(AssertionError, match=r"waited 0\.01 s for godot"):
        async with waiting.limited("godot"):
            await asyncio.Event().wait()
    with pytest.raises(AssertionError, match=r"waited 0\.01 s for godot"):
        waiting.in_time("godot", threading.Event().wait)


async def test_a_limit_of_somebody_else_stays_theirs() -> None:
    with pytest.raises(TimeoutError):
        async with waiting.limited("godot"), asyncio.timeout(0):
            await asyncio.Event().wait()

    def too_late() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        waiting.in_time("godot", too_late)
