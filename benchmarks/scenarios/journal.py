"""Frames a second that each journal takes, beside plain files of the same bytes."""

import argparse
import asyncio
from typing import Any

from onlooker.benchmarks import micro_journal
from onlooker.benchmarks.report import rows


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure as `onlooker.benchmarks.micro_journal` says."""
    return await asyncio.to_thread(micro_journal.measure, options.seed)


def table(figures: dict[str, Any]) -> str:
    """The figures as a table in plain text."""
    titles = ("journal, sync, frames a commit", "frames/s", "CPU us", "written", "of plain files")
    lines = [
        (name, one["frames_per_s"], one["cpu_us"], one["written"], one["of_plain_files"])
        for name, one in figures["journals"].items()
    ]
    return rows(titles, lines)
