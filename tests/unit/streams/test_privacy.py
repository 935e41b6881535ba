"""What nobody is to see, what is kept no longer, and what is deleted: of streams of the scripted
engine."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onlooker.cache_store.config import JournalSection
from onlooker.cache_store.opening import open_journal
from onlooker.core.clock import ManualClock
from onlooker.core.errors import InvalidRequest
from onlooker.core.ids import StreamId
from onlooker.core.media import Codec, DropReason, EncodedFrame, FrameMessage, FrameOutcome
from onlooker.core.metrics import Metrics
from onlooker.engine.fake import ScriptedEngine, ScriptedStore
from onlooker.engine.interface import AnswerDelta, AnswerEnd, FinishReason, Question
from onlooker.streams.asker import FORGOTTEN_ANSWER
from onlooker.streams.events import AnswerFinished, MemoryForgotten, PrivacyChanged
from onlooker.streams.masks import Mask
from onlooker.streams.perception.stills import decode_still
from onlooker.streams.stream import Stream, StreamOptions
from onlooker.watches.events import AlertRaised
from onlooker.watches.options import WatchOptions
from tests.fakes.pictures import encode_chunks, make_frame, make_message
from tests.fakes.streams import SMALL, ask, ask_fully, driven, running_hub, waiting_events
from tests.fakes.waiting import until
from tests.unit.watches.test_keeper import INFO

DOOR = StreamId("door")
VIRTUAL, LIVE = StreamOptions(clock="virtual"), StreamOptions(clock="live")
EVERY: dict[str, Any] = {"perception": {"gate_threshold": 0.0, "max_pair_gap_s": 0.1}}
"""One clip a frame."""
ALL = Mask(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
LEFT = Mask(((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))
RED, GREEN, BLUE, WHITE = "red", "green", "blue", "white"


async def show(stream: Stream, colours: Sequence[str], first: int = 0) -> None:
    """One clip a second, each of one colour."""
    lease = stream.claim_source("test")
    for index, colour in enumerate(colours, first):
        await stream.push_wait(make_message(float(index), colour=colour, sequence=index))
    lease.release()
    await until(lambda: not stream.ingest.is_busy)


async def colours_of(stream: Stream) -> str:
    text = await ask(stream, "Which colours?")
    return text.removeprefix("I have seen these colours: ").removesuffix(".")


def kept_pictures(folder: Path) -> list[np.ndarray[Any, Any]]:
    """What a journal that nobody has open would replay of the stream."""
    journal = open_journal(JournalSection(path=folder))
    entries = journal.replay(DOOR)
    journal.close()
    return [
        decode_still(entry.payload, entry.codec, width=32, height=32, max_pixels=1 << 20)
        for entry in entries
    ]


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


# ---- masks


@pytest.mark.parametrize("kind", ["still", "pixels", "video"])
async def test_a_mask_is_on_a_picture_before_the_model_sees_it(kind: str) -> None:
    messages: list[FrameMessage] = [make_message(0.0, colour=RED)]
    if kind == "pixels":
        messages = [make_frame(0.0, colour=RED)]
    if kind == "video":
        messages = [
            EncodedFrame(i, i / 10, Codec.H264, chunk, 0.0)
            for i, chunk in enumerate(encode_chunks("libx264", 5))
        ]
    async with running_hub(**EVERY) as hub:
        stream = await hub.open_stream(options=StreamOptions(clock="virtual", masks=(ALL,)))
        lease = stream.claim_source("test")
        for message in messages:
            await stream.push_wait(message)
        lease.release()
        assert await ask(stream, "What colour?") == "The newest clip is mostly black."


async def test_a_mask_that_is_set_later_holds_from_the_next_picture_on() -> None:
    async with running_hub(**EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        events = stream.subscribe(max_events=50)
        await show(stream, [RED])
        await stream.set_masks((ALL,))
        await show(stream, [RED], first=1)
        await stream.set_masks(())
        await show(stream, [RED], first=2)
        assert await colours_of(stream) == "red, black, red"
        assert sum(isinstance(event, PrivacyChanged) for event in waiting_events(events)) == 2


async def test_the_masks_of_the_server_are_on_every_stream() -> None:
    async with running_hub(privacy={"masks": [ALL]}, **EVERY) as hub:
        stream = await hub.open_stream(options=StreamOptions(clock="virtual", masks=()))
        await show(stream, [RED])
        assert await colours_of(stream) == "black"
        assert stream.status().masks == ()


async def test_a_change_behind_a_mask_is_no_change() -> None:
    async with running_hub() as hub:
        stream = await hub.open_stream(options=StreamOptions(clock="virtual", masks=(ALL,)))
        for index, colour in enumerate((RED, BLUE, GREEN, WHITE)):
            ack = await stream.push_wait(make_message(index / 2, colour=colour))
        assert ack.outcome is FrameOutcome.SKIPPED


async def test_the_journal_holds_the_masked_picture_and_not_what_came(tmp_path: Path) -> None:
    messages = [make_message(float(i), colour=RED, size=(32, 32)) for i in range(3)]
    store = ScriptedStore(is_writing=False)
    engine = ScriptedEngine(info=SMALL, store=store)
    async with running_hub(engine=engine, journal=tmp_path, **EVERY) as hub:
        stream = await hub.open_stream(DOOR, StreamOptions(clock="virtual", masks=(LEFT,)))
        for message in messages:
            await stream.push_wait(message)
    pictures = kept_pictures(tmp_path)
    assert len(pictures) == 3
    for picture in pictures:
        assert not picture[:, :16].any()
        assert picture[:, 20:, 0].min() > 200
    assert messages[0].payload not in all_bytes(tmp_path)


async def test_masks_and_retention_outlive_the_server(tmp_path: Path) -> None:
    private = StreamOptions(clock="virtual", masks=(ALL,), keep_for_s=60.0)
    async with running_hub(kept=tmp_path, **EVERY) as hub:
        await hub.open_stream(DOOR, private)
    async with running_hub(kept=tmp_path, **EVERY) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        assert (stream.status().masks, stream.status().keep_for_s) == ((ALL,), 60.0)
        await show(stream, [RED])
        assert await colours_of(stream) == "black"
        await hub.close_stream(DOOR, "forget it")
    async with running_hub(kept=tmp_path, **EVERY) as hub:
        assert (await hub.open_stream(DOOR, VIRTUAL)).status().masks == ()


# ---- deleting


async def test_a_span_is_forgotten_and_the_rest_is_not() -> None:
    metrics = Metrics()
    async with running_hub(metrics=metrics, **EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        events = stream.subscribe(max_events=50)
        await show(stream, [RED, BLUE, BLUE, GREEN])
        report = await stream.forget(1.0, 2.0)
        assert (report.num_clips, report.unreached) == (2, ())
        assert await colours_of(stream) == "red, green"
        await show(stream, [WHITE], first=4)
        assert await colours_of(stream) == "red, green, white"
        told = [event for event in waiting_events(events) if isinstance(event, MemoryForgotten)]
        assert told == [MemoryForgotten(1.0, 2.0)]
        assert metrics.forgotten_clips.labels("asked")._value.get() == 2


async def test_without_a_span_all_of_it_is_forgotten_and_the_stream_goes_on() -> None:
    async with running_hub(**EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        await show(stream, [RED, BLUE])
        assert (await stream.forget()).num_clips == 2
        assert await colours_of(stream) == "none"
        await show(stream, [WHITE], first=2)
        assert await colours_of(stream) == "white"


@pytest.mark.parametrize("span", [(3.0, 2.0), (9.0, None), (0.0, float("nan"))])
async def test_what_is_no_span_is_refused(span: tuple[float, float | None]) -> None:
    async with running_hub(**EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        await show(stream, [RED, BLUE])
        with pytest.raises(InvalidRequest, match="span"):
            await stream.forget(*span)
        assert await colours_of(stream) == "red, blue"


async def test_what_is_on_its_way_when_it_is_deleted_does_not_arrive() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL, ingest_s=1.0)
    async with running_hub(engine=engine, clock=clock, **EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        pushed = [
            asyncio.ensure_future(stream.push_wait(make_message(float(i), colour=RED)))
            for i in range(4)
        ]
        for _ in range(20):
            await asyncio.sleep(0)
        assert stream.ingest.is_busy
        await driven(clock, stream.forget())
        acks = await driven(clock, asyncio.gather(*pushed))
        await driven(clock, until(lambda: not stream.ingest.is_busy))
        assert await colours_of(stream) == "none"
        late = {ack.reason for ack in acks if ack.outcome is FrameOutcome.DROPPED}
        assert late <= {DropReason.FORGOTTEN}


async def test_a_frame_that_waits_for_its_partner_is_forgotten_too() -> None:
    async with running_hub(perception={"gate_threshold": 0.0}) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        await stream.push_wait(make_message(0.0, colour=RED))
        await stream.forget()
        assert await colours_of(stream) == "none"
        await stream.push_wait(make_message(0.5, colour=BLUE))
        await stream.push_wait(make_message(1.0, colour=BLUE))
        assert await colours_of(stream) == "blue"


@pytest.mark.parametrize("question", ["What was there at 1 second?", "What was it 2 seconds ago?"])
async def test_a_question_about_a_deleted_time_is_told_so(question: str) -> None:
    async with running_hub(**EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        await show(stream, [RED, BLUE, GREEN, WHITE])
        assert await ask(stream, question) != FORGOTTEN_ANSWER
        await stream.forget(0.5, 2.5)
        text, end = await ask_fully(stream, question)
        assert text == FORGOTTEN_ANSWER
        assert end.finish_reason is FinishReason.STOP
        assert end.forgotten_spans_s
        text, end = await ask_fully(stream, "Which colours?", at_s=1.2)
        assert (text, end.forgotten_spans_s) == (FORGOTTEN_ANSWER, ((1.2, 1.2),))
        text, end = await ask_fully(stream, "What was there at 3 seconds?")
        assert (text != FORGOTTEN_ANSWER, end.forgotten_spans_s) == (True, ())


async def test_an_answer_under_way_is_broken_off_and_the_next_is_not() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=SMALL, tpot_s=1.0)
    async with running_hub(engine=engine, clock=clock, **EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        await show(stream, [RED, BLUE])
        answer = stream.ask(Question(text="Which colours?"))
        assert isinstance(await anext(answer), AnswerDelta)
        await stream.forget(0.0, 0.5)
        end = await anext(answer)
        assert isinstance(end, AnswerEnd)
        assert end.finish_reason is FinishReason.CANCELLED
        assert "deleted" in (end.reason or "")
        await answer.aclose()
        assert await driven(clock, colours_of(stream)) == "blue"


async def test_alerts_and_answers_that_tell_of_it_are_no_longer_told() -> None:
    async with running_hub(engine=ScriptedEngine(info=INFO), **EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        behind = stream.subscribe(max_events=100)
        stream.watches.create(WatchOptions(condition="blue appears", cooldown_s=0.0), "w")
        await show(stream, [RED, BLUE, RED, BLUE])
        await ask(stream, "Which colours?")
        report = await stream.forget(1.0, 1.5)
        assert report.num_alerts == 1
        for subscription in (behind, stream.subscribe(max_events=100, after=0)):
            events = waiting_events(subscription)
            alerts = [event.alert for event in events if isinstance(event, AlertRaised)]
            assert [alert.start_s for alert in alerts] == [3.0]
            assert not any(isinstance(event, AnswerFinished) for event in events)


async def test_nothing_of_it_is_left_in_the_journal_or_comes_back(tmp_path: Path) -> None:
    messages = [
        make_message(float(i), colour=colour, size=(40, 40))
        for i, colour in enumerate((RED, BLUE, GREEN))
    ]
    store = ScriptedStore(is_writing=False)
    options: dict[str, Any] = {**EVERY, "journal": tmp_path / "j", "kept": tmp_path / "p"}
    async with running_hub(engine=ScriptedEngine(info=SMALL, store=store), **options) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        for message in messages:
            await stream.push_wait(message)
        await until(lambda: stream.status().clips == 2)
        assert messages[1].payload in all_bytes(tmp_path)
        report = await stream.forget(1.0, 1.5)
        assert report.num_frames == 1
        assert report.num_bytes > len(messages[1].payload)
        assert messages[1].payload not in all_bytes(tmp_path)
        assert messages[0].payload in all_bytes(tmp_path)
    async with running_hub(engine=ScriptedEngine(info=SMALL, store=store), **options) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        assert await colours_of(stream) == "red, green"
        assert await ask(stream, "What was there at 1 second?") == FORGOTTEN_ANSWER
        await show(stream, [WHITE], first=5)
        assert await colours_of(stream) == "red, green, white"


async def test_what_a_tier_still_had_is_deleted_when_the_stream_is_opened(tmp_path: Path) -> None:
    store = ScriptedStore()
    options: dict[str, Any] = {**EVERY, "kept": tmp_path}
    async with running_hub(engine=ScriptedEngine(info=SMALL, store=store), **options) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        await show(stream, [RED, BLUE])
        had = store.clips(DOOR)
        await stream.forget(1.0, 1.0)
    store.put(DOOR, 1, had[1])
    async with running_hub(engine=ScriptedEngine(info=SMALL, store=store), **options) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        assert await colours_of(stream) == "red"
        await show(stream, [GREEN], first=5)
        assert set(store.clips(DOOR)) == {0, 2}, "no index is given out twice"


async def test_what_is_deleted_while_the_engine_is_away_is_not_there_when_it_is_back() -> None:
    clock, store = ManualClock(), ScriptedStore()
    engine = ScriptedEngine(clock=clock, info=SMALL, store=store)
    async with running_hub(engine=engine, clock=clock, **EVERY) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        await show(stream, [RED, BLUE])
        engine._fail_start = lambda: clock.now_s() < 9
        engine.die()
        report = await driven(clock, stream.forget(1.0, 1.0), step_s=1.0)
        assert report.unreached == ("engine",)
        await driven(clock, until(lambda: hub.ready() and stream.ingest.is_caught_up), step_s=5.0)
        assert await colours_of(stream) == "red"


# ---- retention


def wait(clock: ManualClock, seconds: float) -> Any:
    async def passing() -> None:
        until_s = clock.now_s() + seconds
        while clock.now_s() < until_s:
            for _ in range(20):
                await asyncio.sleep(0)
            clock.advance(1.0)

    return passing()


async def test_what_is_older_than_the_stream_is_kept_goes() -> None:
    clock, metrics = ManualClock(), Metrics()
    engine = ScriptedEngine(clock=clock, info=SMALL)
    async with running_hub(
        engine=engine, clock=clock, metrics=metrics, privacy={"sweep_interval_s": 1.0}, **EVERY
    ) as hub:
        stream = await hub.open_stream(options=StreamOptions(clock="live", keep_for_s=30.0))
        for second in range(40):
            colour = RED if second < 5 else BLUE
            await stream.push_wait(
                make_message(float(second), colour=colour, received_at_s=clock.now_s())
            )
            await wait(clock, 1.0)
        assert await colours_of(stream) == "blue"
        status = stream.status()
        assert 8 <= (status.forgotten_until_s or 0) <= 10.0
        assert metrics.forgotten_clips.labels("age")._value.get() >= 8
        assert await ask(stream, "What was there at 3 seconds?") == FORGOTTEN_ANSWER


async def test_nothing_is_kept_for_longer_than_the_server_keeps_anything() -> None:
    async with running_hub(privacy={"keep_for_s": 100.0}) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        assert stream.status().keep_for_s == 100.0
        await stream.set_keep_for(10.0)
        assert stream.status().keep_for_s == 10.0
        with pytest.raises(InvalidRequest, match=r"privacy\.keep_for_s"):
            await stream.set_keep_for(1000.0)
        await stream.set_keep_for(None)
        assert stream.status().keep_for_s == 100.0


@pytest.mark.parametrize("clock_name", ["live", "virtual"])
async def test_what_became_too_old_while_the_server_was_down_is_deleted_at_its_start(
    tmp_path: Path, clock_name: Any
) -> None:
    store = ScriptedStore()
    options: dict[str, Any] = {**EVERY, "journal": tmp_path / "j", "kept": tmp_path / "p"}
    clock = ManualClock()
    async with running_hub(
        engine=ScriptedEngine(clock=clock, info=SMALL, store=store), clock=clock, **options
    ) as hub:
        stream = await hub.open_stream(DOOR, StreamOptions(clock=clock_name, keep_for_s=3600.0))
        await show(stream, [RED, BLUE])
    assert len(store.clips(DOOR)) == 2
    late = ManualClock(clock.now_s() + 1800)
    async with running_hub(
        engine=ScriptedEngine(clock=late, info=SMALL, store=store), clock=late, **options
    ):
        await wait(late, 5)
        assert len(store.clips(DOOR)) == 2
    later = ManualClock(clock.now_s() + 4000)
    async with running_hub(
        engine=ScriptedEngine(clock=later, info=SMALL, store=store), clock=later, **options
    ) as hub:
        await wait(later, 5)
        assert store.clips(DOOR) == {}
        stream = await hub.open_stream(DOOR, VIRTUAL)
        assert await colours_of(stream) == "none"
    assert kept_pictures(tmp_path / "j") == []


async def test_a_sweep_deletes_a_bounded_number_of_clips_at_a_time() -> None:
    clock, sizes = ManualClock(), list[int | None]()

    class Watched(ScriptedEngine):
        async def forget(self, *args: Any, **options: Any) -> Any:
            sizes.append(options["max_clips"])
            return await super().forget(*args, **options)

    engine = Watched(clock=clock, info=SMALL)
    settings = {"sweep_interval_s": 200.0, "max_clips_per_sweep": 2}
    async with running_hub(engine=engine, clock=clock, privacy=settings, **EVERY) as hub:
        stream = await hub.open_stream(options=StreamOptions(clock="virtual", keep_for_s=60.0))
        await show(stream, [RED] * 7)
        await wait(clock, 205)
        assert await colours_of(stream) == "none"
        assert sizes == [2, 2, 2, 2]


async def test_a_closed_stream_is_read_only_when_something_is_due(tmp_path: Path) -> None:
    opened = list[StreamId]()

    class Watched(ScriptedEngine):
        async def open_stream(self, stream_id: StreamId, claim: Any = None) -> Any:
            opened.append(stream_id)
            return await super().open_stream(stream_id, claim)

    clock, store = ManualClock(), ScriptedStore()
    options: dict[str, Any] = {**EVERY, "kept": tmp_path}
    async with running_hub(
        engine=Watched(clock=clock, info=SMALL, store=store), clock=clock, **options
    ) as hub:
        stream = await hub.open_stream(DOOR, StreamOptions(clock="live", keep_for_s=1000.0))
        await show(stream, [RED])
        await wait(clock, 2)
    opened.clear()
    later = ManualClock(clock.now_s() + 990)
    async with running_hub(
        engine=Watched(clock=later, info=SMALL, store=store), clock=later, **options
    ):
        await wait(later, 5)
        assert opened == []
        await wait(later, 200)
        assert opened == [DOOR]
        assert store.clips(DOOR) == {}
        await wait(later, 2000)
        assert opened == [DOOR], "nothing is left that could become too old"


async def test_a_stream_can_be_opened_while_a_closed_one_is_swept(tmp_path: Path) -> None:
    class Slow(ScriptedEngine):
        async def forget(self, *args: Any, **options: Any) -> Any:
            await later.sleep(3.0)
            return await super().forget(*args, **options)

    clock, store = ManualClock(), ScriptedStore()
    options: dict[str, Any] = {**EVERY, "kept": tmp_path}
    async with running_hub(
        engine=ScriptedEngine(clock=clock, info=SMALL, store=store), clock=clock, **options
    ) as hub:
        stream = await hub.open_stream(DOOR, StreamOptions(clock="virtual", keep_for_s=60.0))
        await show(stream, [RED])
    later = ManualClock(500.0)
    async with running_hub(
        engine=Slow(clock=later, info=SMALL, store=store), clock=later, **options
    ) as hub:
        for _ in range(20):
            await asyncio.sleep(0)
        stream = await driven(later, hub.open_stream(DOOR, VIRTUAL))
        assert await driven(later, colours_of(stream)) == "none"


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_what_a_watch_is_about_to_say_of_a_deleted_time_is_not_said(is_deleted: bool) -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock=clock, info=INFO, check_s=1.0)
    async with running_hub(engine=engine, clock=clock, **EVERY) as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=100)
        stream.watches.create(WatchOptions(condition="blue appears", cooldown_s=0.0), "w")
        lease = stream.claim_source("test")
        for second, colour in enumerate((RED, BLUE)):
            stream.push(make_message(float(second), colour=colour, received_at_s=clock.now_s()))
            await wait(clock, 1.0 if second == 0 else 0.0)

        def is_looking_at_blue() -> bool:
            return any(check.asked_s >= 1.0 for check in engine.checks)

        await driven(clock, until(is_looking_at_blue), step_s=0.01)
        if is_deleted:
            await stream.forget(1.0, 1.0)
        lease.release()
        await wait(clock, 5.0)
        alerts = [event for event in waiting_events(events) if isinstance(event, AlertRaised)]
        assert len(alerts) == (0 if is_deleted else 1)
