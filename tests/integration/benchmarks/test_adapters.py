"""Benchmarks of the field, put to the real server: the way from an annotation file to a score."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from onlooker.benchmarks.adapters.asked import Pushed, ReplyForm, VideoProbe, VideoTask
from onlooker.benchmarks.adapters.benchmark import BENCHMARKS
from onlooker.benchmarks.adapters.evaluation import Evaluation
from onlooker.benchmarks.adapters.own_items import (
    VIDEO,
    ColourEngine,
    write_items,
    write_own_video,
)
from onlooker.benchmarks.adapters.reply_book import ReplyBook
from onlooker.benchmarks.adapters.viewer import Viewer
from onlooker.benchmarks.scenarios import adapters
from onlooker.clients.python.client import Client
from tests.fakes.served import serving


async def test_every_adapter_comes_to_the_score_that_is_right() -> None:
    figures = await adapters.measure(argparse.Namespace())
    assert set(figures["benchmarks"]) == set(BENCHMARKS)
    assert {n: one for n, one in figures["benchmarks"].items() if not one["is_right"]} == {}
    assert all(one["looked_ahead"] == 0 for one in figures["benchmarks"].values())
    assert "as they should be" in adapters.table(figures)


async def test_a_missing_video_fails_its_own_items_and_the_rest_goes_on(tmp_path: Path) -> None:
    write_own_video(tmp_path)
    write_items(tmp_path)
    path = tmp_path / "streameqa.json"
    path.write_text(_with_missing(path.read_text()))
    said: list[str] = []
    async with serving(engine=ColourEngine()) as served, Client(served.base) as client:
        run = Evaluation(
            BENCHMARKS["streameqa"],
            Viewer(client, tmp_path),
            ReplyBook(tmp_path / "out.jsonl"),
            say=said.append,
        )
        report = await run.run(path)
    assert (report["failed"], report["answered"], report["probes"]) == (1, 1, 2)
    assert "gone.mp4" in report["failures"][0]


async def test_a_watch_speaks_of_nothing_that_was_shown_before_it_or_after_its_end(
    tmp_path: Path,
) -> None:
    write_own_video(tmp_path)
    probe = VideoProbe(
        key="w", from_s=12.0, at_s=25.0, text="?", form=ReplyForm.PUSHED,
        watch={"instruction": "Say the colour."},
    )  # fmt: skip
    async with serving(engine=ColourEngine(ingest_s=0.05)) as served, Client(served.base) as client:
        viewer = Viewer(client, tmp_path)
        task = VideoTask(video=VIDEO, probes=(probe,))
        (found,) = [one async for one in viewer.answers(task)]
    assert found.pushed
    assert all(12.0 <= said.at_s <= 25.0 for said in found.pushed)
    assert found.pushed[-1] == Pushed(20.5, "It is green now, after nothing.")


async def test_the_command_reports_and_goes_on_where_it_was(tmp_path: Path) -> None:
    write_own_video(tmp_path)
    write_items(tmp_path)
    out = tmp_path / "out"
    command = ["eval", "streameqa", "--data", str(tmp_path), "--out", str(out)]
    async with serving(engine=ColourEngine()) as served:
        first = await _onlooker(*command, "--server", served.base)
        assert first[0] == 0, first
        assert "streameqa: 1 of 1 replies" in first[1]
        assert "TTFT p50" in first[1]
        again = await _onlooker(*command, "--server", served.base, "--json")
        assert "1 of 1 videos were done before" in again[2]
        assert json.loads(again[1])["scores"]["official"]["all"] == 1.0
    assert (out / "fake" / "streameqa-streameqa-2fps.json").is_file()


async def _onlooker(*arguments: str) -> tuple[int | None, str, str]:
    """Run the command; returns its exit status, what it printed, and what it said beside that."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "onlooker.server", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def _with_missing(text: str) -> str:
    missing = (
        ', {"id": 2, "task": "Perception", "video": "gone.mp4", "realtime": 5, "gt": 0, '
        '"question": "?", "options": ["a", "b"]}]'
    )
    return text.rstrip()[:-1] + missing
