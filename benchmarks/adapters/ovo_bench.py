"""OVO-Bench (JoeLeelyf): questions about the past, the present, and what is still to come.

Two scores are given. ``official`` is the benchmark's own: the expected letter or word has to be a
substring of the reply, so that "A or B" is right twice. ``strict`` wants the bare letter, word or
number. As replies are brought to that form before (see `reply_forms`), the two should agree.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from onlooker.benchmarks.adapters.asked import Answered, ReplyForm, VideoProbe, VideoTask
from onlooker.benchmarks.adapters.choices import numbered_choice
from onlooker.benchmarks.adapters.times import seconds_of

GROUPS = {
    "backward": ("EPM", "ASI", "HLD"),
    "realtime": ("STU", "OJR", "ATR", "ACR", "OCR", "FPD"),
    "forward": ("REC", "SSR", "CRR"),
}
"""Tasks of each of the three groups, whose means make the score."""


def tasks(annotations: Sequence[dict[str, Any]]) -> Iterator[VideoTask]:
    """One task an annotation; its probes are all on one stream, which begins with the video."""
    for item in annotations:
        forward = {"REC": _counts, "SSR": _steps, "CRR": _clues}.get(item["task"])
        probes = (numbered_choice(item),) if forward is None else tuple(forward(item))
        yield VideoTask(video=item["video"], probes=probes)


def scores(answered: Sequence[Answered], *, strict: bool) -> dict[str, float]:
    """Of each task, each group, and of all: the mean of the groups that there are."""
    marks: dict[str, list[bool]] = {}
    for one in answered:
        marks.setdefault(one.probe.group, []).append(_is_right(one, strict=strict))
    by_task = {task: sum(ones) / len(ones) for task, ones in marks.items()}
    by_group = {}
    for group, members in GROUPS.items():
        if known := [by_task[task] for task in members if task in by_task]:
            by_group[group] = sum(known) / len(known)
    total = sum(by_group.values()) / len(by_group) if by_group else 0.0
    return {**by_task, **by_group, "all": total}


def _is_right(one: Answered, *, strict: bool) -> bool:
    truth = str(one.probe.truth)
    if one.probe.form is ReplyForm.NUMBER:
        digits = "".join(letter for letter in one.reply if letter.isdigit())
        return digits == truth
    return one.reply == truth if strict else truth in one.reply


def _counts(item: dict[str, Any]) -> Iterator[VideoProbe]:
    for index, test in enumerate(item["test_info"]):
        yield VideoProbe(
            key=f"{item['id']}/{index}",
            at_s=seconds_of(test["realtime"]),
            text=f"How many times has this been done so far: {item['activity']}? "
            "Answer with a number only.",
            form=ReplyForm.NUMBER,
            truth=int(test["count"]),
            group="REC",
        )


def _steps(item: dict[str, Any]) -> Iterator[VideoProbe]:
    for index, test in enumerate(item["test_info"]):
        yield _yes_no(
            item,
            index,
            test,
            f"This is a tutorial: {item['tutorial']}. Is this step being carried out now: "
            f"{test['step']}? Answer yes or no only.",
        )


def _clues(item: dict[str, Any]) -> Iterator[VideoProbe]:
    for index, test in enumerate(item["test_info"]):
        yield _yes_no(
            item,
            index,
            test,
            f"{item['question']} Can this be answered from what has been shown so far? "
            "Answer yes or no only.",
        )


def _yes_no(item: dict[str, Any], index: int, test: dict[str, Any], text: str) -> VideoProbe:
    return VideoProbe(
        key=f"{item['id']}/{index}",
        at_s=seconds_of(test["realtime"]),
        text=text,
        form=ReplyForm.YES_NO,
        truth="Yes" if int(test["type"]) else "No",
        group=item["task"],
    )
