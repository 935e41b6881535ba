"""`Trigger`: a clip comes in, and `Silent`, `Speak` or `Defer` comes out.

A trigger belongs to one watch on one stream. It sees every clip once, in time order, and may keep
state. What it says of a clip depends on this clip and on earlier ones only. What it needs to know
from the model it asks of a `Score`, which answers for exactly this clip, however late it is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from onlooker.core.media import Clip
from onlooker.watches.triggers.sight import Sight


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of a clip without asking the model."""

    change: float
    """Share of the picture that differs from the clip before, 0-1; 1 for a stream's first clip."""
    sight: Sight | None = None
    """What else the picture shows; None where that was not measured."""


@dataclass(frozen=True, slots=True)
class Silence:
    """How a model would begin its reply, if it were to speak now."""

    probability: float
    """Probability of the token that says nothing: the end of the turn, or the model's own token."""
    best_other: float
    """Probability of the likeliest other token."""


class Score(Protocol):
    """The model's opinion of one clip, on a fork of the stream's context that is never kept.

    Every method raises `CheckLost` when the model could not be asked.
    """

    async def margin(self) -> float:
        """Log probability of "yes" minus that of "no" for the watch's question."""
        ...

    async def heads(self) -> Mapping[str, float]:
        """What the model's own heads give (0-1) at the end of the watch's question, by name."""
        ...

    async def perplexity(self, text: str) -> float:
        """How surprising `text` would be as the reply to the watch's prompt: e to the power of the
        mean negative log probability of its tokens."""
        ...

    async def silence(self) -> Silence:
        """How a reply to the watch's prompt would begin."""
        ...

    async def reply(self) -> str:
        """A whole reply to the watch's prompt."""
        ...


class CheckLost(Exception):
    """The model could not be asked: there was no room in time, or the engine failed."""


@dataclass(frozen=True, slots=True)
class Silent:
    """There is nothing to say about this clip."""

    confidence: float | None = None
    """Probability that there was something to say, where the trigger knows one."""
    why: Literal["unchanged", "unneeded", "quiet"] | None = None
    """Why the model was not asked, or not asked any further: the picture has not changed, or not in
    what the question is about, or the model would keep silent."""


@dataclass(frozen=True, slots=True)
class Speak:
    """There is something to say about this clip."""

    confidence: float | None = None
    """Probability of that, where the trigger knows one."""
    text: str | None = None
    """What there is to say, where the trigger knows it already."""


@dataclass(frozen=True, slots=True)
class Defer:
    """It cannot be told yet: the evidence is not there, or it could not be looked at."""

    reason: str


Decision = Silent | Speak | Defer


class Trigger(Protocol):
    """A rule for when to speak."""

    @property
    def is_on(self) -> bool:
        """Whether what it looks for was there when it was last asked; False where it cannot say."""
        ...

    def go_on(self, is_on: bool) -> None:
        """Take the place of a trigger of an earlier server that said this of itself."""
        ...

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        """Decide about the next clip.

        Raises:
            CheckLost: `score` did. The trigger is then as if the clip had been passed over.
        """
        ...

    def passed_over(self, clip: Clip) -> None:
        """Take note of a clip that is not asked about, because a cheaper trigger was silent or
        because the watch has fallen behind."""
        ...

    async def spoke(self, text: str, score: Score) -> None:
        """Take note of what was said about the newest clip."""
        ...


class Rule:
    """The base of triggers that take no note of clips that were passed over, or of what was
    said, and know nothing that a later server goes on with."""

    is_on: bool = False

    def go_on(self, is_on: bool) -> None:
        """Nothing to go on with."""

    def passed_over(self, clip: Clip) -> None:
        """Nothing to note."""

    async def spoke(self, text: str, score: Score) -> None:
        """Nothing to note."""
