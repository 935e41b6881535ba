"""When or how often several cameras saw something: which of them comes first, and how often in all.

Each camera says its own times. Which was the first or the last of all is known only where the wall
times of all of them are: the stream times of two cameras cannot be compared. Where the times of a
camera are not known, since its model answered without a diary or it was not heard, a count is the
least that it may be, and the first or the last is one as far as is known.
"""

from collections.abc import Sequence

from onlooker.core.protocol.surveys import SurveyPart
from onlooker.server.surveys.names import listed
from onlooker.streams.moments.question_plan import Wanted

_NEWEST = (Wanted.LAST, Wanted.LAST_SEEN)


def in_order(heard: Sequence[SurveyPart], wanted: Wanted | None) -> list[SurveyPart]:
    """The cameras that found times: where the first or the last is wanted and that can be told,
    that one's first; else those that found most."""
    found = [part for part in heard if part.num_moments]
    if wanted not in (Wanted.FIRST, *_NEWEST):
        return sorted(found, key=lambda part: -(part.num_moments or 0))
    times = {part.stream: _wall_time(part, wanted) for part in found}
    if None in times.values():
        return found
    is_newest = wanted in _NEWEST
    return sorted(found, key=lambda part: times[part.stream] or 0.0, reverse=is_newest)


def headline(
    named: Sequence[SurveyPart],
    parts: Sequence[SurveyPart],
    wanted: Wanted | None,
    *,
    is_reached: bool,
) -> list[str]:
    """What stands above the words of the cameras, in one line; nothing where only one was asked, or
    none found anything. `named`: as `in_order` gives them; `parts`: of all cameras, also of those
    that were not heard; `is_reached`: whether no server left out its own."""
    if not named or (len(parts) < 2 and is_reached):
        return []
    unknown = [part.name for part in parts if part.num_moments is None]
    is_exact = is_reached and all(part.moments_exact for part in parts)
    if wanted in (Wanted.EACH, Wanted.COUNT):
        counts = ", ".join(f"{part.name} {part.num_moments}" for part in named)
        total = sum(part.num_moments or 0 for part in named)
        lacking = f"; not known: {listed(unknown)}" if unknown else ""
        return [f"{'' if is_exact else 'At least '}{total} in all: {counts}{lacking}."]
    if len(named) > 1 and any(_wall_time(part, wanted) is None for part in named):
        return []
    which = "Last" if wanted in _NEWEST else "First"
    return [f"{which}{'' if is_exact else ', as far as is known'}: {named[0].name}."]


def _wall_time(part: SurveyPart, wanted: Wanted | None) -> float | None:
    if not part.moments:
        return None
    return part.moments[-1 if wanted in _NEWEST else 0].wall_time
