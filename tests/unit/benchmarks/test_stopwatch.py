"""`Stopwatch`: each stage has its own time only, and everything is put back."""

import pytest

from onlooker.benchmarks.stopwatch import Stopwatch


class Hands:
    """A clock that work moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def read(self) -> float:
        return self.now_s


class Work:
    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    def outer(self) -> str:
        self._hands.now_s += 2.0
        self.inner()
        self._hands.now_s += 1.0
        return "done"

    def inner(self) -> None:
        self._hands.now_s += 5.0

    def fail(self) -> None:
        self._hands.now_s += 4.0
        raise ValueError("on purpose")


def test_a_stage_does_not_count_what_another_does_inside_it() -> None:
    hands = Hands()
    work, watch = Work(hands), Stopwatch(hands.read)
    watch.watch([(Work, "outer", "a"), (work, "inner", "b")])
    try:
        assert work.outer() == "done"
    finally:
        watch.unwatch()
    assert watch.take() == {"a": 3.0, "b": 5.0}
    assert watch.take() == {}


def test_what_fails_is_counted_too() -> None:
    hands = Hands()
    work, watch = Work(hands), Stopwatch(hands.read)
    watch.watch([(work, "fail", "a")])
    with pytest.raises(ValueError, match="purpose"):
        work.fail()
    assert watch.take() == {"a": 4.0}


def test_everything_is_put_back() -> None:
    before = dict(Work.__dict__)
    work, watch = Work(Hands()), Stopwatch()
    watch.watch([(Work, "outer", "a"), (work, "inner", "b"), (work, "no_such_method", "c")])
    watch.unwatch()
    work.outer()
    assert watch.take() == {}
    assert dict(Work.__dict__) == before
    assert "inner" not in work.__dict__
