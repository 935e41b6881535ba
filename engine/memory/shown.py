"""`ShownClip`: a clip as an answer's context shows it, and the time for which it stands there."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from onlooker.core.media import Clip, Cover
from onlooker.engine.interface import Question
from onlooker.engine.memory.timeline import RememberedClip
from onlooker.engine.memory.times import Span


@dataclass(frozen=True, slots=True)
class ShownClip:
    """What an answer may know of a clip: its time, as far as that had passed when the question was
    asked."""

    start_s: float
    until_s: float
    """Where the clip's cover ends, see `Cover`."""
    stamp_s: float
    """The time that the model is told of the clip."""

    @classmethod
    def remembered(cls, clip: RememberedClip, asked_s: float) -> "ShownClip":
        """A remembered clip, in a context of stream time `asked_s`."""
        until_s = max(clip.end_s, min(clip.until_s, asked_s))
        return cls(clip.start_s, until_s, _stamp_s(clip.start_s, clip.end_s))

    @classmethod
    def pictured(cls, clip: Clip, until_s: float, asked_s: float) -> "ShownClip":
        """A clip that is at hand with its pictures, whose cover ends at `until_s`."""
        until_s = max(clip.end_s, min(until_s, asked_s))
        return cls(clip.start_s, until_s, _stamp_s(clip.start_s, clip.end_s))

    def stands_for(self, span: Span) -> bool:
        """Whether it stands for some of `span`, or was taken in it."""
        return self.overlap_s(span) > 0 or span[0] <= self.start_s < span[1]

    def overlap_s(self, span: Span) -> float:
        """For how long of `span` the clip stands; 0 or less where it does not."""
        return min(self.until_s, span[1]) - max(self.start_s, span[0])


def in_turn(shown: Sequence[ShownClip]) -> list[ShownClip]:
    """Clips of a context, in time order, each of which stands no longer than until the next one
    begins."""
    ends = [*(clip.start_s for clip in shown[1:]), math.inf]
    return [
        replace(clip, until_s=min(clip.until_s, max(clip.start_s, end_s)))
        for clip, end_s in zip(shown, ends, strict=False)
    ]


def before_until_s(clip: Clip) -> float:
    """Where the cover of the clip before `clip` ends."""
    return clip.start_s if clip.before_until_s is None else clip.before_until_s


def cover_until_s(clip: Clip) -> float:
    """Where the cover of `clip` itself ends, as far as it says."""
    return clip.end_s if clip.cover_until_s is None else max(clip.end_s, clip.cover_until_s)


def waiting(question: Question) -> list[ShownClip]:
    """The frame that waits for its partner, where the question was asked with one."""
    pending = question.pending
    if pending is None:
        return []
    until_s = cover_s(question.covers, pending.clip_index, pending.end_s)
    return [ShownClip.pictured(pending, until_s, question.asked_s)]


def cover_s(covers: Iterable[Cover], clip_index: int, at_least_s: float) -> float:
    """Where the cover of a clip ends: as `covers` say, and not before `at_least_s`."""
    known = (cover.until_s for cover in covers if cover.clip_index == clip_index)
    return max(at_least_s, next(known, at_least_s))


def spans_s(shown: Iterable[ShownClip]) -> tuple[Span, ...]:
    """The time for which clips, which come in order, stand: as few spans as that takes."""
    spans: list[Span] = []
    for clip in shown:
        if spans and clip.start_s <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], clip.until_s))
        else:
            spans.append((clip.start_s, clip.until_s))
    return tuple(spans)


def _stamp_s(start_s: float, end_s: float) -> float:
    """The mean of the frames' times, rounded as the stamps of prompts are."""
    return (round(start_s, 3) + round(end_s, 3)) / 2
