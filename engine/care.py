"""How one request is to be served: its deadlines, and how much of its memory load leaves it."""

import msgspec

from onlooker.scheduler.ticket import Ticket


class Care(msgspec.Struct, frozen=True):
    """How one request is to be served; it goes with each clip and each question to the engine."""

    ticket: Ticket | None = None
    """Class and deadlines, for the scheduler; None counts as a question that has just come in."""
    memory_share: float = 1.0
    """Share of the recent window and of the retrieved clips that the request's context shows
    (0-1)."""
    token_drop: str | None = None
    """The method by which places of a clip are left out, by its name in
    `onlooker.engine.memory.drops`; None: the engine's own."""
    compaction: str | None = None
    """The method by which the stream's clips are compacted once they have left the recent window,
    by its name in `onlooker.engine.memory.compaction`; None: the engine's own."""
    is_thinned: bool = False
    """Whether load leaves no time to compute what hardly changed."""

    def of(self, num_clips: int) -> int:
        """How many of `num_clips` the request's context shows: at least one, where there is any."""
        return min(num_clips, max(1, round(num_clips * self.memory_share)))


NO_CARE = Care()
"""The care of requests about which nothing was said."""
