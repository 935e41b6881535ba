import asyncio
import contextlib
import math
import time

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import Conflict, InvalidRequest, NotFound
from onlooker.core.media import Codec, DropReason, Frame, FrameOutcome
from onlooker.core.metrics import Metrics
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import Question
from onlooker.streams.events import (
    ClipLost,
    ClipSeen,
    FrameAck,
    PaceChanged,
    SourceChanged,
    StreamEnded,
)
from onlooker.streams.stream import StreamOptions
from tests.fakes.pictures import (
    encode_chunks,
    in_pieces,
    make_frame,
    make_message,
    make_pixels,
    record,
)
from tests.fakes.streams import (
    SMALL,
    InlineExecutor,
    ask,
    driven,
    next_event,
    running_hub,
    waiting_events,
)
from tests.fakes.waiting import until

LIVE, VIRTUAL = StreamOptions(clock="live"), StreamOptions(clock="virtual")
COLOURS = ("red", "blue", "white")


async def test_a_still_goes_all_the_way_from_push_to_answer() -> None:
    async with running_hub() as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=50)
        stream.push(make_message(0.0, colour="red", sequence=7))
        stream.push(make_message(0.5, colour="red", sequence=8))
        acks = [await next_event(events, FrameAck) for _ in range(2)]
        seen = await next_event(events, ClipSeen)
        assert [(a.sequence, a.outcome) for a in acks] == [
            (7, FrameOutcome.KEPT),
            (8, FrameOutcome.KEPT),
        ]
        assert (seen.start_s, seen.end_s) == (0.0, 0.5)
        assert await ask(stream, "What colour?") == "The newest clip is mostly red."
        status = stream.status()
        assert (status.received, status.kept, status.clips, status.seen_until_s) == (2, 2, 1, 0.5)


async def test_one_picture_is_enough_for_an_answer_at_once() -> None:
    async with running_hub() as hub:
        for options in (LIVE, VIRTUAL):
            stream = await hub.open_stream(options=options)
            ack = await stream.push_wait(make_message(0.0, colour="blue"))
            assert ack.outcome is FrameOutcome.KEPT
            assert await ask(stream, "What colour?") == "The newest clip is mostly blue."


