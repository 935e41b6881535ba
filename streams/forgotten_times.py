"""`ForgottenTimes`: which times of a stream were deleted."""

import math
from collections.abc import Iterable

MAX_SPANS = 64
"""Deleted spans that are told apart; beyond, the oldest are no longer known as deleted."""

SLACK_S = 0.5
"""A time that is named lies within a deleted one though it begins or ends so much beside it."""

Span = tuple[float, float]
"""Start and end in seconds of stream time."""


class ForgottenTimes:
    """Spans of stream time. Changed on the event loop; may be asked from any thread."""

    def __init__(self, aged_until_s: float = -math.inf, spans: Iterable[Span] = ()) -> None:
        self.aged_until_s = aged_until_s
        """What was captured before this was deleted because it was old; minus infinity where
        nothing was."""
        self.spans: tuple[Span, ...] = _joined(spans)
        """What was deleted because somebody asked for it, in order."""

    def add(self, start_s: float, end_s: float) -> None:
        """Note that a span was deleted on request."""
        self.spans = _joined([*self.spans, (start_s, end_s)])[-MAX_SPANS:]

    def age(self, until_s: float) -> None:
        """Note that what was captured before `until_s` was deleted because it was old."""
        self.aged_until_s = max(self.aged_until_s, until_s)

    @property
    def all_spans(self) -> list[Span]:
        """All that was deleted, for whatever reason."""
        aged = [(-math.inf, self.aged_until_s)] if self.aged_until_s > -math.inf else []
        return [*aged, *self.spans]

    def touch(self, start_s: float, end_s: float) -> bool:
        """Whether any of a span was deleted."""
        if start_s < self.aged_until_s:
            return True
        return any(first_s <= end_s and last_s >= start_s for first_s, last_s in self.spans)

    def cover(self, start_s: float, end_s: float) -> bool:
        """Whether all of a span was deleted, give or take a little at its ends."""
        slack_s = min(SLACK_S, (end_s - start_s) / 2)
        at_s, is_begun = start_s, False
        for first_s, last_s in _joined(self.all_spans):
            if first_s - slack_s <= at_s <= last_s + slack_s:
                at_s, is_begun = max(at_s, last_s + slack_s), True
        return is_begun and at_s >= end_s

    def within(self, start_s: float, end_s: float) -> tuple[Span, ...]:
        """The parts of a span that were deleted."""
        return tuple(
            (max(start_s, first_s), min(end_s, last_s))
            for first_s, last_s in _joined(self.all_spans)
            if first_s <= end_s and last_s >= start_s
        )


def _joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The spans in order, those that overlap as one."""
    found: list[Span] = []
    for start_s, end_s in sorted(spans):
        if found and start_s <= found[-1][1]:
            found[-1] = (found[-1][0], max(end_s, found[-1][1]))
        else:
            found.append((start_s, end_s))
    return tuple(found)
