import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import Conflict, Forbidden, NotFound, Overloaded
from onlooker.core.metrics import Metrics
from onlooker.streams.config import StreamsSection
from onlooker.streams.events import ClipSeen, SourceChanged, TimeJumped
from onlooker.streams.fanout import Subscription
from onlooker.streams.hub import StreamHub
from onlooker.streams.perception.stream_time import TimeJump
from onlooker.streams.source_config import SourcesSection
from onlooker.streams.sources.puller import MakeReader, Pull, Puller, Reader
from onlooker.streams.sources.reader import Sample
from onlooker.streams.sources.spec import SourceBroken, SourceLost, SourceSpec
from onlooker.streams.stream import Stream, StreamOptions
from tests.fakes.pictures import make_pixels
from tests.fakes.streams import SMALL, InlineExecutor, ask, driven, make_local_decoding, running_hub

URL = "http://8.8.8.8/video.mp4"
CLOSED = NotFound("the stream is closed")
"""Ends a pull that would go on for ever, as a stream that is closed does."""
LIVE, VIRTUAL = StreamOptions(clock="live"), StreamOptions(clock="virtual")


class ScriptedReader:
    """Gives pictures of one turn: a list of times, or an exception to end with."""

    def __init__(
        self, turn: list[float | Exception], *, is_recorded: bool, comes_in_bursts: bool = False
    ) -> None:
        self._turn = turn
        self.is_recorded = is_recorded
        self.is_closed = False
        self.comes_in_bursts = comes_in_bursts

    def open(self) -> None:
        if self._turn and isinstance(self._turn[0], Exception):
            raise self._turn[0]

    def samples(self) -> Iterator[Sample]:
        for item in self._turn:
            if isinstance(item, Exception):
                raise item
            yield Sample(item, make_pixels((100 + int(item * 2) % 50, 0, 0), width=32, height=32))

    def stop(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


class Turns:
    """One reader after another; the last turn stays."""

    def __init__(
        self,
        *turns: list[float | Exception],
        is_recorded: bool = True,
        comes_in_bursts: bool = False,
    ) -> None:
        self._turns = list(turns)
        self._comes_in_bursts = comes_in_bursts
        self.is_recorded = is_recorded
        self.readers: list[ScriptedReader] = []

    def __call__(self, source: SourceSpec, interval_s: float) -> Reader:
        turn = self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]
        self.readers.append(
            ScriptedReader(
                turn, is_recorded=self.is_recorded, comes_in_bursts=self._comes_in_bursts
            )
        )
        return self.readers[-1]


def make_puller(
    turns: MakeReader, clock: ManualClock, *, metrics: Metrics | None = None, **settings: object
) -> Puller:
    section, metrics = (
        StreamsSection(sources=SourcesSection.model_validate(settings)),
        metrics or Metrics(),
    )
    return Puller(
        settings=section,
        clock=clock,
        metrics=metrics,
        info=lambda: SMALL,
        decoding=make_local_decoding(section, pool=InlineExecutor(), clock=clock, metrics=metrics),
        make_reader=turns,
        make_executor=InlineExecutor,
    )


async def played(pull: Pull) -> None:
    """As the hub does it: run, and close however that ended."""
    task = asyncio.ensure_future(pull.run())
    task.add_done_callback(lambda _: pull.close())
    await task


async def pull(
    hub: StreamHub, turns: MakeReader, clock: ManualClock, *, stream: Stream, loop: bool = False,
    step_s: float = 0.05, metrics: Metrics | None = None, **settings: object,
) -> list[tuple[float, object]]:  # fmt: skip
    """Pull to the end; (clock time, event) of all that was told."""
    events = stream.subscribe(max_events=1000)
    puller = make_puller(turns, clock, metrics=metrics, **settings)
    work = await puller.prepare(stream, SourceSpec(URL, loop=loop))
    told: list[tuple[float, object]] = []

    async def listen(subscription: Subscription) -> None:
        async for _, event in subscription:
            told.append((clock.now_s(), event))

    listening = asyncio.ensure_future(listen(events))
    await driven(clock, played(work), step_s=step_s)
    await driven(clock, ask(stream, "wait for what is on its way"), step_s=step_s)
    events.close()
    await listening
    return told


def changes(told: list[tuple[float, object]]) -> list[tuple[str, str]]:
    return [(e.state, e.detail) for _, e in told if isinstance(e, SourceChanged)]


