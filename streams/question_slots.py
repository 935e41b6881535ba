"""`QuestionSlots`: how many answers may be under way on one server at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from onlooker.core.errors import Overloaded, ShuttingDown
from onlooker.core.metrics import Metrics


class QuestionSlots:
    """The bound on answers that are under way at a time; one for the whole hub."""

    def __init__(self, max_questions: int, metrics: Metrics) -> None:
        self._max_questions, self._metrics = max_questions, metrics
        self.num_taken = 0
        """Answers that are under way."""
        self.num_unstarted = 0
        """Those of them that have not had their first word."""
        self.is_closing = False

    def check(self) -> None:
        """Raise when one more may not start.

        Raises:
            Overloaded: all slots are taken.
            ShuttingDown: the server is draining.
        """
        if self.is_closing:
            raise ShuttingDown("the server is shutting down and takes no more questions")
        if self.num_taken >= self._max_questions:
            raise Overloaded(
                f"{self._max_questions} answers are under way on this server, which is its limit "
                "(setting streams.max_questions): ask again in a moment"
            )

    @contextmanager
    def taken(self) -> Iterator["QuestionSlot"]:
        """Take a slot for as long as the block runs; call `check` before."""
        self.num_taken += 1
        self.num_unstarted += 1
        self._metrics.questions_active.inc()
        slot = QuestionSlot(self)
        try:
            yield slot
        finally:
            slot.start()
            self.num_taken -= 1
            self._metrics.questions_active.dec()


class QuestionSlot:
    """The slot of one answer."""

    def __init__(self, slots: QuestionSlots) -> None:
        self._slots = slots
        self._is_started = False

    def start(self) -> None:
        """Note that the first word is there. Idempotent."""
        if not self._is_started:
            self._is_started = True
            self._slots.num_unstarted -= 1
