"""StreamingBench (THUNLP-MT): real-time and contextual questions, and when to speak.

Its harness cuts ``[max(0, t - context), t]`` out of the video and asks about the piece. Here one
stream takes the video from there on and is asked as time passes, which shows a question no more
than the piece does: with `context_s` a question is about a stream that begins so late.

The scorer takes the first character of a reply. Two traps are kept as they are in the original and
told in the report: earlier questions of ``sqa`` stand with their *true* answers in the prompt, and
the polls of ``proactive`` tell the expected output. Beside the polls stands a watch with the
question alone, as a server that speaks by itself is used; it has a score of its own.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from onlooker.benchmarks.adapters.asked import Answered, ReplyForm, VideoProbe, VideoTask
from onlooker.benchmarks.adapters.choices import lettered
from onlooker.benchmarks.adapters.conversations import holds
from onlooker.benchmarks.adapters.times import seconds_of

TIME_OUT_S, NEAR_S = 4.0, 2.0
"""A poll goes on so long after the true moment, and counts as in time so near to it."""


def choices(entries: Sequence[dict[str, Any]], *, context_s: float = 60.0) -> Iterator[VideoTask]:
    """Tasks of ``real`` and ``omni``: entries with questions of four options each."""
    for number, entry in enumerate(entries):
        for index, question in enumerate(entry["questions"]):
            at_s = seconds_of(question["time_stamp"])
            yield VideoTask(
                video=entry["video_path"],
                start_s=max(0.0, at_s - context_s) if context_s > 0 else 0.0,
                probes=(_choice(f"{number}/{index}", question, at_s),),
            )


def sequential(
    lists: Sequence[Sequence[dict[str, Any]]], *, context_s: float = 60.0
) -> Iterator[VideoTask]:
    """Tasks of ``sqa``: lists of entries, each question told those before it with their true
    answers."""
    for number, entries in enumerate(lists):
        told: list[str] = []
        for index, entry in enumerate(entries):
            for question in entry["questions"]:
                at_s = seconds_of(question["time_stamp"])
                context = "".join(told)
                yield VideoTask(
                    video=entry["video_path"],
                    start_s=max(0.0, at_s - context_s) if context_s > 0 else 0.0,
                    probes=(_choice(f"{number}/{index}", question, at_s, context=context),),
                )
                # Without their times, which the original has: a time that a question names is
                # looked up here, and this one is not about those.
                told.append(
                    f"{question['question']} "
                    f"{' '.join(question['options'])} Answer: {question['answer']}\n"
                )


def polls(entries: Sequence[dict[str, Any]]) -> Iterator[VideoTask]:
    """Tasks of ``proactive``: a yes or no each second from the question on, on what has been shown
    since then, and the question itself at each of these moments. `proactive_score` takes of them
    what the harness would have asked: nothing after the first yes. A watch with the question is
    left with the same stream for as long; `push_score` is about what it says first."""
    for number, entry in enumerate(entries):
        for index, question in enumerate(entry["questions"]):
            asked_s = seconds_of(question["time_stamp"])
            true_s = seconds_of(question["ground_truth_time_stamp"])
            output = str(question["ground_truth_output"])
            probes: list[VideoProbe] = []
            at_s = asked_s + 1
            while at_s <= true_s + TIME_OUT_S:
                place = f"{number}/{index}/{at_s:g}"
                more = {"item": f"{number}/{index}", "true_s": true_s}
                probes.append(
                    VideoProbe(
                        key=f"{place}/poll",
                        at_s=at_s,
                        form=ReplyForm.YES_NO,
                        leaks=True,
                        text=f"{question['question']} Is it the right time to output "
                        f'"{output}"? You can only answer yes or no.',
                        group=question.get("task_type", "proactive"),
                        more=more,
                    )
                )
                probes.append(
                    VideoProbe(
                        key=f"{place}/say",
                        at_s=at_s,
                        form=ReplyForm.OPEN,
                        truth=output,
                        text=question["question"],
                        group=question.get("task_type", "proactive"),
                        more=more,
                    )
                )
                at_s += 1
            more = {"item": f"{number}/{index}", "true_s": true_s}
            probes.append(_push(question, output, from_s=asked_s, more=more))
            yield VideoTask(video=entry["video_path"], start_s=asked_s, probes=tuple(probes))


def choice_score(answered: Sequence[Answered]) -> dict[str, float]:
    """Share right by task, and of all: the first character of the reply is the answer."""
    right: dict[str, list[bool]] = {}
    for one in answered:
        right.setdefault(one.probe.group, []).append(one.reply[:1] == one.probe.truth)
    scores = {group: sum(marks) / len(marks) for group, marks in sorted(right.items())}
    marks = [mark for group in right.values() for mark in group]
    return {**scores, "all": sum(marks) / len(marks) if marks else 0.0}


def proactive_score(answered: Sequence[Answered]) -> dict[str, float]:
    """Share of items whose first yes comes in time, and whose output is then right as well: the
    expected output is a substring of the reply."""
    items: dict[str, list[Answered]] = {}
    for one in answered:
        if one.probe.form is not ReplyForm.PUSHED:
            items.setdefault(one.probe.more["item"], []).append(one)
    in_time = right = 0
    for ones in items.values():
        polled = sorted(
            (one for one in ones if one.probe.form is ReplyForm.YES_NO),
            key=lambda one: one.probe.at_s,
        )
        spoke = next((one for one in polled if "yes" in one.reply.lower()), None)
        last_s = (spoke or polled[-1]).probe.at_s
        is_near = spoke is not None and abs(last_s - polled[0].probe.more["true_s"]) <= NEAR_S
        said = [
            one for one in ones if one.probe.form is ReplyForm.OPEN and one.probe.at_s == last_s
        ]
        in_time += is_near
        right += is_near and any(str(one.probe.truth) in one.reply for one in said)
    num = len(items) or 1
    return {"in_time": in_time / num, "all": right / num}


def push_score(answered: Sequence[Answered], *, strict: bool) -> dict[str, float]:
    """Share of items of which the watch spoke for the first time as near to the true moment as the
    polls have to be, and said what it should: the first alert holds the expected output as a
    substring, or, where `strict`, as words that stand together. An early alert is not made good by
    a later one. ``never`` is the share of items about which it never spoke, ``late_s`` how much
    later than the true moment it spoke, in the mean of the others (below 0: earlier)."""
    ones = [one for one in answered if one.probe.form is ReplyForm.PUSHED]
    in_time = right = 0
    late_s: list[float] = []
    for one in ones:
        if not one.pushed:
            continue
        first, truth = one.pushed[0], str(one.probe.truth)
        late_s.append(first.at_s - one.probe.more["true_s"])
        is_near = abs(late_s[-1]) <= NEAR_S
        in_time += is_near
        right += is_near and (holds(first.text, truth) if strict else truth in first.text)
    num = len(ones) or 1
    return {
        "in_time": in_time / num,
        "never": (len(ones) - len(late_s)) / num,
        "late_s": sum(late_s) / len(late_s) if late_s else 0.0,
        "all": right / num,
    }


def _push(
    question: dict[str, Any], output: str, *, from_s: float, more: dict[str, Any]
) -> VideoProbe:
    text = question["question"]
    return VideoProbe(
        key=f"{more['item']}/push",
        from_s=from_s,
        at_s=more["true_s"] + TIME_OUT_S,
        form=ReplyForm.PUSHED,
        truth=output,
        text=text,
        group=question.get("task_type", "proactive"),
        leaks=output in text,
        more=more,
        watch={"condition": text, "answer_prompt": text},
    )


def _choice(key: str, question: dict[str, Any], at_s: float, *, context: str = "") -> VideoProbe:
    options = [str(option) for option in question["options"]]
    if not options[0].startswith("A"):
        options = lettered(options)
    lines = "\n".join(options)
    before = f"Earlier questions and their answers:\n{context}\n" if context else ""
    return VideoProbe(
        key=key,
        at_s=at_s,
        text=f"{before}{question['question']}\n{lines}\n"
        "Answer with the letter of the right option only.",
        form=ReplyForm.LETTER,
        truth=question["answer"],
        group=question.get("task_type", ""),
        leaks=bool(context),
        more={"num_options": len(options)},
    )
