"""ProactiveVideoQA (arXiv 2507.09313): a question is asked early, and the true answers come up
while the video goes on.

The question becomes a watch that comments whenever there is something new to say; nothing is
asked after that. Each true answer has a span of time in which it is to be said, and PAUC (see
`pauc`) looks at what was said within it.

The benchmark has a language model give the points. There is none here: `points_of` counts words
instead, so that figures are comparable with each other and not with those published. Replies are
written down with their times, for a judge to read.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from onlooker.benchmarks.adapters.asked import Answered, Pushed, ReplyForm, VideoProbe, VideoTask
from onlooker.benchmarks.adapters.conversations import holds, words_of
from onlooker.benchmarks.adapters.pauc import (
    OMEGA,
    duplicate_ratio,
    pauc,
    without_late_harm,
)
from onlooker.benchmarks.adapters.times import seconds_of

PointsOf = Callable[[str, str], int]
"""Gives what was said so far (first) 0, 1 or 2 points for how it matches the truth (second)."""

HALF = 0.5


def tasks(items: Sequence[dict[str, Any]]) -> Iterator[VideoTask]:
    """One task an item: a watch from the question on until the video ends."""
    for item in items:
        asked = next(turn for turn in item["conversation"] if turn["role"] == "user")
        turns = [
            {
                "content": str(turn["content"]),
                "start_s": seconds_of(turn["reply_timespan"][0]),
                "end_s": seconds_of(turn["reply_timespan"][1]),
                "shown_until_s": seconds_of(
                    turn.get("related_timespan", turn["reply_timespan"])[1]
                ),
            }
            for turn in item["answer"]
        ]
        probe = VideoProbe(
            key=str(item["question_id"]),
            from_s=seconds_of(asked.get("time", 0)),
            at_s=seconds_of(item["duration"]),
            text=asked["content"],
            form=ReplyForm.PUSHED,
            truth=tuple(turn["content"] for turn in turns),
            group=str(item.get("dataset", "proactivevideoqa")),
            leaks=any(turn["content"] in asked["content"] for turn in turns),
            more={"turns": turns},
            watch={"instruction": asked["content"]},
        )
        yield VideoTask(video=item["video"], probes=(probe,))


def points_of(said: str, truth: str) -> int:
    """2 where the words of the truth stand together, 1 where half of them are there, else 0."""
    if holds(said, truth):
        return 2
    wanted = set(words_of(truth))
    return 1 if wanted and len(wanted & set(words_of(said))) >= HALF * len(wanted) else 0


def scores(
    answered: Sequence[Answered], *, omega: float = OMEGA, judge: PointsOf = points_of
) -> dict[str, float]:
    """PAUC of all: the mean of the true answers, of all items together, as the benchmark reckons;
    and beside it by group, with the share of replies that only repeat, and of true answers about
    which nothing was said in their time."""
    by_group: dict[str, list[float]] = {}
    silent: list[bool] = []
    for one in answered:
        turns = one.probe.more["turns"]
        within = [_within(one.pushed, turn) for turn in turns]
        silent += [not replies for replies in within]
        marks = [
            pauc(
                _curve(replies, turn, judge),
                start_s=turn["start_s"],
                end_s=turn["end_s"],
                omega=omega,
            )
            for replies, turn in zip(within, turns, strict=True)
        ]
        by_group.setdefault(one.probe.group, []).extend(marks)
    everything = [mark for marks in by_group.values() for mark in marks]
    return {
        **{group: _mean(marks) for group, marks in sorted(by_group.items())},
        "duplicates": _mean([duplicate_ratio(one.pushed) for one in answered]),
        "silent": _mean(silent),
        "all": _mean(everything),
    }


def _within(replies: Sequence[Pushed], turn: dict[str, Any]) -> list[Pushed]:
    return [reply for reply in replies if turn["start_s"] <= reply.at_s <= turn["end_s"]]


def _curve(
    replies: Sequence[Pushed], turn: dict[str, Any], judge: PointsOf
) -> list[tuple[float, float]]:
    """The points of what had been said by each reply. One that says again, letter for letter, what
    was said already is not judged."""
    said: list[str] = []
    curve: list[tuple[float, float]] = []
    for reply in replies:
        if reply.text in said:
            continue
        said.append(reply.text)
        curve.append((reply.at_s, judge(" ".join(said), turn["content"])))
    return without_late_harm(curve, shown_until_s=turn["shown_until_s"])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
