from onlooker.cache_store.breaker import CircuitBreaker
from onlooker.core.clock import ManualClock


def make_breaker(clock: ManualClock, *, max_failures: int = 2) -> CircuitBreaker:
    return CircuitBreaker(max_failures=max_failures, min_backoff_s=1, max_backoff_s=3, clock=clock)


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = make_breaker(ManualClock())
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    assert breaker.try_enter()
    breaker.failed()
    assert breaker.is_open()
    assert not breaker.try_enter()
    assert breaker.num_opened == 1


def test_whoever_gave_up_leaves_it_alone_for_the_longest_time_at_once() -> None:
    clock = ManualClock()
    breaker = make_breaker(clock)
    breaker.gave_up()
    clock.advance(2.99)
    assert not breaker.try_enter()
    clock.advance(0.01)
    assert breaker.try_enter()


def test_one_caller_tries_after_the_back_off() -> None:
    clock = ManualClock()
    breaker = make_breaker(clock, max_failures=1)
    breaker.failed()
    clock.advance(1.0)
    assert [breaker.try_enter() for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert breaker.try_enter()


def test_the_back_off_doubles_up_to_its_limit_and_starts_anew_after_success() -> None:
    clock = ManualClock()
    breaker = make_breaker(clock, max_failures=1)
    for backoff_s in (1, 2, 3, 3):
        breaker.failed()
        clock.advance(backoff_s - 0.01)
        assert not breaker.try_enter()
        clock.advance(0.01)
        assert breaker.try_enter()
    breaker.succeeded()
    breaker.failed()
    clock.advance(1.0)
    assert breaker.try_enter()


def test_a_try_that_never_reports_does_not_shut_it_for_ever() -> None:
    clock = ManualClock()
    breaker = make_breaker(clock, max_failures=1)
    breaker.failed()
    clock.advance(1.0)
    assert breaker.try_enter()
    clock.advance(1.0)
    assert breaker.try_enter()
