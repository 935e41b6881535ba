"""Small items of our own in the exact formats of the benchmarks, with the scores that are right.

The video shows red for ten seconds, then blue, then green. `ColourEngine` always tells the newest
colour, as a letter, a word or a yes, so every score below follows from what was asked when: it is
below 1 where an item's truth was made wrong on purpose.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from onlooker.demo_model.video import write_video
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import Question

VIDEO = "colours.mp4"
COLOURS = {"red": (220, 40, 40), "blue": (50, 80, 220), "green": (40, 180, 60)}
EACH_S, FPS = 10, 4
SIZE = (128, 96)

_OPTION = re.compile(r"^([A-Z])\. (\w+)", re.MULTILINE)
_OUTPUT = re.compile(r'output "(\w+)"')


class ColourEngine(ScriptedEngine):
    """Sees colours only, and says the newest as it is asked to."""

    async def check(self, check: Check) -> CheckResult:
        """As the scripted engine's. "Another colour" has come when the newest differs from the one
        before, and there was one."""
        if "another colour" in check.text:
            seen = {clip.colour for clip in self._seen.get(check.stream_id, {}).values()}
            text = f"just {' '.join(COLOURS)}" if len(seen) > 1 else "not yet"
            check = replace(check, text=text)
        return await super().check(check)

    def _reply(self, question: Question, visible: list[Any]) -> str:
        colour = visible[-1].colour if visible else "nothing"
        text = question.text.rpartition("Earlier questions")[2]
        if (output := _OUTPUT.search(text)) is not None:
            return "Yes." if output[1] == colour else "No, not yet."
        if options := _OPTION.findall(text):
            letter = next((letter for letter, name in reversed(options) if name == colour), "?")
            return f"Answer: {letter}"
        if "come to that" in text:
            return "Yes." if len({clip.colour for clip in visible}) > 1 else "Not as far as I know."
        if "yes or no" in text:
            return "yes" if colour in text else "no"
        if "number only" in text:
            runs = {clip.colour for clip in visible}
            return f"It was {len(runs)} times."
        before = question.dialogue[-1].answer if question.dialogue else "nothing"
        return f"It is {colour} now, after {before}."


def write_own_video(folder: Path) -> None:
    """Write the video into a folder."""
    width, height = SIZE
    pictures = (
        np.full((height, width, 3), colour, np.uint8)
        for colour in COLOURS.values()
        for _ in range(EACH_S * FPS)
    )
    write_video(folder / VIDEO, pictures, FPS)


def write_items(folder: Path) -> dict[str, dict[str, float]]:
    """Write an annotation file for each benchmark; returns the score of each that is right, by the
    name of the way of scoring."""
    for name, items in ITEMS.items():
        (folder / f"{name}.json").write_text(json.dumps(items), encoding="utf-8")
    return SCORES


def _choice(stamp: str, answer: str, task: str) -> dict[str, Any]:
    options = [
        f"{letter}. {name}" for letter, name in zip("ABCD", [*COLOURS, "white"], strict=True)
    ]
    return {
        "task_type": task, "question": "Which one is it now?", "time_stamp": stamp,
        "answer": answer, "options": options, "required_ability": "seeing",
    }  # fmt: skip


def _entry(*questions: dict[str, Any]) -> dict[str, Any]:
    return {"time": "[0-30]", "video_categories": "ours", "video_path": VIDEO,
            "questions": list(questions)}  # fmt: skip


def _ovo(number: int, task: str, realtime: float, gt: int) -> dict[str, Any]:
    return {"id": number, "task": task, "video": VIDEO, "realtime": realtime, "gt": gt,
            "question": "Which one is it now?", "options": [*COLOURS, "white"]}  # fmt: skip


ITEMS: dict[str, Any] = {
    "streamingbench-real": [
        _entry(_choice("00:00:05", "A", "Colour"), _choice("00:00:15", "B", "Colour")),
        _entry(_choice("00:00:25", "C", "Colour"), _choice("00:00:25", "D", "Wrong")),
    ],
    "streamingbench-real-all": [_entry(_choice("00:00:09", "A", "Colour"))],
    "streamingbench-sqa": [[_entry(_choice("00:00:05", "A", "Colour")),
                            _entry(_choice("00:00:15", "B", "Colour"))]],
    "streamingbench-proactive": [
        _entry({"question": "Say when another colour comes, and which.", "time_stamp": "00:00:07",
                "ground_truth_time_stamp": "00:00:11", "ground_truth_output": "blue",
                "task_type": "Proactive Output", "required_ability": "waiting"}),
        _entry({"question": "Say when another colour comes, and which.", "time_stamp": "00:00:07",
                "ground_truth_time_stamp": "00:00:11", "ground_truth_output": "white",
                "task_type": "Proactive Output", "required_ability": "waiting"}),
    ],
    "ovo-bench": [
        _ovo(1, "EPM", 5.0, 0), _ovo(2, "OJR", 15.0, 1), _ovo(3, "OJR", 25.0, 0),
        {"id": 4, "task": "REC", "video": VIDEO, "activity": "another colour",
         "start_times": [0, 10, 20], "end_times": [10, 20, 30],
         "test_info": [{"realtime": 5.0, "count": 1}, {"realtime": 25.0, "count": 3}]},
        {"id": 5, "task": "SSR", "video": VIDEO, "tutorial": "painting", "all_steps": ["red"],
         "start_time": [0], "end_time": [10],
         "test_info": [{"realtime": 5.0, "step": "red", "type": 1},
                       {"realtime": 15.0, "step": "red", "type": 0}]},
    ],
    "streameqa": [
        {"id": 1, "task": "Perception", "video": VIDEO, "realtime": 15, "gt": 1,
         "question": "Which one is it now?", "options": [*COLOURS, "white"]},
    ],
    # Said at 0.5, 10.5 and 20.5 s, where the first clip of each colour ends; the third is wrong.
    "proactivevideoqa": [
        {"video": VIDEO, "question_id": "q1", "duration": 30, "dataset": "WEB",
         "conversation": [{"role": "user", "content": "Which one is it?", "time": 0}],
         "answer": [
            {"role": "assistant", "content": content, "related_timespan": span,
             "reply_timespan": span}
            for content, span in (("red now", [0, 10]), ("blue now", [10, 20]),
                                  ("snow white", [20, 30]))]},
    ],
    "streamgaze-past": [
        {"response_time": "[00:05 - 00:15]", "video_path": f"a/folder/of/others/{VIDEO}",
         "questions": [_choice("00:05", "A", "Recall"), _choice("00:15", "C", "Recall")]},
    ],
    "streamgaze-present": [
        {"response_time": "[00:05 - 00:15]", "video_path": VIDEO,
         "questions": [_choice("00:25", "C", "Now")]},
    ],
    "streamgaze-proactive": [
        {"response_time": "[00:02 - 00:15]", "video_path": VIDEO, "questions": [
            {"question": "Alert me when I look at another colour.", "time_stamp": "00:02",
             "first_appearance": "00:10", "target_object": "blue", "test_info": [
                {"realtime": "00:08", "type": 0, "input_video_clip": [0, 8]},
                {"realtime": "00:12", "type": 1, "input_video_clip": [0, 12]}]}]},
    ],
    "rvs": [{"video_id": "v1", "video_path": VIDEO, "conversations": [
        {"question": "What is it?", "answer": "blue now", "start_time": 0, "end_time": 15.0},
        {"question": "What is it?", "answer": "blue now", "start_time": 0, "end_time": 25.0}]}],
    "svbench": [{"video_id": "v1", "video_path": VIDEO, "scenes": [
        {"questions": ["What is it?", "And now?"], "timestamps": [5.0, 15.0],
         "gt_answers": ["red now", "after It is red now"]}]}],
}  # fmt: skip
"""By the benchmark's name."""

SCORES: dict[str, dict[str, float]] = {
    "streamingbench-real": {"official": 0.75},
    "streamingbench-real-all": {"official": 1.0},
    "streamingbench-sqa": {"official": 1.0},
    "streamingbench-proactive": {"polled": 0.5, "pushed": 0.5, "pushed-strict": 0.5},
    # Means of the groups: 1 of 1 looking back, 1 of 2 now, all of what is to come.
    "ovo-bench": {"official": 2.5 / 3, "strict": 2.5 / 3},
    "streameqa": {"official": 1.0},
    # A quarter second at 0.5 points, then 2 points, or none: of 20.
    "proactivevideoqa": {"pauc": (2 * (0.125 + 9.75 * 2) + 0.125) / 60},
    "streamgaze-past": {"official": 0.5, "strict": 0.5},
    "streamgaze-present": {"official": 1.0, "strict": 1.0},
    # "Not as far as I know" holds a "no", but is none: only the official score takes it for one.
    "streamgaze-proactive": {"official": 1.0, "strict": 0.5, "pushed": 1.0},
    "rvs": {"held": 0.5},
    "svbench": {"held": 1.0},
}
"""What is right for `ITEMS`, of all."""
