"""A scripted oracle: what the model would say about each clip, and a way to run a trigger on it."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.watches.triggers.interface import (
    CheckLost,
    Decision,
    Defer,
    Signals,
    Silence,
    Speak,
    Trigger,
)

BLANK = np.zeros((2, 2, 3), np.uint8)


def make_clip(index: int, *, brightness: int = 0) -> Clip:
    """The clip of second `index`."""
    pixels = np.full((8, 8, 3), brightness, np.uint8) if brightness else BLANK
    frame = Frame(index, float(index), 0.0, pixels)
    return Clip(StreamId("door"), index, (frame, frame))


@dataclass
class Oracle:
    """The model's opinion of one clip; None: the check is lost."""

    yes: float | None = 0.5
    """Probability of yes."""
    perplexity_of: Mapping[str, float] = field(default_factory=dict)
    silence_of: tuple[float, float] = (1.0, 0.0)
    heads_of: Mapping[str, float] = field(default_factory=dict)
    says: str = ""
    asked: list[str] = field(default_factory=list)

    async def margin(self) -> float:
        self.asked.append("margin")
        if self.yes is None:
            raise CheckLost
        return math.log(self.yes / (1 - self.yes))

    async def heads(self) -> Mapping[str, float]:
        self.asked.append("heads")
        return self.heads_of

    async def perplexity(self, text: str) -> float:
        self.asked.append("perplexity")
        return self.perplexity_of[text]

    async def silence(self) -> Silence:
        self.asked.append("silence")
        return Silence(*self.silence_of)

    async def reply(self) -> str:
        self.asked.append("reply")
        return self.says


def run(
    trigger: Trigger,
    oracles: Sequence[Oracle],
    *,
    changes: Sequence[float] | None = None,
    answers: Mapping[int, str] | None = None,
) -> str:
    """One letter a clip: S speak, d defer, . silent, x lost. `answers` are told where it spoke."""

    async def all_clips() -> str:
        letters = ""
        for index, oracle in enumerate(oracles):
            signals = Signals(change=changes[index] if changes else 1.0)
            try:
                decision = await trigger.on_clip(make_clip(index), signals, oracle)
            except CheckLost:
                letters += "x"
                continue
            letters += letter(decision)
            if isinstance(decision, Speak) and answers is not None:
                await trigger.spoke(answers[index], oracle)
        return letters

    return asyncio.run(all_clips())


def letter(decision: Decision) -> str:
    if isinstance(decision, Speak):
        return "S"
    return "d" if isinstance(decision, Defer) else "."