async def test_near_duplicates_are_skipped_and_changes_kept() -> None:
    async with running_hub() as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        outcomes = [
            (await stream.push_wait(make_message(i / 2, colour=COLOURS[i // 4]))).outcome
            for i in range(8)
        ]
        kept, skipped = FrameOutcome.KEPT, FrameOutcome.SKIPPED
        assert outcomes == [kept, kept, skipped, skipped] * 2


async def test_of_a_fast_source_two_frames_a_second_are_looked_at() -> None:
    async with running_hub(perception={"gate_threshold": 0}) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        for index in range(90):
            await stream.push_wait(make_message(index / 30))
        status = stream.status()
        assert status.kept in (6, 7)
        assert status.kept + status.skipped == 90
        assert not status.dropped


@pytest.mark.parametrize(
    ("payload", "reason"),
    [(b"rubbish", DropReason.UNDECODABLE), (bytes(5000), DropReason.TOO_LARGE)],
)
async def test_a_bad_picture_is_dropped_with_its_reason_and_the_stream_goes_on(
    payload: bytes, reason: DropReason
) -> None:
    metrics = Metrics()
    async with running_hub(max_frame_bytes=4096, metrics=metrics) as hub:
        stream = await hub.open_stream(options=LIVE)
        assert (await stream.push_wait(make_message(0.0, payload=payload))).reason is reason
        assert (await stream.push_wait(make_message(1.0))).outcome is FrameOutcome.KEPT
        labels = {"outcome": "dropped", "reason": str(reason)}
        assert metrics.registry.get_sample_value("onlooker_frames_total", labels) == 1


async def test_time_that_runs_backwards_is_a_late_frame() -> None:
    async with running_hub() as hub:
        stream = await hub.open_stream(options=LIVE)
        await stream.push_wait(make_message(5.0))
        ack = await stream.push_wait(make_message(4.0))
        assert (ack.outcome, ack.reason) == (FrameOutcome.DROPPED, DropReason.LATE)
        assert (await stream.push_wait(make_message(6.0))).outcome is not FrameOutcome.DROPPED


@pytest.mark.parametrize("capture_s", [math.nan, math.inf, -1.0])
async def test_a_time_that_is_none_is_refused(capture_s: float) -> None:
    async with running_hub() as hub:
        stream = await hub.open_stream(options=LIVE)
        with pytest.raises(InvalidRequest, match="capture time"):
            stream.push(make_message(capture_s))
        assert stream.status().received == 0


async def test_ten_thousand_tiny_frames_a_second_are_dropped_undecoded_and_cheaply() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock, max_fps=60, perception={"gate_threshold": 0}) as hub:
        flooded = await hub.open_stream(options=LIVE)
        other = await hub.open_stream(options=LIVE)
        events = flooded.subscribe(max_events=100)
        message = make_message(0.0, size=(8, 8))
        started_s = time.thread_time()
        for index in range(10_000):
            clock.advance(1e-4)
            flooded.push(make_message(index / 10_000, sequence=index, payload=message.payload))
        per_push_s = (time.thread_time() - started_s) / 10_000
        assert (await other.push_wait(make_message(0.0))).outcome is FrameOutcome.KEPT
        await ask(flooded, "wait for what is on its way")
        status = flooded.status()
        assert status.received == 10_000
        assert status.dropped[DropReason.RATE_LIMIT] >= 9_800
        assert status.kept <= 4
        assert len(waiting_events(events)) <= 200
        assert per_push_s < 500e-6  # about 10 us here; the loop has 100 us for each


async def test_while_the_engine_is_busy_the_newest_pictures_win() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL, ingest_s=100.0)
    async with running_hub(
        engine=engine, clock=clock, mailbox_frames=3, perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=1000)
        for index in range(40):
            stream.push(make_message(index / 2, sequence=index))
            for _ in range(50):  # let perception take what it can
                await asyncio.sleep(0)
        status = stream.status()
        assert status.waiting <= 3
        assert status.dropped[DropReason.MAILBOX_FULL] >= 20
        dropped = [
            e.sequence for e in waiting_events(events) if isinstance(e, FrameAck) and e.reason
        ]
        assert 39 not in dropped
        assert dropped == sorted(dropped)


@pytest.mark.parametrize("codec", [Codec.JPEG, Codec.VP8, Codec.WEBM])
async def test_a_slow_engine_sees_less_but_does_not_fall_behind(codec: Codec) -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL, ingest_s=2.0)
    messages = {
        Codec.JPEG: lambda: [make_message(colour=COLOURS[i // 10 % 3]).payload for i in range(200)],
        Codec.VP8: lambda: encode_chunks("libvpx", 200),
        Codec.WEBM: lambda: in_pieces(record(Codec.WEBM, 200), 150),
    }[codec]()
    async with running_hub(
        engine=engine, clock=clock, pool=InlineExecutor(), perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=1000)
        for index, payload in enumerate(messages):
            at_s = index * 20 / len(messages)  # 20 s of video in real time
            capture_s = 0.0 if codec.is_container else at_s
            stream.push(
                make_message(capture_s, codec=codec, payload=payload, received_at_s=clock.now_s())
            )
            for _ in range(40):
                await asyncio.sleep(0)
            clock.advance(20 / len(messages))
        lags = [e.lag_s for e in waiting_events(events) if isinstance(e, ClipSeen)]
        assert 7 <= len(lags) <= 10  # the engine was kept busy
        assert max(lags) <= 6.5  # two turns of the engine and what a full mailbox holds
        assert stream.status().dropped[DropReason.MAILBOX_FULL] > 0


async def test_on_the_virtual_clock_the_sender_waits_and_nothing_is_dropped() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL, ingest_s=3.0)
    async with running_hub(
        engine=engine, clock=clock, mailbox_frames=1, perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=VIRTUAL)

        async def feed() -> None:
            for index in range(20):
                await stream.push_wait(make_message(index / 2))

        await driven(clock, feed(), step_s=1.0)
        await driven(clock, ask(stream), step_s=1.0)
        status = stream.status()
        assert (status.kept, status.clips, status.dropped) == (20, 10, {})
        with pytest.raises(InvalidRequest, match="push_wait"):
            stream.push(make_message(99.0))


async def test_live_a_lone_frame_becomes_a_clip_when_no_partner_comes() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock) as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=50)
        await stream.push_wait(make_message(1.0))
        seen = await driven(clock, next_event(events, ClipSeen))
        assert (seen.start_s, seen.end_s) == (1.0, 1.0)


async def test_coded_video_and_recordings_are_watched_like_pictures() -> None:
    async with running_hub() as hub:
        for codec, messages in (
            (Codec.H264, encode_chunks("libx264", 40)),
            (Codec.VP8, encode_chunks("libvpx", 40)),
            (Codec.WEBM, in_pieces(record(Codec.WEBM), 700)),
            (Codec.FMP4, in_pieces(record(Codec.FMP4), 700)),
        ):
            stream = await hub.open_stream(options=VIRTUAL)
            lease = stream.claim_source("a camera")
            for index, payload in enumerate(messages):
                capture_s = 0.0 if codec.is_container else index / 10
                await stream.push_wait(make_message(capture_s, codec=codec, payload=payload))
            lease.release()
            assert await ask(stream, "Which colours?") == (
                "I have seen these colours: red, green, blue, red."
            ), codec
            newest_s = stream.status().newest_s
            assert newest_s is not None
            assert 3.4 < newest_s <= 3.9


async def test_only_one_source_feeds_a_stream() -> None:
    async with running_hub() as hub:
        stream = await hub.open_stream(options=LIVE)
        lease = stream.claim_source("the first camera")
        with pytest.raises(Conflict, match="the first camera"):
            stream.claim_source("the second")
        lease.release()
        lease.release()
        again = stream.claim_source("the second")
        lease.release()  # of no effect on another's lease
        with pytest.raises(Conflict, match="the second"):
            stream.claim_source("a third")
        again.release()


async def test_a_new_source_that_starts_at_zero_follows_on_what_was_seen() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock) as hub:
        stream = await hub.open_stream(options=LIVE)
        lease = stream.claim_source("camera")
        await stream.push_wait(make_message(10.0))
        lease.release()
        clock.advance(30.0)
        stream.claim_source("camera again")
        assert (await stream.push_wait(make_message(0.0))).capture_s == pytest.approx(40.0)
        assert (await stream.push_wait(make_message(2.0))).capture_s == pytest.approx(42.0)


