"""PAUC, the area under the curve of what was said and when (Wang et al., "ProactiveVideoQA",
arXiv 2507.09313), as its scorer reckons.

A judge gives what has been said so far 0, 1 or 2 points for how well it matches the true answer.
Within the true answer's span of time these points are drawn over time, as a staircase:

    points
       2 |            +-----------    after the second reply
       1 |      +-----+               after the first reply
     0.5 |------+                     before anything was said: better than a wrong reply
       0 +------+-----+-----------
         start  t1    t2         end

The area below, divided by that of 2 points all the time, is PAUC. `omega` says how little the time
of a reply counts: it counts as if it had come at ``start + (1 - omega) * (t - start)``, so that 0
takes times as they are and 1 looks at the last word only; the default is 0.5.

The scorer's own file was not at hand here, but two programs that say that they carry it over, and
that agree with each other. The words of the paper itself were not compared.
"""

from collections.abc import Sequence

from onlooker.benchmarks.adapters.asked import Pushed

MAX_POINTS = 2.0
SILENT_POINTS = 0.5
OMEGA = 0.5

Curve = Sequence[tuple[float, float]]
"""For each reply within a span, in the order of time, when it was said and how many points what had
been said by then was worth."""


def pauc(points: Curve, *, start_s: float, end_s: float, omega: float = OMEGA) -> float:
    """The area under the curve, from 0 to 1.

    Args:
        start_s, end_s: the span of time in which the true answer is to be said. In a span without
            length what was said in the end counts, where the scorer gives nothing.
    """
    if end_s <= start_s:
        return (points[-1][1] if points else SILENT_POINTS) / MAX_POINTS
    area, since_s, level = 0.0, start_s, SILENT_POINTS
    for at_s, worth in points:
        moved_s = start_s + (1 - omega) * (at_s - start_s)
        area += level * (moved_s - since_s)
        since_s, level = moved_s, worth
    area += level * (end_s - since_s)
    return area / (MAX_POINTS * (end_s - start_s))


def without_late_harm(points: Curve, *, shown_until_s: float) -> list[tuple[float, float]]:
    """The curve without replies that came after what they tell of had ended to be shown, and that
    made what had been said by then worth less: the scorer does not hold these against a model."""
    kept: list[tuple[float, float]] = []
    last_shown = 0.0
    for at_s, worth in points:
        if at_s <= shown_until_s:
            last_shown = worth
        elif worth < last_shown:
            continue
        kept.append((at_s, worth))
    return kept


def duplicate_ratio(replies: Sequence[Pushed]) -> float:
    """Share of the replies that say what one before them said, letter for letter but for case and
    spaces; 0 where nothing was said. The paper's judge counts by meaning, and so finds more."""
    told = [" ".join(reply.text.lower().split()) for reply in replies]
    return (len(told) - len(set(told))) / len(told) if told else 0.0
