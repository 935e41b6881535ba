"""StreamEQA: questions of an embodied viewer with four options each, on 64 seconds of video."""

from collections.abc import Iterator, Sequence
from typing import Any

from onlooker.benchmarks.adapters.asked import VideoTask
from onlooker.benchmarks.adapters.choices import numbered_choice

CONTEXT_S = 64.0


def tasks(items: Sequence[dict[str, Any]]) -> Iterator[VideoTask]:
    """One task an item."""
    for item in items:
        probe = numbered_choice(item)
        start_s = max(0.0, probe.at_s - CONTEXT_S)
        yield VideoTask(video=item["video"], start_s=start_s, probes=(probe,))
