"""What a step need not wait for is done beside it, in order."""

import logging
import threading

import pytest

from onlooker.engine.vllm_adapter.worker.write_behind import WriteBehind


def test_whoever_brings_a_job_goes_on_and_can_wait_for_all_jobs() -> None:
    behind, gate, done = WriteBehind(), threading.Event(), list[int]()
    behind.do(lambda: done.append(int(gate.wait())))
    for number in range(3):
        behind.do(lambda number=number: done.append(number))  # type: ignore[misc]
    assert done == [], "nobody has waited"
    gate.set()
    behind.settle()
    assert done == [1, 0, 1, 2]
    behind.close()


def test_a_job_that_fails_is_told_and_the_next_is_done(caplog: pytest.LogCaptureFixture) -> None:
    behind, done = WriteBehind(), list[int]()
    with caplog.at_level(logging.ERROR):
        behind.do(lambda: [][1])
        behind.do(lambda: done.append(1))
        behind.settle()
    assert done == [1]
    assert "was not handed over" in caplog.text
    behind.close()


def test_what_is_left_at_the_end_is_done() -> None:
    behind, done = WriteBehind(), list[int]()
    behind.do(lambda: done.append(1))
    behind.close()
    assert done == [1]
    WriteBehind().close()


def test_whoever_waits_for_room_is_counted() -> None:
    behind, gate, begun, done = WriteBehind(1), threading.Event(), threading.Event(), list[int]()

    def first() -> None:
        begun.set()
        gate.wait()

    behind.do(first)
    begun.wait()
    behind.do(lambda: done.append(1))
    assert behind.num_waits == 0
    bringing = threading.Thread(target=behind.do, args=[lambda: done.append(2)])
    bringing.start()
    while not behind.num_waits:
        pass
    gate.set()
    bringing.join()
    behind.settle()
    assert (done, behind.num_waits) == ([1, 2], 1)
    behind.close()
