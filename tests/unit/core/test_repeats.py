import logging
from collections.abc import Callable

from onlooker.core.clock import ManualClock
from onlooker.core.repeats import MAX_KINDS, WINDOW_S, RepeatFilter, num_more


class _Kept(logging.Handler):
    """Keeps what it is given."""

    def __init__(self, written: list[logging.LogRecord]) -> None:
        super().__init__()
        self._written = written

    def emit(self, record: logging.LogRecord) -> None:
        self._written.append(record)


class Log:
    """A logger whose lines are kept, with a clock and timers that the test moves."""

    def __init__(self, *, max_lines: int = 2) -> None:
        self.clock = ManualClock()
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.written: list[logging.LogRecord] = []
        self._handler = _Kept(self.written)
        self.repeats = RepeatFilter(
            self._handler,
            max_lines=max_lines,
            clock=self.clock,
            start_timer=lambda after_s, action: self.timers.append(
                (self.clock.now_s() + after_s, action)
            ),
        )
        self._handler.addFilter(self.repeats)

    def write(self, message: str, *, level: int = logging.WARNING, **values: object) -> None:
        record = logging.LogRecord("onlooker.x", level, "", 0, message, None, None)
        vars(record).update(values)
        self._handler.handle(record)

    @property
    def messages(self) -> list[str]:
        return [
            f"{record.msg} +{num_more(record)}" if num_more(record) else record.msg
            for record in self.written
        ]

    def ring(self) -> None:
        """Let the time pass that the oldest timer waits for."""
        at_s, action = self.timers.pop(0)
        self.clock.advance(at_s - self.clock.now_s())
        action()


def test_the_first_lines_of_a_kind_are_written_and_the_rest_are_counted() -> None:
    log = Log(max_lines=2)
    for number in range(5):
        log.write("failed", number=number)
    log.write("another")
    assert log.messages == ["failed", "failed", "another"]
    log.ring()
    assert log.messages[3:] == ["failed +3"]
    assert vars(log.written[-1])["number"] == 4


def test_with_the_next_minute_lines_are_written_again() -> None:
    log = Log(max_lines=1)
    log.write("failed")
    log.write("failed")
    log.clock.advance(WINDOW_S)
    log.write("failed")
    assert log.messages == ["failed", "failed +1", "failed"]


def test_a_quiet_kind_starts_no_timer() -> None:
    log = Log(max_lines=2)
    log.write("failed")
    log.write("failed")
    assert log.timers == []


def test_one_timer_runs_for_all_kinds_and_none_is_forgotten() -> None:
    log = Log(max_lines=1)
    log.write("one")
    log.write("one")
    log.clock.advance(WINDOW_S / 2)
    log.write("two")
    log.write("two")
    assert len(log.timers) == 1
    log.ring()
    log.ring()
    assert log.messages == ["one", "two", "one +1", "two +1"]
    assert log.timers == []


def test_debugging_lines_all_pass() -> None:
    log = Log(max_lines=1)
    for _ in range(5):
        log.write("detail", level=logging.DEBUG)
    assert log.messages == ["detail"] * 5


def test_the_number_of_kinds_is_bounded_and_what_the_oldest_held_is_told() -> None:
    log = Log(max_lines=1)
    log.write("first")
    log.write("first")
    for number in range(MAX_KINDS):
        log.write(f"kind {number}")
    assert log.messages[-2:] == ["first +1", f"kind {MAX_KINDS - 1}"]


def test_at_the_end_everything_is_told() -> None:
    log = Log(max_lines=1)
    log.write("failed")
    log.write("failed")
    log.repeats.tell(at_end=True)
    assert log.messages == ["failed", "failed +1"]
