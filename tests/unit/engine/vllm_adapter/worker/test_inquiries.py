"""Questions to the store that are answered later."""

import threading

import pytest

from onlooker.engine.vllm_adapter.worker.inquiries import Inquiries
from tests.fakes.waiting import in_time


def answered(inquiries: Inquiries, name: str) -> object:
    found: list[object] = []

    def wait() -> None:
        while (answer := inquiries.answer(name)) is None:
            pass
        found.append(answer)

    in_time("the answer", wait)
    return found[0]


def test_nobody_waits_for_an_answer() -> None:
    may_answer = threading.Event()
    inquiries = Inquiries()
    inquiries.begin("slow", lambda: may_answer.wait(30) and [1])
    assert inquiries.answer("slow") is None
    may_answer.set()
    assert answered(inquiries, "slow") == [1]
    assert inquiries.answer("slow") == [1], "who asks again as another worker has no answer yet"


def test_an_answer_that_was_not_fetched_gives_way_to_many_others() -> None:
    inquiries = Inquiries()
    for number in range(100):
        inquiries.begin(str(number), lambda: [1])
    assert answered(inquiries, "99") == [1]
    with pytest.raises(LookupError, match="nothing was asked about 0"):
        inquiries.answer("0")


def test_what_goes_wrong_is_told_to_who_asked() -> None:
    def fail() -> None:
        raise OSError("no disk")

    inquiries = Inquiries()
    inquiries.begin("lives", fail)
    with pytest.raises(OSError, match="no disk"):
        answered(inquiries, "lives")
