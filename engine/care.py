"""How one request is to be served: its deadlines, and how much of its memory load leaves it."""

from dataclasses import dataclass

from onlooker.scheduler.ticket import Ticket


@dataclass(frozen=True, slots=True)
class Care:
    """Goes with each clip and each question to the engine."""

    ticket: Ticket | None = None
    """For the scheduler; None has neither class nor deadline, and counts as a question of now."""
    memory_share: float = 1.0
    """Share of the recent window and of the retrieved clips that its context shows (0-1)."""

    def of(self, num_clips: int) -> int:
        """How many of `num_clips` its context shows: at least one, where there is any."""
        return min(num_clips, max(1, round(num_clips * self.memory_share)))


NO_CARE = Care()
"""Of requests that nobody told anything about."""
