"""`VideoProbe` and `VideoTask`: what a benchmark asks about one video, and when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class ReplyForm(StrEnum):
    """What a benchmark's scorer expects of a reply."""

    LETTER = "letter"
    YES_NO = "yes_no"
    NUMBER = "number"
    OPEN = "open"
    PUSHED = "pushed"
    """Nothing is asked: a watch is left with the stream, and what it says by itself is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoProbe:
    """One question at one moment of a video."""

    key: str
    """Names it among all probes of its benchmark; a run that goes on passes over those it has."""
    at_s: float
    """Time of the video up to which the reply may know anything."""
    text: str
    form: ReplyForm
    truth: Any = None
    """What the scorer compares with; never part of what is asked, but where the benchmark itself
    tells it (`leaks`)."""
    group: str = ""
    """The task of the benchmark that it counts for."""
    leaks: bool = False
    """Whether the benchmark's own wording tells the expected reply."""
    dialogue: str | None = None
    """Names the dialogue that it belongs to, in which earlier replies are known; None: alone."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What else its scorer needs."""
    watch: Mapping[str, Any] = field(default_factory=dict)
    """Options of the watch, where the form is `PUSHED`; it is taken away at `at_s`."""
    from_s: float = 0.0
    """Time of the video at which the watch is left with the stream."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """Something that a watch said by itself."""

    at_s: float
    """Time of the video up to which it had seen when it spoke."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoTask:
    """One video, from one moment on, and what is asked about it."""

    video: str
    """Its file, relative to the folder of videos."""
    probes: Sequence[VideoProbe]
    start_s: float = 0.0
    """What was before is not shown, as the benchmark's harness cuts it away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A probe with what was replied to it."""

    probe: VideoProbe
    reply: str
    """In the form that the scorer wants."""
    raw: str = ""
    """As the model wrote it."""
    seen_until_s: float | None = None
    ttft_ms: float | None = None
    num_prompt_tokens: int = 0
    num_output_tokens: int = 0
    pushed: Sequence[Pushed] = ()
    """What the probe's watch said, in the order of time."""
