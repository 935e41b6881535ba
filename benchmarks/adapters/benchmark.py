"""`FieldBenchmark`: the benchmarks that are known, by name."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from onlooker.benchmarks.adapters import (
    conversations,
    ovo_bench,
    proactive_video_qa,
    stream_eqa,
    stream_gaze,
    streaming_bench,
)
from onlooker.benchmarks.adapters.asked import Answered, VideoTask
from onlooker.core.errors import InvalidRequest

Scores = dict[str, dict[str, float]]
"""By the name of a way of scoring: shares by task, and of all."""


@dataclass(frozen=True, slots=True)
class FieldBenchmark:
    """One benchmark: how its items are read, and how replies are scored."""

    name: str
    read: Callable[[Any], Iterator[VideoTask]]
    """Makes tasks of what its annotation file holds."""
    scores: Callable[[Sequence[Answered]], Scores]
    not_shown: str
    """What its figures do not show."""

    def tasks(self, path: Path) -> list[VideoTask]:
        """The tasks of an annotation file, those on one stretch of one video put together, in the
        order of their times: one stream is asked as it goes on.

        Raises:
            InvalidRequest: the file is none of this benchmark's.
        """
        try:
            found = list(self.read(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise InvalidRequest(
                f"'{path}' is no annotation file of {self.name}: {error!r}"
            ) from error
        return together(found)


def together(tasks: Sequence[VideoTask]) -> list[VideoTask]:
    """One task for each video and beginning, its probes in the order of their times."""
    probes: dict[tuple[str, float], list[Any]] = {}
    for task in tasks:
        probes.setdefault((task.video, task.start_s), []).extend(task.probes)
    return [
        VideoTask(
            video=video, start_s=start_s, probes=tuple(sorted(some, key=lambda one: one.at_s))
        )
        for (video, start_s), some in probes.items()
    ]


def _official_and_strict(answered: Sequence[Answered]) -> Scores:
    return {
        "official": ovo_bench.scores(answered, strict=False),
        "strict": ovo_bench.scores(answered, strict=True),
    }


def _choices(answered: Sequence[Answered]) -> Scores:
    return {"official": streaming_bench.choice_score(answered)}


def _polled_and_pushed(answered: Sequence[Answered]) -> Scores:
    return {
        "polled": streaming_bench.proactive_score(answered),
        "pushed": streaming_bench.push_score(answered, strict=False),
        "pushed-strict": streaming_bench.push_score(answered, strict=True),
    }


def _gaze(answered: Sequence[Answered]) -> Scores:
    return {
        "official": stream_gaze.scores(answered, strict=False),
        "strict": stream_gaze.scores(answered, strict=True),
    }


def _gaze_alerts(answered: Sequence[Answered]) -> Scores:
    return {**_gaze(answered), "pushed": stream_gaze.push_score(answered)}


_GAZE = "no word is said about marks of the gaze that are drawn into the videos"

BENCHMARKS = {
    one.name: one
    for one in (
        FieldBenchmark(
            "streamingbench-real", streaming_bench.choices, _choices,
            "a reply's first character is all that counts; no sound",
        ),
        FieldBenchmark(
            "streamingbench-real-all", partial(streaming_bench.choices, context_s=0), _choices,
            "the video from its beginning, which is not the main table's 60 seconds",
        ),
        FieldBenchmark(
            "streamingbench-sqa", streaming_bench.sequential, _choices,
            "earlier questions stand in the prompt with their true answers, as in the original",
        ),
        FieldBenchmark(
            "streamingbench-proactive", streaming_bench.polls,
            _polled_and_pushed,
            "the poll tells the expected output, and is no alert; 'pushed' is of a watch, whose "
            "time is that of what it had seen, without the server's own delay",
        ),
        FieldBenchmark(
            "ovo-bench", ovo_bench.tasks, _official_and_strict,
            "the official score counts substrings; both wordings are our own",
        ),
        FieldBenchmark(
            "streameqa", stream_eqa.tasks, _choices, "items are put in the order of the file",
        ),
        FieldBenchmark(
            "proactivevideoqa", proactive_video_qa.tasks,
            lambda answered: {"pauc": proactive_video_qa.scores(answered)},
            "the benchmark has replies judged by a model; here words give the points",
        ),
        FieldBenchmark("streamgaze-past", stream_gaze.choices, _gaze, _GAZE),
        FieldBenchmark(
            "streamgaze-present", partial(stream_gaze.choices, context_s=stream_gaze.PRESENT_S),
            _gaze, _GAZE,
        ),
        FieldBenchmark("streamgaze-proactive", stream_gaze.alerts, _gaze_alerts, _GAZE),
        FieldBenchmark(
            "rvs", conversations.rvs,
            lambda answered: {"held": conversations.held_score(answered)},
            "the benchmark has replies judged by a model; here the words have to be there",
        ),
        FieldBenchmark(
            "svbench", conversations.svbench,
            lambda answered: {"held": conversations.held_score(answered)},
            "the benchmark has replies judged by a model; here the words have to be there",
        ),
    )
}  # fmt: skip
"""All of them, by name."""
