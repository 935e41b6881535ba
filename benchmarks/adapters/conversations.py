"""Benchmarks whose replies a model judges: RVS-Ego and RVS-Movie, and SVBench.

There is no judge here. What was replied is written as the benchmarks' own scorers read it, and the
figure told is the share of replies that hold the true answer word for word, which a judge would
count as right as well; a judge counts more.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from onlooker.benchmarks.adapters.asked import Answered, ReplyForm, VideoProbe, VideoTask
from onlooker.benchmarks.adapters.times import seconds_of

_WORD = re.compile(r"\w+")


def rvs(entries: Sequence[dict[str, Any]]) -> Iterator[VideoTask]:
    """RVS as ReKV writes it: the video is watched until ``end_time``, then asked about."""
    for entry in entries:
        probes = [
            VideoProbe(
                key=f"{entry['video_id']}/{index}",
                at_s=seconds_of(one["end_time"]),
                text=one["question"],
                form=ReplyForm.OPEN,
                truth=one["answer"],
                group="rvs",
            )
            for index, one in enumerate(entry["conversations"])
        ]
        yield VideoTask(video=entry["video_path"], probes=tuple(probes))


def svbench(entries: Sequence[dict[str, Any]]) -> Iterator[VideoTask]:
    """SVBench's dialogues: the questions of a chain follow each other, and each knows the replies
    before it."""
    for entry in entries:
        probes = [
            VideoProbe(
                key=f"{entry['video_id']}/{chain}/{index}",
                at_s=seconds_of(at),
                text=question,
                form=ReplyForm.OPEN,
                truth=truth,
                group="svbench",
                dialogue=str(chain),
            )
            for chain, scene in enumerate(entry["scenes"])
            for index, (question, truth, at) in enumerate(
                zip(scene["questions"], scene["gt_answers"], scene["timestamps"], strict=True)
            )
        ]
        yield VideoTask(video=entry["video_path"], probes=tuple(probes))


def held_score(answered: Sequence[Answered]) -> dict[str, float]:
    """Share of replies in which the words of the true answer stand next to each other."""
    held = [holds(one.reply, str(one.probe.truth)) for one in answered]
    return {"held": sum(held) / len(held) if held else 0.0}


def holds(reply: str, truth: str) -> bool:
    """Whether the words of `truth` stand next to each other in `reply`, however written."""
    said, wanted = words_of(reply), words_of(truth)
    num = len(wanted)
    return num > 0 and any(said[at : at + num] == wanted for at in range(len(said) - num + 1))


def words_of(text: str) -> list[str]:
    """The words of a text, in small letters."""
    return _WORD.findall(text.lower())
