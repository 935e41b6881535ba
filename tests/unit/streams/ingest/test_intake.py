import math
from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import InvalidRequest
from onlooker.core.ids import StreamId
from onlooker.core.media import Codec, DropReason, FrameOutcome
from onlooker.scheduler.config import SchedulerSection
from onlooker.streams.ingest.intake import Intake, Received
from onlooker.streams.quality.governor import Governor
from onlooker.streams.state import StreamOptions, StreamTerms
from tests.fakes.pictures import make_message
from tests.fakes.streams import make_shared


def make_intake(clock: ManualClock, *, pushed_s: float | None = None, **settings: Any) -> Intake:
    shared = make_shared(clock, **settings)
    terms = StreamTerms.of(StreamId("s"), StreamOptions(), shared.settings)
    quality = Governor(SchedulerSection(policy="fcfs"), shared).serve(terms, lambda event: None)
    return Intake(terms, shared, quality=quality, pushed_s=pushed_s)


def told(received: Received) -> tuple[FrameOutcome | None, DropReason | None]:
    return received.outcome, received.reason


DROPPED, SKIPPED = FrameOutcome.DROPPED, FrameOutcome.SKIPPED


def test_a_picture_between_two_moments_of_interest_is_skipped() -> None:
    intake = make_intake(ManualClock())
    times_s = (0.0, 0.1, 0.2, 0.5, 0.6, 1.0)
    outcomes = [intake.admit(make_message(at_s), None).outcome for at_s in times_s]
    assert outcomes == [None, SKIPPED, SKIPPED, None, SKIPPED, None]


def test_coded_video_is_never_thinned_before_it_is_decoded() -> None:
    intake = make_intake(ManualClock())
    chunks = [make_message(i / 30, codec=Codec.VP8, payload=bytes(10)) for i in range(30)]
    assert {intake.admit(chunk, None).outcome for chunk in chunks} == {None}


def test_what_is_too_large_or_older_than_the_last_is_dropped() -> None:
    intake = make_intake(ManualClock(), max_frame_bytes=1024)
    large = make_message(1.0, payload=bytes(1025))
    assert told(intake.admit(large, None)) == (DROPPED, DropReason.TOO_LARGE)
    assert told(intake.admit(make_message(1.0), None)) == (None, None)
    assert told(intake.admit(make_message(0.9), None)) == (DROPPED, DropReason.LATE)


def test_more_messages_than_the_rate_are_dropped_unread() -> None:
    clock = ManualClock()
    intake = make_intake(clock, max_fps=2.0)
    reasons = [intake.admit(make_message(float(i)), None).reason for i in range(4)]
    assert reasons == [None, None, DropReason.RATE_LIMIT, DropReason.RATE_LIMIT]
    clock.advance(0.5)
    assert intake.admit(make_message(9.0), None).reason is None


def test_a_source_that_starts_again_at_zero_goes_on_after_the_last_by_the_pause() -> None:
    clock = ManualClock()
    intake = make_intake(clock, pushed_s=None)
    intake.admit(make_message(10.0), None)
    intake.begin_source()
    clock.advance(3.0)
    assert intake.admit(make_message(0.0), 10.0).message.capture_s == pytest.approx(13.0)
    assert intake.admit(make_message(0.5), 13.0).message.capture_s == pytest.approx(13.5)


@pytest.mark.parametrize("capture_s", [math.nan, math.inf, -0.1])
def test_a_capture_time_that_is_no_time_is_refused_and_not_counted(capture_s: float) -> None:
    intake = make_intake(ManualClock())
    with pytest.raises(InvalidRequest, match="capture time"):
        intake.admit(make_message(capture_s), None)
    assert intake.fps() == 0.0