async def test_a_recording_is_played_at_its_own_pace_on_a_live_stream() -> None:
    clock = ManualClock()
    async with running_hub(
        clock=clock, pool=InlineExecutor(), perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=LIVE)
        told = await pull(hub, Turns([5.0, 5.5, 6.0, 6.5]), clock, stream=stream, step_s=0.01)
        begun_at_s = told[0][0]
        seen = [(at_s - begun_at_s, e) for at_s, e in told if isinstance(e, ClipSeen)]
        assert [(e.start_s, e.end_s) for _, e in seen] == [(0.0, 0.5), (1.0, 1.5)]
        assert seen[0][0] == pytest.approx(0.5, abs=0.02)
        assert seen[1][0] == pytest.approx(1.5, abs=0.02)
        assert changes(told)[-1] == ("ended", "http://8.8.8.8/video.mp4: it ended")
        assert stream.status().source is None


async def test_on_the_virtual_clock_a_recording_takes_no_time() -> None:
    clock = ManualClock()
    async with running_hub(
        clock=clock, pool=InlineExecutor(), perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        turns = Turns([float(i) / 2 for i in range(200)])
        await pull(hub, turns, clock, stream=stream, step_s=0.0)
        assert (stream.status().kept, stream.status().clips) == (200, 100)
        assert clock.now_s() == 0.0


async def test_a_looped_recording_goes_on_in_stream_time() -> None:
    clock = ManualClock()
    async with running_hub(
        clock=clock, pool=InlineExecutor(), perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        turns = Turns([0.0, 0.5], [0.0, 0.5], [SourceBroken("the file is gone")])
        told = await pull(hub, turns, clock, stream=stream, loop=True)
        spans = [(e.start_s, e.end_s) for _, e in told if isinstance(e, ClipSeen)]
        assert spans == [(0.0, 0.5), (1.0, 1.5)]
        assert changes(told)[-1][1].endswith("the file is gone")


async def test_a_jump_in_a_sources_time_does_not_show_in_stream_time() -> None:
    clock = ManualClock()
    async with running_hub(
        clock=clock, pool=InlineExecutor(), perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        turns = Turns([1000.0, 1000.5, 20.0, 20.5, 90000.0, 90000.5])
        told = await pull(hub, turns, clock, stream=stream)
        spans = [(e.start_s, e.end_s) for _, e in told if isinstance(e, ClipSeen)]
        assert spans == [(0.0, 0.5), (1.0, 1.5), (2.0, 2.5)]


async def test_a_hold_in_a_recording_is_kept_and_told() -> None:
    clock, metrics = ManualClock(), Metrics()
    async with running_hub(
        clock=clock, metrics=metrics, pool=InlineExecutor(), perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        told = await pull(hub, Turns([7.0, 7.5, 67.5, 68.0]), clock, stream=stream)
        ends_s = [e.end_s for _, e in told if isinstance(e, ClipSeen)]
        assert ends_s == [0.5, 60.5, 61.0]
        jumps = [e.jump for _, e in told if isinstance(e, TimeJumped)]
        assert jumps == [TimeJump("gap", 60.5, 60.0)]
        labels = {"kind": "gap"}
        assert metrics.registry.get_sample_value("onlooker_time_jumps_total", labels) == 1


async def test_live_segments_that_come_in_bursts_are_played_at_their_own_pace() -> None:
    clock = ManualClock()
    async with running_hub(
        clock=clock, pool=InlineExecutor(), perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=LIVE)
        turns = Turns(
            [*(float(i) / 2 for i in range(12)), NotFound("closed")],
            is_recorded=False, comes_in_bursts=True,
        )  # fmt: skip
        told = await pull(hub, turns, clock, stream=stream, step_s=0.01)
        seen = [(at_s - told[0][0], e) for at_s, e in told if isinstance(e, ClipSeen)]
        assert [at_s for at_s, _ in seen] == pytest.approx([e.end_s for _, e in seen], abs=0.1)
        assert stream.status().received == 12
        assert not stream.status().dropped


class SlowClockReader(ScriptedReader):
    """A live source that takes a picture every half a second, and says that it took 25 a second."""

    def __init__(self, clock: ManualClock, *, num: int) -> None:
        super().__init__(
            [*(index / 25 for index in range(num)), NotFound("closed")], is_recorded=False
        )
        self._clock = clock

    def samples(self) -> Iterator[Sample]:
        for sample in super().samples():
            self._clock.advance(0.5)
            yield sample


async def test_a_camera_whose_clock_runs_slow_keeps_step_with_ours() -> None:
    clock = ManualClock()
    async with running_hub(
        clock=clock, pool=InlineExecutor(), perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=LIVE)
        reader = SlowClockReader(clock, num=100)
        told = await pull(hub, lambda source, interval_s: reader, clock, stream=stream, step_s=0.0)
        newest_s = stream.status().newest_s
        assert newest_s == pytest.approx(clock.now_s() - 0.5, abs=1.0)
        jumps = [e.jump.kind for _, e in told if isinstance(e, TimeJumped)]
        assert jumps == ["arrival"]


async def test_a_camera_that_has_worked_is_tried_again_for_ever_after_growing_waits() -> None:
    clock, metrics = ManualClock(), Metrics()
    async with running_hub(clock=clock, pool=InlineExecutor()) as hub:
        stream = await hub.open_stream(options=LIVE)
        lost, gone = SourceLost("no answer"), SourceBroken("status 404")
        failing: list[list[float | Exception]] = [[lost], [gone]]
        turns = Turns([1.0, lost], *failing * 20, [2.0, lost], [lost], [CLOSED])
        turns.is_recorded = False
        told = await pull(
            hub, turns, clock, stream=stream, metrics=metrics,
            reconnect_min_s=1.0, reconnect_max_s=3.0, first_attempts=1,
        )  # fmt: skip
        lost_at_s = [at_s for at_s, e in told if isinstance(e, SourceChanged) and e.state == "lost"]
        waits = [after - before for before, after in pairwise(lost_at_s)]
        assert waits[:4] == pytest.approx([1.0, 2.0, 3.0, 3.0], abs=0.06)
        states = [state for state, _ in changes(told)]
        assert states == [
            "began", "playing", *["lost"] * 41, "found again", *["lost"] * 2, "ended",
        ]  # fmt: skip
        assert all(reader.is_closed for reader in turns.readers[:-1])
        assert metrics.registry.get_sample_value("onlooker_source_reconnects_total") == 43


async def test_who_looks_learns_why_a_source_is_lost_and_when_it_is_tried_again() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock, pool=InlineExecutor()) as hub:
        stream = await hub.open_stream(options=LIVE)
        turns = Turns([1.0, SourceLost("no answer")], [CLOSED], is_recorded=False)
        told = await pull(hub, turns, clock, stream=stream, reconnect_min_s=7.0)
        (lost,) = [e.source for _, e in told if isinstance(e, SourceChanged) and e.state == "lost"]
        assert (lost.owner, lost.state, lost.reason) == (URL, "lost", "no answer")
        assert lost.num_failures == 1
        assert lost.next_try_wall_s == lost.changed_wall_s + 7.0


async def test_a_source_that_never_worked_fails_after_a_few_attempts() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock, pool=InlineExecutor()) as hub:
        stream = await hub.open_stream(options=LIVE)
        turns = Turns([SourceLost("no answer")], is_recorded=False)
        told = await pull(hub, turns, clock, stream=stream, first_attempts=3)
        assert [state for state, _ in changes(told)] == ["began", "lost", "lost", "failed"]
        source = stream.status().last_source
        assert source is not None
        assert (source.state, source.owner) == ("failed", URL)
        assert source.reason == "no answer (given up after 3 attempts)"
        assert len(turns.readers) == 3


async def test_what_can_never_be_played_fails_at_once() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock, pool=InlineExecutor()) as hub:
        stream = await hub.open_stream(options=LIVE)
        turns = Turns([SourceBroken("status 404")], is_recorded=False)
        told = await pull(hub, turns, clock, stream=stream)
        assert [state for state, _ in changes(told)] == ["began", "failed"]


@pytest.mark.parametrize("error", [SourceLost("no answer"), SourceBroken("no video"), OSError("x")])
async def test_a_source_that_fails_for_good_is_logged_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    async with running_hub(clock=clock, pool=InlineExecutor()) as hub:
        stream = await hub.open_stream(options=LIVE)
        await pull(hub, Turns([error]), clock, stream=stream, first_attempts=1)
    failed = [r for r in caplog.records if r.message == "a source has failed"]
    assert [r.__dict__["source"] for r in failed] == [URL]


async def test_a_recording_that_breaks_off_goes_on_where_it_was() -> None:
    clock, lost = ManualClock(), SourceLost("the connection broke")
    async with running_hub(
        clock=clock, pool=InlineExecutor(), perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        turns = Turns([0.0, 0.5, lost], [0.0, 0.5, 1.0, lost], [0.0, 0.5, 1.0, 1.5])
        told = await pull(hub, turns, clock, stream=stream, first_attempts=2)
        assert stream.status().received == 4
        assert changes(told)[-1][0] == "ended"


async def test_a_recording_whose_time_goes_back_goes_on_where_it_broke_off() -> None:
    clock, whole = ManualClock(), [0.0, 0.5, 1.0, 0.0, 0.5, 1.0, 1.5]
    async with running_hub(
        clock=clock, pool=InlineExecutor(), perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        turns = Turns([*whole[:5], SourceLost("the connection broke")], [*whole])
        told = await pull(hub, turns, clock, stream=stream, first_attempts=2)
        assert stream.status().received == len(whole)
        assert stream.status().newest_s == pytest.approx(3.0)
        assert changes(told)[-1][0] == "ended"


async def test_a_recording_that_breaks_off_at_one_place_again_and_again_fails() -> None:
    clock = ManualClock()
    async with running_hub(
        clock=clock, pool=InlineExecutor(), perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        turns = Turns([0.0, 0.5, SourceLost("the connection broke")])
        told = await pull(hub, turns, clock, stream=stream, first_attempts=3)
        assert stream.status().received == 2
        assert len(turns.readers) == 3
        assert changes(told)[-1][0] == "failed"


async def test_a_recording_without_a_picture_says_so() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock, pool=InlineExecutor()) as hub:
        stream = await hub.open_stream(options=LIVE)
        told = await pull(hub, Turns([]), clock, stream=stream, loop=True)
        assert changes(told)[-1][0] == "failed"
        assert "without a single picture" in changes(told)[-1][1]


async def test_a_camera_that_ends_by_itself_counts_as_lost() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock, pool=InlineExecutor()) as hub:
        stream = await hub.open_stream(options=LIVE)
        turns = Turns([1.0], [CLOSED], is_recorded=False)
        told = await pull(hub, turns, clock, stream=stream)
        assert [state for state, _ in changes(told)] == ["began", "playing", "lost", "ended"]


async def test_after_a_pause_stream_time_has_gone_on_by_the_pause() -> None:
    clock = ManualClock()
    async with running_hub(
        clock=clock, pool=InlineExecutor(), perception={"gate_threshold": 0}
    ) as hub:
        stream = await hub.open_stream(options=LIVE)
        turns = Turns([1.0, SourceLost("x")], [7.0, CLOSED], is_recorded=False)
        await pull(hub, turns, clock, stream=stream, reconnect_min_s=20.0)
        newest_s = stream.status().newest_s
        assert newest_s == pytest.approx(20.0, abs=0.1)


async def test_a_stream_whose_source_is_lost_is_not_idle() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock, pool=InlineExecutor(), stream_idle_s=10.0) as hub:
        stream = await hub.open_stream(options=LIVE)
        turns = Turns([1.0, SourceLost("x")], [CLOSED], is_recorded=False)
        work = await make_puller(turns, clock, reconnect_min_s=100.0).prepare(
            stream, SourceSpec(URL)
        )
        await driven(clock, played(work), step_s=1.0)
        assert stream.closed_reason is None
        await driven(clock, clock.sleep(20.0), step_s=1.0)
        assert str(stream.closed_reason).startswith("idle")


async def test_a_pull_that_is_cancelled_before_its_first_step_gives_everything_back() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock, pool=InlineExecutor()) as hub:
        stream = await hub.open_stream(options=LIVE)
        puller = make_puller(Turns([1.0]), clock, max_sources=1)
        for _ in range(2):
            pull = await puller.prepare(stream, SourceSpec(URL))
            task = asyncio.ensure_future(played(pull))
            task.cancel()
            await asyncio.wait((task,))
            pull.close()
            assert stream.status().source is None


