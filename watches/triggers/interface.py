"""The one interface of all triggers: a clip comes in, `Silent`, `Speak` or `Defer` comes out.

A trigger belongs to one watch on one stream. It sees every clip once, in time order, and may keep
state; what it says of a clip depends on this clip and earlier ones only. What it needs to know of
the model it asks of a `Score`, which answers for exactly this clip however late the question is.
"""

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
    """What else the picture shows; None: not measured."""


@dataclass(frozen=True, slots=True)
class Silence:
    """How a model would begin its reply, if it were to speak now."""

    probability: float
    """Of the token that says nothing (end of turn, or the model's own silence token)."""
    best_other: float
    """Of the likeliest other token."""


class Score(Protocol):
    """The model's opinion of one clip, on a fork of the stream's context that is never kept.

    Every method raises `CheckLost` when the check could not be run in time.
    """

    async def margin(self) -> float:
        """Log probability of "yes" minus that of "no" for the watch's question."""
        ...

    async def perplexity(self, text: str) -> float:
        """Of `text` as the reply to the watch's question: exp of its mean negative log
        probability a token."""
        ...

    async def silence(self) -> Silence:
        """How a reply to the watch's prompt would begin."""
        ...

    async def reply(self) -> str:
        """A whole reply to the watch's prompt."""
        ...


class CheckLost(Exception):
    """A check was not run: there was no room for it before its clip was too old."""


@dataclass(frozen=True, slots=True)
class Silent:
    """Nothing to say of this clip."""

    confidence: float | None = None
    """Probability that there would have been, where the trigger has one."""
    why: Literal["unchanged", "unneeded", "quiet"] | None = None
    """Why the model was not asked (all there was to ask): the picture has not changed, or not in
    what the question is about, or the model would say nothing of it."""


@dataclass(frozen=True, slots=True)
class Speak:
    """Speak now."""

    confidence: float | None = None
    text: str | None = None
    """What to say, where the trigger knows it already."""


@dataclass(frozen=True, slots=True)
class Defer:
    """Not yet: the evidence is not there, or it could not be looked at."""

    reason: str


Decision = Silent | Speak | Defer


class Trigger(Protocol):
    """A rule for when to speak."""

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        """Decide about the next clip.

        Raises:
            CheckLost: from `score`; the state is then as if the clip had been passed over.
        """
        ...

    def passed_over(self, clip: Clip) -> None:
        """This clip is not asked about: a cheaper trigger was silent, or there was no room."""
        ...

    async def spoke(self, text: str, score: Score) -> None:
        """What was said about the newest clip, for rules that compare with it."""
        ...


class Rule:
    """What a trigger does that keeps no state of these kinds."""

    def passed_over(self, clip: Clip) -> None:
        """Nothing to note."""

    async def spoke(self, text: str, score: Score) -> None:
        """Nothing to note."""
