"""StreamEQA: questions of an embodied viewer with four options each, on 64 seconds of video."""

from collections.abc import Iterator, Sequence
from typing import Any

from onlooker.benchmarks.adapters.asked import ReplyForm, VideoProbe, VideoTask
from onlooker.benchmarks.adapters.times import seconds_of

CONTEXT_S = 64.0


def tasks(items: Sequence[dict[str, Any]]) -> Iterator[VideoTask]:
    """One task an item."""
    for item in items:
        at_s = seconds_of(item["realtime"])
        options = [f"{chr(ord('A') + at)}. {option}" for at, option in enumerate(item["options"])]
        probe = VideoProbe(
            key=str(item["id"]),
            at_s=at_s,
            text=f"{item['question']}\n" + "\n".join(options) + "\nAnswer with the letter only.",
            form=ReplyForm.LETTER,
            truth=chr(ord("A") + int(item["gt"])),
            group=item["task"],
            more={"num_options": len(options)},
        )
        yield VideoTask(video=item["video"], start_s=max(0.0, at_s - CONTEXT_S), probes=(probe,))
