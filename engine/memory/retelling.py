"""A question in words that fit the clips that stand for its time.

A clip's stamp says when it was taken, in seconds of stream time. "At 60 seconds" may well be
answered from the clip of 49.3 seconds, as nothing changed between, and "at 13:45" names a time that
no stamp shows. A model that reads stamps cannot know either: it has to be told.
"""

import re
from collections.abc import Sequence
from enum import StrEnum

from onlooker.engine.memory.days import DAY_PART
from onlooker.engine.memory.shown import ShownClip
from onlooker.engine.memory.times import Now, Span, named_moments, named_on_wall, named_spans


class Retelling(StrEnum):
    """How a model is told that a clip stands for another time than its stamp says."""

    REMARK = "remark"
    """A sentence behind the question says so."""
    RESTATE = "restate"
    """The question names the stamp in place of the time; for a model that knows few sentences."""


def retold(question: str, now: Now, shown: Sequence[ShownClip], how: Retelling) -> str:
    """`question`, asked at `now` about clips that are `shown`, in time order. It stays as it is
    where clips are stamped with the time that it names, where it names none, or none stands for
    it."""
    if how is Retelling.RESTATE:
        return _restated(question, now, shown)
    remarks = [
        f"({question[named.place].strip().capitalize()}: from {named.span[0]:.1f} to "
        f"{named.span[1]:.1f} seconds.)"
        for named in named_on_wall(question, now)
    ]
    remarks += [
        f"(Nothing changed from {clip.stamp_s:.1f} to {clip.until_s:.1f} seconds.)"
        for span in named_spans(question, now)
        if (clip := standing(shown, span)) is not None
    ]
    return " ".join([question, *dict.fromkeys(remarks)])


def standing(shown: Sequence[ShownClip], span: Span) -> ShownClip | None:
    """The clip that stands for most of `span`; None where none does, or a clip is stamped with a
    time in it."""
    if any(span[0] <= clip.stamp_s < span[1] for clip in shown):
        return None
    return max(
        (clip for clip in shown if clip.overlap_s(span) > 0),
        key=lambda clip: clip.overlap_s(span),
        default=None,
    )


def _restated(question: str, now: Now, shown: Sequence[ShownClip]) -> str:
    text, end, is_on_wall = "", 0, False
    for named in named_moments(question, now):
        clip = standing(shown, named.span)
        if clip is None and named.is_on_wall:
            clip = _stamped(shown, named.span)
        if clip is None:
            continue
        is_on_wall = is_on_wall or named.is_on_wall
        at = "At" if question[named.place.start].isupper() else "at"
        text += f"{question[end : named.place.start]}{at} {clip.stamp_s:.1f} seconds"
        end = named.place.stop
    text += question[end:]
    # Days are in no stamp: the stamps that stand for them are named, or all that is shown is of
    # that day.
    is_on_wall = is_on_wall or bool(named_on_wall(question, now))
    if not is_on_wall:
        return text
    text = _DAYS.sub("", text).strip()
    return text[:1].upper() + text[1:]


_DAYS = re.compile(rf",?\s*\b{DAY_PART}\b(?:,(?=\s))?|^{DAY_PART},?\s*", re.IGNORECASE)


def _stamped(shown: Sequence[ShownClip], span: Span) -> ShownClip | None:
    """The first clip that is stamped with a time in `span`."""
    return next((clip for clip in shown if span[0] <= clip.stamp_s < span[1]), None)
