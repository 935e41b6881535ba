"""Requests as jobs."""

from onlooker.engine.vllm_adapter.step.docket import Docket
from tests.unit.engine.vllm_adapter.step.factories import make_request, make_ticket


def make_docket() -> Docket:
    return Docket(num_covered=lambda _: 0, retrieves=lambda _: False, token_bytes=1)


def test_a_request_whose_last_token_is_in_flight_asks_for_nothing() -> None:
    """vLLM will not schedule it again, so that tokens planned for it would go to somebody else."""
    ending = make_request(
        "ingest", ticket=make_ticket(), num_computed_tokens=51, num_left_tokens=1, is_ending=True
    )
    going_on = make_request("other", ticket=make_ticket())
    jobs = make_docket().jobs([ending, going_on], now_s=0.0)
    assert [job.key for job in jobs] == ["other"]


def test_a_request_that_waits_for_its_grammar_asks_for_nothing() -> None:
    docket = make_docket()
    assert docket.jobs([make_request("r", ticket=make_ticket(), is_blocked=True)], now_s=0.0) == []
    (job,) = docket.jobs([make_request("r", ticket=make_ticket())], now_s=0.1)
    assert job.num_tokens == 50
