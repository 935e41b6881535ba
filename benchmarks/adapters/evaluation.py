"""`Evaluation`: all of a benchmark's items, several videos at once, and what came out."""

import asyncio
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from onlooker.benchmarks.adapters.asked import Answered, ReplyForm, VideoTask
from onlooker.benchmarks.adapters.benchmark import FieldBenchmark
from onlooker.benchmarks.adapters.reply_book import ReplyBook
from onlooker.benchmarks.adapters.viewer import Viewer
from onlooker.core.errors import OnlookerError

MAX_TOLD = 20


class Evaluation:
    """One run of one benchmark.

    Args:
        at_once: videos that are shown at once, each on a stream of its own.
        say: is told of progress, a line at a time.
    """

    def __init__(
        self,
        benchmark: FieldBenchmark,
        viewer: Viewer,
        results: ReplyBook,
        *,
        at_once: int = 4,
        say: Callable[[str], None] = print,
    ) -> None:
        self._benchmark, self._viewer, self._results = benchmark, viewer, results
        self._places, self._say = asyncio.Semaphore(at_once), say
        self._failed: list[str] = []

    async def run(self, annotations: Path) -> dict[str, Any]:
        """Ask what was not asked before, and return the report.

        Raises:
            InvalidRequest: the file is none of this benchmark's.
        """
        tasks = self._benchmark.tasks(annotations)
        wanted = [task for task in tasks if self._results.lacks(task)]
        if len(wanted) < len(tasks):
            self._say(f"{len(tasks) - len(wanted)} of {len(tasks)} videos were done before")
        async with asyncio.TaskGroup() as group:
            for number, task in enumerate(wanted, 1):
                group.create_task(self._one(task, f"{number}/{len(wanted)} {task.video}"))
        return self._report(tasks)

    async def _one(self, task: VideoTask, name: str) -> None:
        async with self._places:
            try:
                async for answered in self._viewer.answers(task):
                    self._results.add(answered)
                self._say(f"{name}: {len(task.probes)} replies")
            except (OnlookerError, TimeoutError) as error:
                why = str(error) or "the server did not reply in time"
                self._failed.append(f"{name}: {why}")
                self._say(f"{name}: failed: {why}")

    def _report(self, tasks: list[VideoTask]) -> dict[str, Any]:
        answered = self._results.answered(tasks)
        num = sum(len(task.probes) for task in tasks)
        ttfts = [one.ttft_ms for one in answered if one.ttft_ms is not None]
        return {
            "benchmark": self._benchmark.name,
            "not_shown": self._benchmark.not_shown,
            "probes": num,
            "answered": len(answered),
            "failed": len(self._failed),
            "failures": self._failed[:MAX_TOLD],
            "without_form": sum(
                not one.reply and one.probe.form is not ReplyForm.PUSHED for one in answered
            ),
            "pushed": sum(len(one.pushed) for one in answered),
            "leaked_expectation": sum(one.probe.leaks for one in answered),
            "looked_ahead": sum(_looked_ahead(one) for one in answered),
            "ttft_ms_p50": _at(ttfts, 0.5),
            "ttft_ms_p95": _at(ttfts, 0.95),
            "prompt_tokens_p50": _at([n for one in answered if (n := one.num_prompt_tokens)], 0.5),
            "prompt_tokens": sum(one.num_prompt_tokens for one in answered),
            "output_tokens": sum(one.num_output_tokens for one in answered),
            "scores": self._benchmark.scores(answered) if answered else {},
        }


def _looked_ahead(one: Answered) -> bool:
    """Whether a reply rests on something later than its moment; this must never be."""
    return one.seen_until_s is not None and one.seen_until_s > one.probe.at_s + 1e-6


def _at(values: Sequence[float], share: float) -> float | None:
    """The least value that so large a share of them does not exceed; None of none."""
    if not values:
        return None
    return round(sorted(values)[max(0, math.ceil(share * len(values)) - 1)], 2)
