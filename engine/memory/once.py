"""`Once`: a clip of the stream that is computed for one answer only and not remembered."""

from dataclasses import dataclass

from onlooker.core.media import Clip
from onlooker.engine.interface import Question
from onlooker.engine.memory.shown import ShownClip, waiting
from onlooker.engine.memory.stream_memory import Recall


@dataclass(frozen=True, slots=True)
class Once:
    """The half of the newest clip that had been captured when the question was asked, or the frame
    that waits for its partner."""

    clip: Clip
    shown: ShownClip


def shown_once(question: Question, newest: Clip | None, recall: Recall) -> list[Once]:
    """The clips that are computed for the answer to `question` only, in time order. `newest`: the
    stream's newest clip with its pixels.

    Where nothing is shown but the time that the question names, they are left out unless they stand
    for some of it.
    """
    asked_s = question.asked_s
    half = None
    if newest is not None and newest.end_s > asked_s:
        half = newest.until(asked_s)
    found = []
    if half is not None:
        found.append(Once(half, ShownClip.pictured(half, asked_s, asked_s)))
    if question.pending is not None:
        found += [Once(question.pending, shown) for shown in waiting(question)]
    if not recall.alone:
        return found
    return [one for one in found if any(one.shown.stands_for(span) for span in recall.alone)]
