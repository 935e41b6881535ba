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


def make_intake(
    clock: ManualClock,
    *,
    pushed_s: float | None = None,
    options: StreamOptions | None = None,
    **settings: Any,
) -> Intake:
    shared = make_shared(clock, **settings)
    terms = StreamTerms.of(StreamId("s"), options or StreamOptions(), shared.settings)
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


def times(intake: Intake, clock: ManualClock, sent: list[float], *, step_s: float) -> list[float]:
    """Stream times of what was not dropped, of messages that come every `step_s` seconds."""
    taken = []
    for capture_s in sent:
        received = intake.admit(make_message(capture_s), intake.pushed_s)
        if received.outcome is not DROPPED:
            taken.append(received.message.capture_s)
        clock.advance(step_s)
    return taken


def test_one_message_of_an_hour_ahead_blinds_nobody() -> None:
    clock = ManualClock()
    sent = [0.0, 0.5, 3600.0, 1.5, 2.0]
    taken = times(make_intake(clock, max_fps=100.0), clock, sent, step_s=0.5)
    assert taken == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])


def test_a_clock_that_starts_again_at_zero_goes_on_by_the_time_that_went_by() -> None:
    clock = ManualClock()
    sent = [100.0, 100.5, 0.0, 0.5, 1.0]
    taken = times(make_intake(clock, max_fps=100.0), clock, sent, step_s=0.5)
    assert taken == pytest.approx([100.0, 100.5, 101.0, 101.5, 102.0])


def test_a_clock_that_was_set_back_a_little_costs_a_few_messages() -> None:
    clock = ManualClock()
    sent = [5.0, *(index / 10 for index in range(30))]
    taken = times(make_intake(clock, max_fps=100.0), clock, sent, step_s=0.1)
    assert len(taken) == len(sent) - 10
    assert taken == sorted(taken)


def test_a_jump_is_told_with_the_message_that_brought_it_and_a_pause_is_none() -> None:
    clock = ManualClock()
    intake = make_intake(clock, max_fps=100.0)
    jumps = []
    for capture_s, pause_s in [(0.0, 0.5), (0.5, 60.0), (60.5, 0.5), (121.0, 0.5), (3.0, 0.5)]:
        jumps.append(intake.admit(make_message(capture_s), None).jump)
        clock.advance(pause_s)
    assert [jump and (jump.kind, jump.by_s) for jump in jumps] == [
        None, None, None, ("gap", 60.0), ("moved", -118.5),
    ]  # fmt: skip


def test_a_sender_on_the_virtual_clock_is_believed_whatever_it_leaves_out() -> None:
    clock = ManualClock()
    intake = make_intake(clock, options=StreamOptions(clock="virtual"))
    day_s = 86_400.0
    assert times(intake, clock, [0.0, day_s, day_s + 1], step_s=0.0) == [0.0, day_s, day_s + 1]


def test_pieces_of_a_recording_that_begins_again_at_zero_are_taken() -> None:
    clock = ManualClock()
    intake = make_intake(clock)
    for capture_s, at_s in [(3.0, 3.0), (3.0, 3.0), (0.0, 3.5), (0.0, 3.5)]:
        piece = make_message(capture_s, codec=Codec.FMP4, payload=bytes(10))
        received = intake.admit(piece, None)
        assert (received.outcome, received.message.capture_s) == (None, at_s)


@pytest.mark.parametrize("capture_s", [math.nan, math.inf, -0.1])
def test_a_capture_time_that_is_no_time_is_refused_and_not_counted(capture_s: float) -> None:
    intake = make_intake(ManualClock())
    with pytest.raises(InvalidRequest, match="capture time"):
        intake.admit(make_message(capture_s), None)
    assert intake.fps() == 0.0


def test_a_recording_by_the_wall_is_not_moved_and_what_was_seen_of_it_is_dropped() -> None:
    options = StreamOptions(clock="virtual", zero_wall_s=1000.0)
    intake = make_intake(ManualClock(), options=options, pushed_s=10.0)
    intake.begin_source()
    times_s = (9.5, 10.0, 10.5)
    received = [intake.admit(make_message(at_s), 10.0) for at_s in times_s]
    assert [one.message.capture_s for one in received] == list(times_s)
    late = (DROPPED, DropReason.LATE)
    assert [told(one) for one in received] == [late, late, (None, None)]


def test_a_camera_of_a_stream_by_the_wall_is_placed_by_the_clock() -> None:
    clock = ManualClock()
    options = StreamOptions(clock="live", zero_wall_s=clock.wall_s() - 3600.0)
    intake = make_intake(clock, options=options, pushed_s=10.0)
    intake.begin_source()
    assert intake.admit(make_message(0.0), 10.0).message.capture_s == pytest.approx(3600.0)
    assert intake.admit(make_message(0.5), 10.0).message.capture_s == pytest.approx(3600.5)