async def test_an_address_inside_the_network_is_refused_before_anything_is_opened() -> None:
    async with running_hub() as hub:
        stream = await hub.open_stream(options=LIVE)
        for url in ("http://127.0.0.1/x", "rtsp://[::1]/x", "http://localhost:1/x", "/etc/passwd"):
            with pytest.raises(Forbidden):
                await hub.pull(stream, SourceSpec(url))
        assert stream.status().source is None


async def test_pulled_sources_are_limited_and_exclusive() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock, pool=InlineExecutor()) as hub:
        streams = [await hub.open_stream(options=LIVE) for _ in range(2)]
        puller = make_puller(Turns([1.0]), clock, max_sources=1)
        work = await puller.prepare(streams[0], SourceSpec(URL))
        with pytest.raises(Overloaded, match="max_sources"):
            _ = await puller.prepare(streams[1], SourceSpec(URL))
        await driven(clock, played(work))
        streams[1].claim_source("a browser")
        with pytest.raises(Conflict, match="a browser"):
            _ = await puller.prepare(streams[1], SourceSpec(URL))


async def test_closing_the_stream_ends_the_pull() -> None:
    clock = ManualClock()
    async with running_hub(clock=clock, pool=InlineExecutor()) as hub:
        stream = await hub.open_stream(options=LIVE)
        puller = make_puller(Turns([float(i) for i in range(100)]), clock)
        task = asyncio.ensure_future(played(await puller.prepare(stream, SourceSpec(URL))))
        await asyncio.sleep(0)
        await hub.close_stream(stream.id, "enough")
        await driven(clock, task)