async def test_viewers_are_told_when_sources_begin_and_end() -> None:
    async with running_hub() as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=10)
        stream.claim_source("camera").release("unplugged")
        changes = [e for e in waiting_events(events) if isinstance(e, SourceChanged)]
        assert [(e.state, e.detail) for e in changes] == [
            ("began", "camera"),
            ("ended", "camera: unplugged"),
        ]
        assert [e.source.state for e in changes] == ["playing", "ended"]
        assert stream.status().last_source == changes[-1].source


async def test_a_clip_that_the_engine_loses_is_told_and_the_stream_goes_on() -> None:
    engine = ScriptedEngine(info=SMALL, fail_ingest=lambda clip: clip.clip_index == 0)
    async with running_hub(engine=engine) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        events = stream.subscribe(max_events=50)
        for index in range(8):
            await stream.push_wait(make_message(index / 2, colour=COLOURS[index // 4]))
        assert (await next_event(events, ClipLost)).clip_index == 0
        assert (await next_event(events, ClipSeen)).clip_index == 1
        assert stream.status().clips_lost == 1


async def test_lag_makes_the_stream_ask_for_fewer_frames() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL, ingest_s=4.0)
    async with running_hub(engine=engine, clock=clock, max_lag_s=6.0) as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=50)
        for index in range(2):
            await stream.push_wait(make_message(index / 2))
        change = await driven(clock, next_event(events, PaceChanged))
        assert change.fps == 1.0
        assert stream.pace == change


async def test_pictures_that_waited_too_long_are_late() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock, max_lag_s=1.0) as hub:
        stream = await hub.open_stream(options=LIVE)
        clock.advance(10.0)
        ack = await stream.push_wait(make_message(0.0, received_at_s=8.0))
        assert ack.reason is DropReason.LATE


async def test_closing_settles_every_frame_and_ends_every_subscription() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL, ingest_s=100.0)
    async with running_hub(
        engine=engine, clock=clock, mailbox_frames=8, perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=100)
        for index in range(12):
            stream.push(make_message(index / 2, sequence=index))
        await hub.close_stream(stream.id, "enough")
        told = [event async for _, event in events]
        assert told[-1] == StreamEnded("enough")
        assert sorted(e.sequence for e in told if isinstance(e, FrameAck)) == list(range(12))
        for use in (
            lambda: stream.push(make_message(50.0)),
            lambda: stream.claim_source("x"),
            lambda: stream.ask(Question(text="?")),
        ):
            with pytest.raises(NotFound, match="enough"):
                use()


async def test_a_sender_that_waits_for_room_is_let_go_when_the_stream_closes() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL, ingest_s=100.0)
    async with running_hub(
        engine=engine, clock=clock, mailbox_frames=1, perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        outcomes = []

        async def feed() -> None:
            with contextlib.suppress(NotFound):
                for index in range(50):
                    outcomes.append(await stream.push_wait(make_message(index / 2)))

        feeding = asyncio.ensure_future(feed())
        await until(lambda: len(outcomes) >= 4)
        await hub.close_stream(stream.id, "enough")
        await feeding
        assert outcomes[-1].reason in (None, DropReason.STREAM_CLOSED)


async def test_pixels_go_the_way_of_the_same_picture_encoded() -> None:
    async with running_hub() as hub:
        told = []
        for as_pixels in (False, True):
            stream = await hub.open_stream(options=LIVE)
            events = stream.subscribe(max_events=50)
            for index, colour in enumerate(("red", "red", "red", "blue", "red")):
                if as_pixels:
                    frame = make_frame(index / 2, colour=colour, sequence=index)
                    await stream.push_wait(frame)
                else:
                    message = make_message(
                        index / 2, colour=colour, sequence=index, codec=Codec.PNG, size=(32, 32)
                    )
                    await stream.push_wait(message)
            answer = await ask(stream)
            told.append((answer, waiting_events(events)[:-2]))  # answers have names of their own
        assert told[0] == told[1]


async def test_pixels_of_another_size_are_dropped_and_the_stream_goes_on() -> None:
    async with running_hub() as hub:
        stream = await hub.open_stream(options=LIVE)
        wrong = Frame(0, 0.0, 0.0, make_pixels("red", width=64, height=32))
        assert (await stream.push_wait(wrong)).reason is DropReason.UNDECODABLE
        assert (await stream.push_wait(make_frame(1.0))).outcome is FrameOutcome.KEPT


async def test_the_limit_on_encoded_bytes_is_none_on_pixels() -> None:
    async with running_hub(max_frame_bytes=1024) as hub:
        stream = await hub.open_stream(options=LIVE)
        assert (await stream.push_wait(make_frame(0.0))).outcome is FrameOutcome.KEPT
