"""Admission by what would come of it."""

from dataclasses import replace

import pytest

from onlooker.scheduler.admission import Admission, Verdict
from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.slo import Slo

SLO = Slo(ttft_s=0.5, tpot_s=0.1, lag_s=2.0)
IDLE = EngineLoad(question_s=0.05, clip_s=0.02)
ADMISSION = Admission(target_load=0.8, refuse_after=2.0)
SEVERITY = [Verdict.ADMIT, Verdict.DEGRADE, Verdict.REFUSE]


def test_an_idle_engine_takes_any_question() -> None:
    assert ADMISSION.question(IDLE, SLO).verdict is Verdict.ADMIT


def test_more_wait_is_never_treated_better() -> None:
    verdicts = [
        SEVERITY.index(ADMISSION.question(replace(IDLE, question_wait_s=w / 20), SLO).verdict)
        for w in range(60)
    ]
    assert verdicts == sorted(verdicts)
    assert set(verdicts) == {0, 1, 2}


def test_a_refusal_says_when_the_target_could_be_met_again() -> None:
    decision = ADMISSION.question(replace(IDLE, question_wait_s=3.0), SLO)
    assert decision.verdict is Verdict.REFUSE
    assert decision.retry_after_s == pytest.approx(2.05)
    assert "3.0 s" in decision.reason or "3.1 s" in decision.reason


def test_questions_that_the_engine_has_not_seen_yet_count() -> None:
    assert ADMISSION.question(IDLE, SLO, num_ahead=40).verdict is Verdict.REFUSE


@pytest.mark.parametrize(
    ("load", "pictures", "verdict"),
    [
        (replace(IDLE, kv_free_ratio=0.0), False, Verdict.REFUSE),
        (replace(IDLE, encoder_free_ratio=0.0), True, Verdict.REFUSE),
        (replace(IDLE, encoder_free_ratio=0.0), False, Verdict.ADMIT),
    ],
)
def test_memory_decides_too(load: EngineLoad, pictures: bool, verdict: Verdict) -> None:
    assert ADMISSION.question(load, SLO, has_pictures=pictures).verdict is verdict


@pytest.mark.parametrize(
    ("others", "verdict"),
    [(10.0, Verdict.ADMIT), (100.0, Verdict.DEGRADE), (2000.0, Verdict.REFUSE)],
)
def test_a_stream_is_let_in_as_long_as_the_lowest_rung_carries_all(
    others: float, verdict: Verdict
) -> None:
    decision = ADMISSION.stream(IDLE, clips_per_s=1.0, others_clips_per_s=others, retry_s=8.0)
    assert decision.verdict is verdict
    assert (decision.retry_after_s == 8.0) == (verdict is Verdict.REFUSE)


def test_room_is_what_would_be_let_in() -> None:
    """Streams are let in one by one until one is refused: as many as `room` says."""
    room = ADMISSION.room(
        IDLE,
        clips_per_s=1.0,
        others_clips_per_s=0.0,
        forecast=0.0,
        num_streams=0,
        max_streams=10_000,
    )
    verdicts = [
        ADMISSION.stream(IDLE, clips_per_s=1.0, others_clips_per_s=float(n), retry_s=1.0).verdict
        for n in range(room.streams + 1)
    ]
    assert Verdict.REFUSE not in verdicts[:-1]
    assert verdicts[-1] is Verdict.REFUSE
    assert room.ratio == 1.0


@pytest.mark.parametrize(
    ("forecast", "num_streams", "expected"),
    [(0.4, 0, (0.5, 10)), (1.6, 0, (-1.0, 10)), (0.0, 9, (0.1, 1)), (0.0, 12, (0.0, 0))],
)
def test_room_is_the_least_of_places_and_of_what_is_forecast(
    forecast: float, num_streams: int, expected: tuple[float, int]
) -> None:
    room = ADMISSION.room(
        EngineLoad(),
        clips_per_s=1.0,
        others_clips_per_s=0.0,
        forecast=forecast,
        num_streams=num_streams,
        max_streams=10,
    )
    assert (round(room.ratio, 6), room.streams) == expected


def test_what_other_gateways_streams_take_of_the_engine_is_taken() -> None:
    shared = replace(IDLE, others_ratio=0.7)
    alone, beside = (
        ADMISSION.stream(load, clips_per_s=1.0, others_clips_per_s=10.0, retry_s=8.0)
        for load in (IDLE, shared)
    )
    assert (alone.verdict, beside.verdict) == (Verdict.ADMIT, Verdict.DEGRADE)
    room = [
        ADMISSION.room(
            load, clips_per_s=1.0, others_clips_per_s=0.0, forecast=0.0,
            num_streams=0, max_streams=1000,
        )
        for load in (IDLE, shared)
    ]  # fmt: skip
    assert room[1].ratio < room[0].ratio
    assert room[1].streams < room[0].streams
