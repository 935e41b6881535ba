"""A question in words that fit the clips that stand for its time.

A clip's stamp says when it was taken. "At 60 seconds" may well be answered from the clip of 49.3
seconds, as nothing changed between, but a model that reads stamps cannot know that: it has to be
told.
"""

from collections.abc import Sequence
from enum import StrEnum

from onlooker.engine.memory.shown import ShownClip
from onlooker.engine.memory.times import Now, Span, named_moments, named_spans


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
    text, end = "", 0
    for place, span in named_moments(question, now):
        if (clip := standing(shown, span)) is None:
            continue
        at = "At" if question[place.start].isupper() else "at"
        text += f"{question[end : place.start]}{at} {clip.stamp_s:.1f} seconds"
        end = place.stop
    return text + question[end:]
