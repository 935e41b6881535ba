"""What was acknowledged as remembered survives: the process, the engine, and a journal's faults.

A process that ends is a hub that is closed while its engine's store still has clips to write: the
next engine on the same store knows nothing of them.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onlooker.cache_store.config import JournalSection, SyncPolicy
from onlooker.cache_store.journal import JournalUnreachable, NewEntry
from onlooker.cache_store.journal_entry import JournalEntry
from onlooker.cache_store.journals.sqlite_journal import SqliteJournal
from onlooker.cache_store.opening import open_journal
from onlooker.core.clock import ManualClock
from onlooker.core.errors import Overloaded
from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Codec, EncodedFrame, FrameMessage, FrameOutcome
from onlooker.core.metrics import Metrics
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.fake import ScriptedEngine, ScriptedStore
from onlooker.engine.interface import IngestResult
from onlooker.streams.journaling import JournalKeeper, KeptPicture
from onlooker.streams.stream import Stream, StreamOptions
from tests.fakes.costly import endless_jpeg
from tests.fakes.pictures import encode, encode_chunks, make_frame, make_message, make_pixels
from tests.fakes.streams import SMALL, InlineExecutor, ask, ask_fully, driven, running_hub
from tests.fakes.waiting import until

T = TypeVar("T")

VIRTUAL = StreamOptions(clock="virtual")
DOOR = StreamId("door")
COLOURS = {"r": "red", "g": "green", "b": "blue", "w": "white"}
KEEP_ALL: dict[str, Any] = {"perception": {"gate_threshold": 0.0}}


def make_engine(store: ScriptedStore | None, clock: ManualClock | None = None) -> ScriptedEngine:
    return ScriptedEngine(clock=clock or ManualClock(), info=SMALL, store=store)


def messages(colours: str, *, begin: int = 0) -> list[EncodedFrame]:
    """A picture every half second."""
    return [
        make_message((begin + index) / 2, colour=COLOURS[letter], sequence=begin + index)
        for index, letter in enumerate(colours)
    ]


async def feed(stream: Stream, frames: Sequence[FrameMessage]) -> list[Guarantee | None]:
    """Push `frames`; returns the guarantees of their acknowledgements."""
    lease = stream.claim_source("test")
    acks = [await stream.push_wait(frame) for frame in frames]
    del lease  # the process ends before the source does
    return [ack.guarantee for ack in acks]


async def without_a_crash(frames: Sequence[FrameMessage], **options: Any) -> str:
    async with running_hub(engine=make_engine(None), **KEEP_ALL) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        await feed(stream, frames)
        return await ask(stream)


async def test_what_no_segment_has_is_seen_again_after_a_restart(tmp_path: Path) -> None:
    store, metrics = ScriptedStore(is_writing=False), Metrics()
    frames = messages("rrggbbw")
    async with running_hub(engine=make_engine(store), journal=tmp_path, **KEEP_ALL) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        assert await feed(stream, frames) == [Guarantee.SECOND] * 7
        await until(lambda: stream.status().clips == 3)
        store.write(0)  # the first clip only
    again = running_hub(engine=make_engine(store), journal=tmp_path, metrics=metrics, **KEEP_ALL)
    async with again as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        assert await ask(stream) == await without_a_crash(frames)
        status = stream.status()
        assert (status.clips, status.seen_until_s, status.newest_s) == (3, 2.5, 3.0)
        value = metrics.registry.get_sample_value
        assert value("onlooker_clips_total", {"result": "restored"}) == 2
        more = messages("wr", begin=7)
        await feed(stream, more)  # the first of them joins the frame that waited
        assert await ask(stream) == await without_a_crash([*frames, *more])
        assert stream.status().clips == 4


async def test_pixels_are_journaled_as_a_picture_and_found_again(tmp_path: Path) -> None:
    store = ScriptedStore(is_writing=False)
    frames = [make_frame(i / 2, colour=c, sequence=i) for i, c in enumerate(("red", "blue", "red"))]
    async with running_hub(engine=make_engine(store), journal=tmp_path, **KEEP_ALL) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        assert await feed(stream, frames) == [Guarantee.SECOND] * 3
    async with running_hub(engine=make_engine(store), journal=tmp_path, **KEEP_ALL) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        assert await ask(stream) == await without_a_crash(frames)


async def test_journaled_pictures_that_cost_too_much_are_left_out_and_the_others_found(
    tmp_path: Path,
) -> None:
    costly, metrics = endless_jpeg(2000, side=512), Metrics()
    honest = [encode(make_pixels(colour, width=32, height=32)) for colour in ("red", "green")]
    journal = open_journal(JournalSection(path=tmp_path))
    for index, payload in enumerate([costly] * 4 + honest):
        entry = NewEntry(
            stream=DOOR, sequence=index, capture_s=index / 2, codec=Codec.JPEG, payload=payload,
            is_last=True,
        )  # fmt: skip
        journal.write([entry])
    journal.close()
    async with running_hub(
        engine=make_engine(ScriptedStore()), journal=tmp_path, metrics=metrics, in_processes=True,
        decoding={"still_budget_s": 0.05, "megapixel_budget_s": 0.0}, **KEEP_ALL,
    ) as hub:  # fmt: skip
        stream = await hub.open_stream(DOOR, VIRTUAL)
        assert await ask(stream, "Which colours?") == "I have seen these colours: red, green."
    value = metrics.registry.get_sample_value
    skipped = value("onlooker_journal_entries_skipped_total", {"reason": "too_costly"})
    assert skipped == value("onlooker_decoders_ended_total", {"why": "too_costly"}) == 4
    assert not value("onlooker_senders_refused_total")


async def test_a_clip_that_comes_again_and_again_is_in_the_journal_until_it_is_durable(
    tmp_path: Path,
) -> None:
    store = ScriptedStore(is_writing=False)
    frames = messages("rrgg")
    for life in range(3):
        async with running_hub(engine=make_engine(store), journal=tmp_path, **KEEP_ALL) as hub:
            stream = await hub.open_stream(DOOR, VIRTUAL)
            if life == 0:
                await feed(stream, frames)
            assert await ask(stream) == await without_a_crash(frames)


async def test_the_journal_lets_go_of_what_is_durable(tmp_path: Path) -> None:
    store, clock = ScriptedStore(), ManualClock()
    engine = make_engine(store, clock)
    async with running_hub(engine=engine, clock=clock, journal=tmp_path, **KEEP_ALL) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        await feed(stream, messages("rrggbbw"))
        await until(lambda: stream.status().clips == 3)
        clock.advance(1.0)
        for _ in range(20):
            await asyncio.sleep(0)
    journal = open_journal(JournalSection(path=tmp_path))
    assert [entry.sequence for entry in journal.replay("door")] == [3]  # waits for its partner
    journal.close()


async def test_a_clip_that_the_store_lost_between_others_is_shown_again(tmp_path: Path) -> None:
    store = ScriptedStore(is_writing=False)
    frames = messages("rrggbbww")
    async with running_hub(engine=make_engine(store), journal=tmp_path, **KEEP_ALL) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        await feed(stream, frames)
        await until(lambda: stream.status().clips == 4)
        store.write(0, 2, 3)
    async with running_hub(engine=make_engine(store), journal=tmp_path, **KEEP_ALL) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        assert await ask(stream) == await without_a_crash(frames)


@pytest.mark.parametrize(("codec", "name"), [(Codec.H264, "libx264"), (Codec.VP8, "libvpx")])
async def test_coded_video_is_seen_again_from_the_middle_on(
    tmp_path: Path, codec: Codec, name: str
) -> None:
    """No key frame is near: what is journaled is what was decoded."""
    frames = [
        EncodedFrame(index, index / 10, codec, payload, 0.0)
        for index, payload in enumerate(encode_chunks(name, 19))
    ]
    store = ScriptedStore(is_writing=False)
    async with running_hub(engine=make_engine(store), journal=tmp_path, **KEEP_ALL) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        await feed(stream, frames)
        assert stream.status().kept > 3
        await until(lambda: stream.status().clips == 2)
        store.write(0)
    async with running_hub(engine=make_engine(store), journal=tmp_path, **KEEP_ALL) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        assert await ask(stream) == await without_a_crash(frames)


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(
    letters=st.text("rgbw", min_size=1, max_size=10),
    gaps=st.lists(st.sampled_from([0.5, 0.6, 1.0, 6.0]), min_size=10, max_size=10),
    written=st.sets(st.integers(0, 8)),
    ends=st.lists(st.integers(1, 10), max_size=2),
)
def test_any_stream_is_the_same_with_and_without_crashes(
    tmp_path_factory: pytest.TempPathFactory,
    letters: str,
    gaps: list[float],
    written: set[int],
    ends: list[int],
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    frames, at_s = [], 0.0
    for index, letter in enumerate(letters):
        at_s += gaps[index]
        frames.append(make_message(at_s, colour=COLOURS[letter], sequence=index))
    store = ScriptedStore(is_writing=False)

    async def scenario() -> None:
        begin = 0
        for end in [*sorted({end for end in ends if end < len(frames)}), len(frames)]:
            engine = make_engine(store)
            async with running_hub(engine=engine, journal=folder, **KEEP_ALL) as hub:
                stream = await hub.open_stream(DOOR, VIRTUAL)
                await feed(stream, frames[begin:end])
                begin = end
                answer = await ask(stream)
                store.write(*(written or {99}))
        assert answer == await without_a_crash(frames)

    asyncio.run(scenario())


async def seconds_of(stream: Stream) -> list[str]:
    """What is told of every second of a stream so far."""
    until_s = int(stream.status().newest_s or 0.0)
    return [await ask(stream, f"Which colours at {second} seconds?") for second in range(until_s)]


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(
    letters=st.text("rg", min_size=1, max_size=12),
    gaps=st.lists(st.sampled_from([0.5, 1.0, 4.0]), min_size=12, max_size=12),
    written=st.sets(st.integers(0, 8)),
    ends=st.lists(st.integers(1, 11), max_size=2),
)
def test_no_time_is_forgotten_in_a_crash(
    tmp_path_factory: pytest.TempPathFactory,
    letters: str,
    gaps: list[float],
    written: set[int],
    ends: list[int],
) -> None:
    """Whatever was skipped as a near-duplicate: what was there then is known as without a crash."""
    folder = tmp_path_factory.mktemp("journal")
    frames, at_s = [], 0.0
    for index, letter in enumerate(letters):
        at_s += gaps[index]
        frames.append(make_message(at_s, colour=COLOURS[letter], sequence=index))
    store = ScriptedStore(is_writing=False)
    always = {"alike_s": 0.001}

    async def scenario() -> None:
        begin, told = 0, list[str]()
        for end in [*sorted({end for end in ends if end < len(frames)}), len(frames)]:
            hub_of = running_hub(engine=make_engine(store), journal=folder, journal_settings=always)
            async with hub_of as hub:
                stream = await hub.open_stream(DOOR, VIRTUAL)
                await feed(stream, frames[begin:end])
                begin, told = end, await seconds_of(stream)
                store.write(*(written or {99}))
        async with running_hub(engine=make_engine(None)) as hub:
            stream = await hub.open_stream(DOOR, VIRTUAL)
            await feed(stream, frames)
            assert told == await seconds_of(stream)

    asyncio.run(scenario())


async def test_until_when_the_picture_stayed_the_same_is_lookd_now_and_then(
    tmp_path: Path,
) -> None:
    """What is noted takes the room of a header, and lets no clip be shown again."""
    store = ScriptedStore()
    frames = [make_message(index / 2, sequence=index) for index in range(10)]
    async with running_hub(engine=make_engine(store), journal=tmp_path) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        await feed(stream, frames)
        assert (stream.status().kept, stream.status().seen_until_s) == (2, 4.5)
    journal = open_journal(JournalSection(path=tmp_path))
    entries = journal.replay("door")
    assert [(one.capture_s, len(one.payload)) for one in entries if one.is_look] == [
        (1.5, 0), (2.5, 0), (3.5, 0), (4.5, 0),
    ]  # fmt: skip
    journal.close()
    metrics = Metrics()
    again = running_hub(engine=make_engine(store), journal=tmp_path, metrics=metrics)
    async with again as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        assert stream.status().newest_s == 4.5
        text, end = await ask_fully(stream, "Which colour at 4 seconds?", at_s=4.6)
        assert text == "The newest clip is mostly red."
        assert end.clip_spans_s == ((0.0, 4.6),)
        assert stream.status().seen_until_s == 4.5
        assert (
            metrics.registry.get_sample_value("onlooker_clips_total", {"result": "restored"})
            is None
        )


# ---- the engine dies under a running server


class DyingEngine(ScriptedEngine):
    """Dies as it takes the clips of some indices, before or after it has seen them; once each."""

    def __init__(self, deaths: dict[int, str], **options: Any) -> None:
        super().__init__(info=SMALL, **options)
        self._deaths = deaths

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        when = self._deaths.pop(clip.clip_index, "")
        if when == "before":
            self.die()
        result = await super().ingest(clip, care)
        if when == "after":
            self.die()
            self._check_alive()
        return result


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("written", [(), (0,), (0, 1, 2)])
async def test_when_the_engine_dies_the_stream_goes_on_with_all_that_was_kept(
    tmp_path: Path, when: str, written: tuple[int, ...]
) -> None:
    store, clock, metrics = ScriptedStore(is_writing=False), ManualClock(), Metrics()
    frames = messages("rrggbbwwrg")
    engine = DyingEngine({2: when, 3: "before"}, clock=clock, store=store)
    hub_of = running_hub(engine=engine, clock=clock, metrics=metrics, journal=tmp_path, **KEEP_ALL)
    async with hub_of as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)

        async def scenario() -> str:
            for frame in frames:
                await stream.push_wait(frame)
                if written:
                    store.write(*written)
            return await ask(stream)

        assert await driven(clock, scenario()) == await without_a_crash(frames)
        status = stream.status()
        assert (status.clips_lost, status.closed) == (0, None)
        value = metrics.registry.get_sample_value
        assert value("onlooker_engine_restarts_total", {"outcome": "started"}) == 2


async def test_without_a_journal_what_died_with_the_engine_is_told_as_lost() -> None:
    clock, metrics = ManualClock(), Metrics()
    engine = DyingEngine({2: "before"}, clock=clock)
    async with running_hub(engine=engine, clock=clock, metrics=metrics, **KEEP_ALL) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)

        async def scenario() -> tuple[str, Any]:
            for frame in messages("rrggbb"):
                await stream.push_wait(frame)
            return await ask_fully(stream, "how many?")

        text, end = await driven(clock, scenario())
        assert text == "I have seen 1 clips up to 2.50 s."
        assert end.memory_incomplete
        assert stream.status().clips_lost == 2
        assert stream.status().guarantee is Guarantee.NONE
        assert metrics.registry.get_sample_value("onlooker_clips_total", {"result": "lost"}) == 2


async def test_a_question_waits_until_the_stream_is_whole_again(tmp_path: Path) -> None:
    store, clock = ScriptedStore(is_writing=False), ManualClock()
    frames = messages("rrggbb")
    first = running_hub(engine=make_engine(store), journal=tmp_path, **KEEP_ALL)
    async with first as hub:
        await feed(await hub.open_stream(DOOR, VIRTUAL), frames)
    slow = ScriptedEngine(clock=clock, info=SMALL, store=store, ingest_s=5.0)
    live = StreamOptions(clock="live")  # where questions about now hardly wait for anything
    async with running_hub(engine=slow, clock=clock, journal=tmp_path, **KEEP_ALL) as hub:
        stream = await hub.open_stream(DOOR, live)
        assert await driven(clock, ask(stream)) == await without_a_crash(frames)
        assert clock.now_s() >= 15.0


class SlowingEngine(ScriptedEngine):
    """Takes five seconds for a clip from when a test says so."""

    is_slow = False

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        if self.is_slow:
            await self._clock.sleep(5.0)
        return await super().ingest(clip, care)


async def test_a_question_under_way_while_the_engine_dies_waits_until_the_stream_is_whole_again(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    engine = SlowingEngine(clock=clock, info=SMALL, store=ScriptedStore(is_writing=False))
    options = {"fresh_wait_s": 10.0, **KEEP_ALL}
    async with running_hub(engine=engine, clock=clock, journal=tmp_path, **options) as hub:
        stream = await hub.open_stream(DOOR, StreamOptions(clock="live"))
        lease = stream.claim_source("test")
        for frame in messages("rrggbb"):
            await stream.push_wait(frame)
        await until(lambda: stream.status().clips == 3)
        engine.is_slow = True

        async def scenario() -> tuple[str, Any]:
            for frame in messages("ww", begin=6):
                await stream.push_wait(frame)
            asking = asyncio.create_task(ask_fully(stream, "how many?"))
            await clock.sleep(2.0)
            engine.die()
            return await asking

        text, _ = await driven(clock, scenario())
        del lease
        assert text == "I have seen 4 clips up to 3.50 s."


# ---- streams that come and go


async def test_a_stream_that_is_closed_on_purpose_leaves_nothing(tmp_path: Path) -> None:
    store = ScriptedStore(is_writing=False)
    async with running_hub(engine=make_engine(store), journal=tmp_path, **KEEP_ALL) as hub:
        await feed(await hub.open_stream(DOOR, VIRTUAL), messages("rrgg"))
        await hub.close_stream(DOOR, "no longer needed")
        assert await ask(await hub.open_stream(DOOR, VIRTUAL), "how many?") == (
            "I have seen 0 clips up to 0.00 s."
        )


async def test_a_stream_closed_while_the_engine_is_away_is_forgotten_when_it_is_back() -> None:
    store, clock = ScriptedStore(), ManualClock()
    engine = make_engine(store, clock)
    async with running_hub(engine=engine, clock=clock, **KEEP_ALL) as hub:
        await feed(await hub.open_stream(DOOR, VIRTUAL), messages("rrgg"))
        await until(lambda: len(store.clips(DOOR)) == 2)
        engine.die()
        await hub.close_stream(DOOR, "no longer needed")
        assert len(store.clips(DOOR)) == 2

        async def forgotten() -> None:
            while store.clips(DOOR):  # noqa: ASYNC110 -- what is waited for has no event
                await asyncio.sleep(0)

        await driven(clock, forgotten())


async def test_a_stream_that_ends_with_its_connection_is_promised_nothing(tmp_path: Path) -> None:
    own = StreamOptions(clock="virtual", persistent=False)
    async with running_hub(engine=make_engine(ScriptedStore()), journal=tmp_path) as hub:
        stream = await hub.open_stream(options=own)
        assert await feed(stream, messages("r")) == [Guarantee.NONE]
        assert hub.guarantee is Guarantee.SECOND
    journal = open_journal(JournalSection(path=tmp_path))
    assert journal.streams() == []
    journal.close()


# ---- what a journal promises, and its faults


@pytest.mark.parametrize(
    ("sync", "expected"),
    [
        (SyncPolicy.ALWAYS, Guarantee.MACHINE),
        (SyncPolicy.EVERY_SECOND, Guarantee.SECOND),
        (SyncPolicy.NEVER, Guarantee.PROCESS),
    ],
)
async def test_the_acknowledgement_says_what_a_frame_survives(
    tmp_path: Path, sync: SyncPolicy, expected: Guarantee
) -> None:
    metrics = Metrics()
    hub_of = running_hub(
        engine=make_engine(ScriptedStore()),
        metrics=metrics,
        journal=tmp_path,
        journal_settings={"sync": sync},
    )
    async with hub_of as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        stream.claim_source("test")
        outcomes = [await stream.push_wait(frame) for frame in messages("rrr")]
        assert [(ack.outcome, ack.guarantee) for ack in outcomes] == [
            (FrameOutcome.KEPT, expected),
            (FrameOutcome.KEPT, expected),
            (FrameOutcome.SKIPPED, None),  # a near-duplicate: nothing of it is to be lost
        ]
        assert stream.status().guarantee is expected
        value = metrics.registry.get_sample_value
        assert value("onlooker_journal_frames_total", {"guarantee": expected.value}) == 2


async def test_an_engine_that_stores_nothing_is_promised_nothing(tmp_path: Path) -> None:
    async with running_hub(engine=make_engine(None), journal=tmp_path) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        assert await feed(stream, messages("r")) == [Guarantee.NONE]
        assert hub.guarantee is Guarantee.NONE


async def test_a_full_journal_promises_nothing_and_holds_nobody_up(tmp_path: Path) -> None:
    store, metrics = ScriptedStore(is_writing=False), Metrics()
    hub_of = running_hub(
        engine=make_engine(store),
        metrics=metrics,
        journal=tmp_path,
        journal_settings={"max_bytes": 1 << 20},
        **KEEP_ALL,
    )
    async with hub_of as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        noise = [
            make_message(index / 2, sequence=index, codec=Codec.JPEG, payload=frame.payload)
            for index, frame in enumerate(messages("rgbw" * 400))
        ]
        told = await feed(stream, noise)
        num_promised = told.index(Guarantee.NONE)
        assert set(told[:num_promised]) == {Guarantee.SECOND}
        assert set(told[num_promised:]) == {Guarantee.NONE}
        assert await ask(stream, "how many?") == "I have seen 1600 clips up to 799.50 s."
        assert stream.status().guarantee is Guarantee.NONE


class StuckExecutor(InlineExecutor):
    """Does nothing until told to."""

    def __init__(self) -> None:
        self.is_stuck = False
        self._waiting: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        if not self.is_stuck:
            return super().submit(fn, *args, **kwargs)
        future: Future[T] = Future()
        self._waiting.append(lambda: future.set_result(fn(*args, **kwargs)))
        return future

    def go_on(self) -> None:
        self.is_stuck = False
        for work in self._waiting:
            work()


async def test_a_lone_last_frame_is_known_to_the_next_server_at_once(tmp_path: Path) -> None:
    store, clock = ScriptedStore(), ManualClock()
    live = StreamOptions(clock="live", persistent=True)
    async with running_hub(
        engine=make_engine(store, clock), clock=clock, journal=tmp_path, **KEEP_ALL
    ) as hub:
        stream = await hub.open_stream(DOOR, live)
        assert await feed(stream, messages("rrg")) == [Guarantee.SECOND] * 3
    async with running_hub(
        engine=make_engine(store, clock), clock=clock, journal=tmp_path, **KEEP_ALL
    ) as hub:
        stream = await hub.open_stream(DOOR, live)
        assert await ask(stream, "Which colours?") == "I have seen these colours: red, green."


async def test_a_lone_frame_is_known_while_its_partner_is_still_looked_at() -> None:
    """It was acknowledged: a question that does not wait for what has just come knows it."""
    clock = ManualClock()
    live = StreamOptions(clock="live", persistent=True)
    async with running_hub(engine=make_engine(None, clock), clock=clock, **KEEP_ALL) as hub:
        stream = await hub.open_stream(DOOR, live)
        await feed(stream, messages("rrg"))
        may_end = asyncio.Event()
        keep = stream.ingest._clips._keep

        async def slowly(pictures: list[KeptPicture]) -> Guarantee:
            await may_end.wait()
            return await keep(pictures)

        stream.ingest._clips._keep = slowly  # type: ignore[method-assign]
        stream.push(messages("b", begin=3)[0])
        await until(lambda: stream.ingest._clips.covers[-1].until_s > 2)
        try:
            told = await driven(clock, ask(stream, "Which colours?"))
        finally:
            may_end.set()
        assert told == "I have seen these colours: red, green."


def picture(index: int) -> KeptPicture:
    return KeptPicture(index, float(index), Codec.PNG, b"picture")


async def test_the_journal_asks_again_about_what_the_store_may_have_lost(tmp_path: Path) -> None:
    section = JournalSection(path=tmp_path)
    journal = open_journal(section)
    keeper = JournalKeeper(
        journal,
        settings=section,
        clock=ManualClock(),
        metrics=Metrics(),
        executor=InlineExecutor(),
    )
    one = await keeper.open(DOOR, Guarantee.PROCESS)
    assert await one.append([picture(index) for index in range(3)]) is Guarantee.PROCESS
    one.seen_below = 3
    one.settle([1, 2])
    assert keeper.waiting() == {DOOR: [0]}
    keeper.rely(False)
    assert keeper.waiting() == {DOOR: [0, 1, 2]}
    assert await one.append([picture(3)]) is Guarantee.NONE
    keeper.rely(True)
    assert await one.append([]) is Guarantee.PROCESS
    one.settle([0])
    await keeper.stats()  # which comes after all that was noted
    assert [entry.sequence for entry in journal.replay("door")] == [1, 2, 3]
    await keeper.close()


async def test_while_the_store_cannot_be_relied_on_streams_promise_nothing(tmp_path: Path) -> None:
    store, clock = ScriptedStore(), ManualClock()
    hub_of = running_hub(
        engine=make_engine(store, clock), journal=tmp_path, clock=clock, **KEEP_ALL
    )
    async with hub_of as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        lease = stream.claim_source("test")

        async def told(index: int) -> tuple[Guarantee | None, Guarantee, Guarantee]:
            (message,) = messages("r", begin=index)
            ack = await driven(clock, stream.push_wait(message))
            return ack.guarantee, stream.status().guarantee, hub.guarantee

        assert await told(0) == (Guarantee.SECOND,) * 3
        store.is_kept = False
        await driven(clock, clock.sleep(2.0))
        assert await told(1) == (Guarantee.NONE,) * 3
        store.is_kept = True
        await driven(clock, clock.sleep(2.0))
        assert await told(2) == (Guarantee.SECOND,) * 3
        del lease


async def test_a_stuck_journal_keeps_no_stream_from_being_closed(tmp_path: Path) -> None:
    clock, executor = ManualClock(), StuckExecutor()
    section = JournalSection(path=tmp_path, stall_s=2.0)
    journal = open_journal(section)
    keeper = JournalKeeper(
        journal, settings=section, clock=clock, metrics=Metrics(), executor=executor
    )
    one = await keeper.open(DOOR, Guarantee.MACHINE)
    await one.append([picture(0)])
    executor.is_stuck = True
    await driven(clock, keeper.forget(DOOR))
    assert journal.streams() == ["door"]  # for now
    with pytest.raises(Overloaded, match="journal"):
        await driven(clock, keeper.open(DOOR, Guarantee.MACHINE))
    assert (await driven(clock, keeper.stats())).num_streams == 0  # as it was last known
    executor.go_on()
    assert journal.streams() == []
    await keeper.close()


async def test_a_stuck_journal_delays_one_frame_and_no_other(tmp_path: Path) -> None:
    clock, metrics, executor = ManualClock(), Metrics(), StuckExecutor()
    section = JournalSection(path=tmp_path, stall_s=2.0)
    journal = open_journal(section)
    keeper = JournalKeeper(
        journal, settings=section, clock=clock, metrics=metrics, executor=executor
    )
    one = await keeper.open(DOOR, Guarantee.MACHINE)
    other = await keeper.open(StreamId("other"), Guarantee.MACHINE)
    assert await one.append([picture(0)]) is Guarantee.SECOND
    executor.is_stuck = True
    assert await driven(clock, one.append([picture(1)])) is Guarantee.NONE
    assert 2.0 <= clock.now_s() < 2.2
    assert await other.append([picture(0)]) is Guarantee.NONE  # at once: no time passes
    executor.go_on()
    for _ in range(5):
        await asyncio.sleep(0)
    assert await other.append([picture(1)]) is Guarantee.SECOND
    one.seen_below = 2
    assert keeper.waiting() == {DOOR: [0, 1]}  # the late one is there after all
    one.settle([1])
    assert keeper.waiting() == {DOOR: [0]}
    assert len(journal.replay("door")) == 2  # only whole beginnings go
    one.settle([0])
    await keeper.stats()  # which comes after all that was noted
    assert journal.replay("door") == []
    await keeper.close()


class AwayJournal(SqliteJournal):
    """Cannot be read for a while, as one in a Redis that is away."""

    is_away = False

    def replay(
        self, stream: str, *, after: int = -1, max_bytes: int | None = None
    ) -> list[JournalEntry]:
        if self.is_away:
            raise JournalUnreachable("nobody is there")
        return super().replay(stream, after=after, max_bytes=max_bytes)

    def newest_s(self, stream: str) -> float | None:
        if self.is_away:
            raise JournalUnreachable("nobody is there")
        return super().newest_s(stream)


async def test_a_journal_that_is_away_is_waited_for_since_it_has_what_was_acknowledged(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    section = JournalSection(path=tmp_path)
    journal = AwayJournal(
        tmp_path, max_bytes=1 << 20, max_streams=4, sync=SyncPolicy.NEVER, wal_bytes=1 << 20
    )
    keeper = JournalKeeper(
        journal, settings=section, clock=clock, metrics=Metrics(), executor=InlineExecutor()
    )
    one = await keeper.open(DOOR, Guarantee.MACHINE)
    await one.append([picture(0), picture(1)])
    journal.is_away = True
    with pytest.raises(Overloaded, match="Redis is away"):
        await keeper.open(DOOR, Guarantee.MACHINE)
    assert await keeper.newest_s(DOOR) is None
    reading = asyncio.ensure_future(keeper.read(DOOR, -1))
    for _ in range(3):
        await driven(clock, clock.sleep(1.0))
        assert not reading.done()
    journal.is_away = False
    found = await driven(clock, reading)
    assert [entry.sequence for entry in found] == [0, 1]
    await keeper.close()
