"""`EmptySteps`: how long to rest while all requests wait for what is being fetched.

vLLM asks again every millisecond whether one of them can start, and runs a step that computes
nothing to do so.
"""

MOST_REST_S = 0.008
"""The longest rest in seconds: by so much a request that comes meanwhile may be started later."""

FIRST_REST_S = 0.001


class EmptySteps:
    """Counts steps without work, which rest longer and longer."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def rest_s(self, *, is_empty: bool) -> float:
        """Seconds to rest after a step. `is_empty`: whether it computed nothing, and requests wait
        for what is being fetched."""
        rest_s = self._next_s if is_empty else 0.0
        self._next_s = min(MOST_REST_S, max(FIRST_REST_S, 2 * rest_s)) if is_empty else 0.0
        return rest_s
