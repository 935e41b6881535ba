"""The policy orders vLLM's own steps, and harms nothing when it fails."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onlooker import demo_model
from onlooker.engine.vllm_adapter.wire import read_load, read_served
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.ticket import Ticket
from tests.vllm.rig import at_most

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

MODEL = Path(os.environ.get("ONLOOKER_TEST_MODEL", Path(demo_model.__path__[0]) / "weights"))
QUESTION = "What colour is the circle?"
NUM_CLIPS = 4


@pytest.fixture(scope="module", params=["SegmentScheduler", "AsyncSegmentScheduler"])
def vllm(request: pytest.FixtureRequest) -> Iterator[Any]:
    from tests.vllm.in_process import SegmentVllm

    engine = SegmentVllm(MODEL, scheduler=request.param, policy="slo")
    builder = make_builder()
    builder.save_text("sink", sink(engine))
    builder.question(engine.ids("x"))
    engine.run(builder)
    for index in range(NUM_CLIPS):
        engine.run(ingesting(engine, index, range(index)), ticket=ticket(RequestClass.INGEST))
    yield engine
    engine.engine.engine_core.shutdown()


def make_builder() -> Any:
    from onlooker.engine.memory.prompt import PromptBuilder

    return PromptBuilder()


def sink(vllm: Any) -> list[int]:
    from tests.vllm.in_process import SINK

    return list(vllm.ids(SINK))


def ingesting(vllm: Any, index: int, past: Any) -> Any:
    builder = make_builder()
    builder.load_text("sink", sink(vllm))
    for earlier in past:
        builder.load_clip(vllm.clip(earlier)[0])
    builder.save_clip(*vllm.clip(index))
    return builder


def asking(vllm: Any, *, words: int = 0) -> Any:
    """A question about all clips; `words` makes it longer."""
    from tests.vllm.in_process import ASK

    builder = make_builder()
    builder.load_text("sink", sink(vllm))
    for index in range(NUM_CLIPS):
        builder.load_clip(vllm.clip(index)[0])
    builder.question([*vllm.ids("circle " * words), *vllm.ids(QUESTION + ASK)])
    return builder


def ticket(name: RequestClass, due_in_s: float = 1.0) -> Ticket:
    now_s = time.monotonic()
    return Ticket(name, now_s, now_s + due_in_s, tpot_s=1.0)


def ends(vllm: Any, *requests: str) -> list[str]:
    """Run until these have ended; returns them in the order in which they did."""
    order: list[str] = []
    for _ in range(500):
        order += [o.request_id for o in vllm.step() if o.request_id in requests]
        if len(order) == len(requests):
            return order
    raise AssertionError(f"only {order} of {requests} ended")


def test_answers_are_those_of_an_ordinary_request(vllm: Any) -> None:
    expected = vllm.stock(list(range(NUM_CLIPS)), QUESTION, 8)
    found = vllm.run(asking(vllm), max_tokens=8, ticket=ticket(RequestClass.QUESTION))
    assert found.outputs[0].token_ids == expected.outputs[0].token_ids


def test_a_question_overtakes_a_long_prefill_that_runs_already(vllm: Any) -> None:
    with at_most(vllm, 64):
        long = vllm.add(asking(vllm, words=600), ticket=ticket(RequestClass.INGEST, 30.0))
        vllm.step()
        assert [r.request_id for r in vllm.scheduler.running] or vllm.scheduler.waiting
        urgent = vllm.add(asking(vllm), ticket=ticket(RequestClass.QUESTION, 0.1))
        num_steps = 0
        while not any(output.request_id == urgent for output in vllm.step()):
            num_steps += 1
            assert num_steps <= 3, "the question starves behind a chunked prefill"
        assert vllm.scheduler.max_num_scheduled_tokens == 64
        ends(vllm, long)


def test_of_one_class_the_one_with_least_slack_goes_first(vllm: Any) -> None:
    with at_most(vllm, 80):
        requests = {
            due_in_s: vllm.add(asking(vllm, words=40), ticket=ticket(RequestClass.INGEST, due_in_s))
            for due_in_s in (9.0, 3.0, 6.0)
        }
        order = ends(vllm, *requests.values())
        assert order == [requests[due_in_s] for due_in_s in (3.0, 6.0, 9.0)]


def test_outputs_say_how_they_were_served_and_how_busy_the_engine_is(vllm: Any) -> None:
    late = Ticket(RequestClass.QUESTION, time.monotonic() - 5, time.monotonic() - 4, tpot_s=1e-6)
    output = vllm.run(asking(vllm), max_tokens=4, ticket=late)
    served = read_served(output.kv_transfer_params)
    assert served is not None
    assert served.request_class == "question"
    assert served.queue_s >= 5.0
    assert served.slack_s < 0
    assert served.missed == ("question", "decode")
    load = read_load(output.kv_transfer_params)
    assert load is not None
    assert load.question_s > 0
    assert 0 < load.kv_free_ratio <= 1
    assert not load.has_fallen_back
    in_time = vllm.run(asking(vllm), ticket=ticket(RequestClass.QUESTION, 60.0))
    served = read_served(in_time.kv_transfer_params)
    assert served is not None
    assert served.missed == ()


def test_running_answers_take_turns_with_clips(vllm: Any) -> None:
    answer = vllm.add(asking(vllm), max_tokens=30, ticket=ticket(RequestClass.QUESTION))
    vllm.step()
    clips = [
        vllm.add(ingesting(vllm, index, range(2)), ticket=ticket(RequestClass.INGEST))
        for index in range(2, 4)
    ]
    order = ends(vllm, answer, *clips)
    assert order[-1] == answer


def test_a_context_that_stayed_in_its_blocks_does_not_count_as_loaded(vllm: Any) -> None:
    from onlooker.engine.memory.prompt import PromptBuilder

    docket = vllm.scheduler.steward._docket
    before = docket._load_shares[RequestClass.INGEST]
    for _ in range(4):  # the same beginning each time, under one name
        builder = PromptBuilder("stays")
        builder.load_text("sink", sink(vllm))
        for index in range(3):
            builder.load_clip(vllm.clip(index)[0])
        builder.save_clip(*vllm.clip(3))
        vllm.run(builder, ticket=ticket(RequestClass.INGEST))
    assert docket._load_shares[RequestClass.INGEST] < before


def test_aborted_requests_are_forgotten(vllm: Any) -> None:
    request = vllm.add(asking(vllm), max_tokens=500, ticket=ticket(RequestClass.QUESTION))
    vllm.step()
    vllm.engine.abort_request([request])
    for _ in range(10):
        vllm.run(asking(vllm), max_tokens=40, ticket=ticket(RequestClass.QUESTION))
    assert len(vllm.scheduler.steward._docket) <= 1


def test_when_the_policy_fails_requests_are_served_all_the_same(
    vllm: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The last test: the policy stays off."""

    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError("a fault in the policy")

    monkeypatch.setattr(vllm.scheduler.steward._policy, "plan", broken)
    # Four tokens: what a model says after the end of its answer is a toss-up.
    expected = vllm.stock(list(range(NUM_CLIPS)), QUESTION, 4)
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            output = vllm.run(asking(vllm), max_tokens=4, ticket=ticket(RequestClass.QUESTION))
            assert output.outputs[0].token_ids == expected.outputs[0].token_ids
    load = read_load(output.kv_transfer_params)
    assert load is not None
    assert load.has_fallen_back
    assert sum("scheduling policy failed" in record.message for record in caplog.records) == 1
