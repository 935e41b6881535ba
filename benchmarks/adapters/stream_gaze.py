"""StreamGaze (arXiv 2512.01707): what somebody who wears a camera looks at, looked at and will.

Three kinds of files. *Past*: questions with options on all from the beginning. *Present*: the same
on the last 60 seconds. *Proactive*: whether something has come yet, asked at moments before and
after it came, on all from the beginning. The benchmark's harness gives a model the whole file and a
range, which the model has to keep to; here nothing later has been sent.

``official`` is the benchmark's own reading of what the model wrote: a letter anywhere in it that
stands alone, so that "a cup" is an A, and "no" anywhere, so that "I know" is a no. ``strict`` reads
the bare letter or word (see `reply_forms`). Beside the moments of a proactive question stands a
watch with the question; ``pushed`` is about its first alert.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from onlooker.benchmarks.adapters.asked import Answered, ReplyForm, VideoProbe, VideoTask
from onlooker.benchmarks.adapters.choices import lettered
from onlooker.benchmarks.adapters.streaming_bench import NEAR_S
from onlooker.benchmarks.adapters.times import seconds_of

PRESENT_S = 60.0

_LETTER = re.compile(r"\b([ABCD])\b")


def choices(entries: Sequence[dict[str, Any]], *, context_s: float = 0.0) -> Iterator[VideoTask]:
    """Questions of the past, or, with `context_s`, on so much of the video before each."""
    for number, entry in enumerate(entries):
        for index, question in enumerate(entry["questions"]):
            at_s = seconds_of(question["time_stamp"])
            yield VideoTask(
                video=_video(entry),
                start_s=max(0.0, at_s - context_s) if context_s else 0.0,
                probes=(_choice(f"{number}/{index}", question, at_s),),
            )


def alerts(entries: Sequence[dict[str, Any]]) -> Iterator[VideoTask]:
    """Proactive questions: a yes or no at each of their moments, and a watch from the question on
    until the last of them."""
    for number, entry in enumerate(entries):
        for index, question in enumerate(entry["questions"]):
            key = f"{number}/{index}"
            moments = [_has_come(f"{key}/{i}", question, test)
                       for i, test in enumerate(question["test_info"])]  # fmt: skip
            if not moments:  # the benchmark passes over those without
                continue
            watch = _watch(key, question, until_s=max(probe.at_s for probe in moments))
            yield VideoTask(video=_video(entry), probes=(*moments, watch))


def scores(answered: Sequence[Answered], *, strict: bool) -> dict[str, float]:
    """Share right of each task, and of all, of what was asked."""
    right: dict[str, list[bool]] = {}
    for one in answered:
        if one.probe.form is not ReplyForm.PUSHED:
            right.setdefault(one.probe.group, []).append(_is_right(one, strict=strict))
    marks = [mark for group in right.values() for mark in group]
    by_task = {task: sum(ones) / len(ones) for task, ones in sorted(right.items())}
    return {**by_task, "all": sum(marks) / len(marks) if marks else 0.0}


def push_score(answered: Sequence[Answered]) -> dict[str, float]:
    """Of the watches: the share whose first alert came within two seconds of the first appearance
    (``all``), came earlier (``early``), or later or never (``late``). The score is our own, as the
    benchmark polls only."""
    firsts = [
        (one.pushed[0].at_s if one.pushed else float("inf")) - one.probe.more["true_s"]
        for one in answered
        if one.probe.form is ReplyForm.PUSHED
    ]
    num = len(firsts) or 1
    return {
        "early": sum(late_s < -NEAR_S for late_s in firsts) / num,
        "late": sum(late_s > NEAR_S for late_s in firsts) / num,
        "all": sum(abs(late_s) <= NEAR_S for late_s in firsts) / num,
    }


def _is_right(one: Answered, *, strict: bool) -> bool:
    truth = str(one.probe.truth)
    if strict:
        return one.reply == truth
    raw = one.raw.strip().upper()
    if one.probe.form is ReplyForm.YES_NO:
        return truth.upper() in raw
    found = _LETTER.search(raw)
    return (found[1] if found else raw) == truth


def _choice(key: str, question: dict[str, Any], at_s: float) -> VideoProbe:
    options = [str(option) for option in question["options"]]
    if not options[0].startswith("A."):
        options = lettered(options)
    lines = "\n".join(options)
    return VideoProbe(
        key=key,
        at_s=at_s,
        text=f"{question['question']}\n{lines}\nAnswer with the letter of the right option only.",
        form=ReplyForm.LETTER,
        truth=question["answer"].strip()[:1].upper(),
        group=str(question.get("task_type", "choices")),
        more={"num_options": len(options)},
    )


def _has_come(key: str, question: dict[str, Any], test: dict[str, Any]) -> VideoProbe:
    return VideoProbe(
        key=key,
        at_s=seconds_of(test["realtime"]),
        text=f"This was asked: {question['question']} Has it come to that yet, in what has been "
        "shown so far? Answer yes or no only.",
        form=ReplyForm.YES_NO,
        truth="Yes" if int(test["type"]) else "No",
        group=str(question.get("task_type", "alerts")),
    )


def _watch(key: str, question: dict[str, Any], *, until_s: float) -> VideoProbe:
    from_s = seconds_of(question["time_stamp"])
    return VideoProbe(
        key=f"{key}/push",
        from_s=from_s,
        at_s=max(from_s, until_s),
        text=question["question"],
        form=ReplyForm.PUSHED,
        group=str(question.get("task_type", "alerts")),
        more={"true_s": seconds_of(question["first_appearance"])},
        watch={"condition": question["question"]},
    )


def _video(entry: dict[str, Any]) -> str:
    """Its name alone, as the benchmark's harness looks for it: files name folders of others."""
    return PurePosixPath(entry["video_path"]).name
