"""How many servers a fleet should have for the load that it has."""

import math
from collections.abc import Sequence

SLACK = 1e-6
"""By so much a sum of shares may be over by rounding."""


def wanted_servers(loads: Sequence[float], *, target: float, num_running: int, before: int) -> int:
    """How many servers would have a load of `target` each, if they shared what there is.

    Args:
        loads: of each server that has told its own, as a share of what it can do at full quality.
            More than 1 where quality has given way.
        target: what a server should have of it, as a share.
        num_running: how many servers there are. While one of them has not told its load, or none
            runs yet, nothing is known.
        before: how many there should be until now, and go on to be where nothing is known.
    """
    if not loads or len(loads) < num_running:
        return before
    return max(1, math.ceil(sum(max(0.0, load) for load in loads) / target - SLACK))
