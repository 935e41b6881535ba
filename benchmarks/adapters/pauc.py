"""PAUC, the area under the curve of what was said and when (Wang et al., "ProactiveVideoQA",
arXiv 2507.09313).

The paper's judge gives what has been said so far 0, 1 or 2 points for how well it matches the true
answer. Within the true answer's span of time these points are drawn over time:

    points
       2 |            +-----------    after the second reply
       1 |      +-----+               after the first reply
     0.5 |------+                     before anything was said: better than a wrong reply
       0 +------+-----+-----------
         start  t1    t2         end

The area below, divided by that of 2 points all the time, is PAUC. `omega` says how much the time
of a reply counts: times are contracted to ``start + omega * (t - start)``, so that 1 takes them as
they are and 0 looks at the last word only; the paper's default is 0.5.

Neither the full text of the paper nor its scorer was at hand here. Three points are our reading of
shorter descriptions, and are to be checked before figures are compared: that silence counts half a
point, how `omega` contracts times, and that the curve is a staircase.
"""

from collections.abc import Sequence

from onlooker.benchmarks.adapters.asked import Pushed

MAX_POINTS = 2.0
SILENT_POINTS = 0.5
OMEGA = 0.5


def pauc(
    points: Sequence[tuple[float, float]], *, start_s: float, end_s: float, omega: float = OMEGA
) -> float:
    """The area under the curve, from 0 to 1.

    Args:
        points: for each reply within the span, in the order of time, when it was said and how many
            points what had been said by then was worth.
        start_s, end_s: the span of time in which the true answer is to be said.
    """
    if end_s <= start_s:  # a moment: only what was said counts
        return (points[-1][1] if points else SILENT_POINTS) / MAX_POINTS
    area, since_s, level = 0.0, start_s, SILENT_POINTS
    for at_s, worth in points:
        moved_s = start_s + omega * (at_s - start_s)
        area += level * (moved_s - since_s)
        since_s, level = moved_s, worth
    area += level * (end_s - since_s)
    return area / (MAX_POINTS * (end_s - start_s))


def duplicate_ratio(replies: Sequence[Pushed]) -> float:
    """Share of the replies that say what one before them said, letter for letter but for case and
    spaces; 0 where nothing was said. The paper's judge counts by meaning, and so finds more."""
    told = [" ".join(reply.text.lower().split()) for reply in replies]
    return (len(told) - len(set(told))) / len(told) if told else 0.0
