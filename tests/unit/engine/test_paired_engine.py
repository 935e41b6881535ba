"""Two engines as one: both see every clip, the small one decides, the large one answers."""

import dataclasses
from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import ConfigError, EngineFailed
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip
from onlooker.core.metrics import Metrics
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.checks import Check
from onlooker.engine.config import EngineSection, RestartSection
from onlooker.engine.fake import ScriptedEngine, ScriptedStore
from onlooker.engine.interface import Held, IngestResult, Question, Stock, Waiting
from onlooker.engine.paired_engine import PairedEngine
from onlooker.engine.supervisor import EngineSupervisor
from onlooker.engine.wording import Wording, WordingRule
from onlooker.scheduler.load import EngineLoad
from onlooker.watches.alert import Alert
from onlooker.watches.events import AlertRaised
from onlooker.watches.options import WatchOptions
from tests.fakes.pictures import make_clip
from tests.fakes.streams import SMALL, driven, running_hub, waiting_events
from tests.unit.watches.test_keeper import EVERY, VIRTUAL, finish, show

S = StreamId("s")
TINY = dataclasses.replace(SMALL, model="tiny", frame_width=16, frame_height=8)
ASKED = Check(S, "Is it red?", asked_s=9.0, answers=(("yes",), ("no",)))
DECIDES = dataclasses.replace(ASKED, decides=True)


class Looking(ScriptedEngine):
    """Keeps what it was shown."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"info": SMALL, **options})
        self.shown: list[Clip] = []

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        result = await super().ingest(clip, care)
        self.shown.append(clip)
        return result


class Pair:
    """A pair that has been started, with stream `S` open."""

    def __init__(self, answerer: Looking | None = None, decider: Looking | None = None) -> None:
        self.answerer, self.decider = answerer or Looking(), decider or Looking(info=TINY)
        self.engine = PairedEngine(self.answerer, self.decider)

    async def start(self) -> "Pair":
        await self.engine.start(lambda line: None)
        await self.engine.open_stream(S)
        return self


@pytest.fixture
async def pair() -> Pair:
    return await Pair().start()


async def test_both_see_a_clip_each_in_its_own_size(pair: Pair) -> None:
    await pair.engine.ingest(make_clip(0.0, 0.5))
    await pair.engine.ingest(make_clip(1.0, index=1))
    assert [clip.frames[0].pixels.shape for clip in pair.answerer.shown] == [(32, 32, 3)] * 2
    small, single = pair.decider.shown
    assert [frame.pixels.shape for frame in small.frames] == [(8, 16, 3)] * 2
    assert (small.start_s, small.end_s, small.clip_index) == (0.0, 0.5, 0)
    assert single.frames[0] is single.frames[1], "one frame that is there twice stays one"


async def test_what_decides_is_asked_of_the_decider_and_nothing_else(pair: Pair) -> None:
    await pair.engine.ingest(make_clip())
    await pair.engine.check(DECIDES)
    await pair.engine.check(ASKED)
    assert pair.decider.checks == [DECIDES]
    assert pair.answerer.checks == [ASKED]


async def test_the_answerer_answers() -> None:
    pair = await Pair(decider=Looking(script=[("", "the decider")])).start()
    await pair.engine.ingest(make_clip(colour="red"))
    question = Question(text="colour?", stream_id=S, asked_s=9.0)
    events = [event async for event in pair.engine.answer(question)]
    assert (
        "".join(getattr(event, "text", "") for event in events) == "The newest clip is mostly red."
    )


async def test_what_the_answerer_has_lost_the_decider_is_not_shown() -> None:
    lost = {0}
    pair = await Pair(Looking(fail_ingest=lambda clip: clip.clip_index in lost)).start()
    with pytest.raises(EngineFailed):
        await pair.engine.ingest(make_clip())
    assert pair.decider.shown == []
    lost.clear()
    await pair.engine.ingest(make_clip())  # it may be shown again
    assert len(pair.decider.shown) == 1


async def test_a_clip_that_the_decider_alone_has_lost_is_remembered_and_not_decided_about() -> None:
    pair = await Pair(decider=Looking(fail_ingest=lambda clip: clip.clip_index == 1)).start()
    await pair.engine.ingest(make_clip())
    await pair.engine.ingest(make_clip(1.0, index=1))
    assert len(pair.answerer.shown) == 2
    with pytest.raises(EngineFailed, match="has not seen the newest clip"):
        await pair.engine.check(DECIDES)
    await pair.engine.check(ASKED)
    await pair.engine.ingest(make_clip(2.0, index=2))
    await pair.engine.check(DECIDES)


@pytest.mark.parametrize("half", ["answerer", "decider"])
async def test_the_death_of_either_is_that_of_both_and_both_are_started_again(half: str) -> None:
    clock, pair = ManualClock(), Pair()
    supervisor = EngineSupervisor(
        pair.engine, clock=clock, settings=RestartSection(min_backoff_s=1.0), metrics=Metrics()
    )
    await supervisor.start(lambda line: None)
    getattr(pair, half).die()
    assert not supervisor.ready()
    assert supervisor.healthy(), "it will be started again"
    await driven(clock, supervisor.next_life(after=1))
    await supervisor.open_stream(S)
    await supervisor.ingest(make_clip())
    await supervisor.check(DECIDES)
    await supervisor.close()
    assert not pair.answerer.healthy()
    assert not pair.decider.healthy()


async def test_a_decider_that_does_not_start_is_told_and_the_answerer_stopped() -> None:
    pair = Pair(decider=Looking(fail_start=lambda: True))
    with pytest.raises(ConfigError, match=r"the decider \(engine.decider\): scripted failure"):
        await pair.engine.start(lambda line: None)
    assert not pair.answerer.healthy()


async def test_what_started_half_is_stopped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, closed = Pair(decider=Looking(fail_start=lambda: True)), []

    async def close() -> None:
        closed.append("decider")

    monkeypatch.setattr(pair.decider, "close", close)
    with pytest.raises(ConfigError):
        await pair.engine.start(lambda line: None)
    assert closed == ["decider"]


async def test_a_stream_that_the_decider_does_not_open_is_closed_in_the_answerer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = ScriptedStore()
    pair = await Pair(Looking(store=store)).start()
    await pair.engine.ingest(make_clip(0.0, index=0))
    await pair.engine.close_stream(S, forget=False)

    async def fail(*_: Any) -> None:
        raise EngineFailed("no room")

    with monkeypatch.context() as broken:
        broken.setattr(pair.decider, "open_stream", fail)
        with pytest.raises(EngineFailed, match="no room"):
            await pair.engine.open_stream(S)
    with pytest.raises(KeyError):  # no such stream is open
        await pair.answerer.ingest(make_clip(1.0, index=1))
    assert (await pair.engine.open_stream(S)).next_clip_index == 1, "its memory stays"


async def test_a_stream_that_the_decider_does_not_close_is_closed_in_the_answerer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = await Pair().start()

    async def fail(*_: Any, **__: Any) -> None:
        raise EngineFailed("stuck")

    monkeypatch.setattr(pair.decider, "close_stream", fail)
    with pytest.raises(EngineFailed, match="stuck"):
        await pair.engine.close_stream(S)
    with pytest.raises(KeyError):
        await pair.answerer.ingest(make_clip())


async def test_a_stream_goes_on_with_what_the_answerer_stored() -> None:
    store = ScriptedStore()
    pair = await Pair(Looking(store=store)).start()
    for index in range(3):
        await pair.engine.ingest(make_clip(float(index), index=index))
    await pair.engine.close_stream(S, forget=False)
    remembered = await pair.engine.open_stream(S)
    assert remembered.next_clip_index == 3
    await pair.engine.ingest(make_clip(3.0, index=3))
    assert (await pair.engine.check(DECIDES)).num_cached_tokens == 4, "the decider has one clip"


async def test_what_is_deleted_is_deleted_in_both(pair: Pair) -> None:
    for index in range(4):
        await pair.engine.ingest(make_clip(float(index), index=index))
    found = await pair.engine.forget(S, 1.0, 2.0, max_clips=1)
    assert (found.clip_indices, found.has_more) == (frozenset({1}), True)
    assert (await pair.decider.check(DECIDES)).num_cached_tokens == 8, "0 and 3 are left"


class Stocked(Looking):
    """Says what it holds, and how busy it is."""

    def __init__(self, num_bytes: int, load: EngineLoad) -> None:
        super().__init__()
        self._num_bytes, self._busy = num_bytes, load

    def load(self) -> EngineLoad:
        return self._busy

    async def take_stock(self, waiting: Waiting) -> Stock:
        held = Held(num_segments=2, num_bytes=self._num_bytes, num_indexed=2, index_bytes=1)
        return Stock({S: [7]} if waiting else {}, held=held, remembered={S: self._num_bytes})


async def test_memory_and_load_are_those_of_both() -> None:
    busy = EngineLoad(busy_ratio=0.2, clip_s=0.05, frame_wait_s=0.1, question_s=0.3, load_ratio=0.4)
    other = EngineLoad(
        busy_ratio=0.9, clip_s=0.01, frame_wait_s=0.2, question_s=9.0, load_ratio=0.8
    )
    pair = await Pair(Stocked(100, busy), Stocked(20, other)).start()
    stock = await pair.engine.take_stock({S: [7]})
    assert stock.durable == {S: [7]}
    assert stock.remembered == {S: 120}
    assert stock.held == Held(num_segments=4, num_bytes=120, num_indexed=4, index_bytes=2)
    load = pair.engine.load()
    assert (load.busy_ratio, load.load_ratio) == (0.9, 0.8)
    assert load.clip_s == pytest.approx(0.06)
    assert load.frame_wait_s == pytest.approx(0.3)
    assert load.question_s == 0.3, "questions go to the answerer alone"


# ---- watches


async def alerts_of_a_pair(options: WatchOptions, **decider: Any) -> tuple[list[Alert], Pair]:
    asks = Wording(rules=(WordingRule(r"(?:an? )?(\w+) appears", "Has {1} just appeared?"),))
    pair = Pair(
        Looking(script=[("", "the answerer saw {colour}")]),
        Looking(**{"info": dataclasses.replace(TINY, wording=asks), **decider}),
    )
    async with running_hub(engine=pair.engine, perception=EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        events = stream.subscribe(max_events=1000)
        stream.watches.create(options, "w")
        lease = stream.claim_source("test")
        await show(stream, ["blue", "blue", "red", "red", "blue", "red"])
        lease.release()
        await finish(stream)
        alerts = [e.alert for e in waiting_events(events) if isinstance(e, AlertRaised)]
    return alerts, pair


async def test_a_watch_is_decided_in_the_deciders_words_and_answered_by_the_answerer() -> None:
    options = WatchOptions(condition="a red appears", answer_prompt="what?")
    alerts, pair = await alerts_of_a_pair(options)
    assert [(alert.end_s, alert.text) for alert in alerts] == [
        (2.0, "the answerer saw red"),
        (5.0, "the answerer saw red"),
    ]
    assert {check.text for check in pair.decider.checks} == {"Has red just appeared?"}
    assert pair.answerer.checks == []


async def test_a_watch_by_heads_reads_the_deciders() -> None:
    info = dataclasses.replace(TINY, score_heads=("silent",))
    options = WatchOptions(condition="it is red", trigger=("heads",))
    alerts, _ = await alerts_of_a_pair(options, info=info)
    assert [alert.end_s for alert in alerts] == [2.0, 5.0]


async def test_a_clip_that_the_decider_has_lost_is_made_up_for_on_the_next() -> None:
    def loses(clip: Clip) -> bool:
        return clip.clip_index == 2

    options = WatchOptions(condition="it is red", trigger=("yes_no",), while_true=True)
    alerts, _ = await alerts_of_a_pair(options, fail_ingest=loses)
    assert [alert.end_s for alert in alerts] == [3.0, 5.0]


# ---- settings


def test_a_decider_has_an_engine_of_its_own() -> None:
    assert EngineSection().of_decider() is None
    section = EngineSection.model_validate(
        {
            "model": "large",
            "window_clips": 64,
            "memory": {"notes": "notes"},
            "vllm": {"max_model_len": 32768, "dtype": "float16"},
            "decider": {"model": "small", "window_clips": 6, "arena_gib": 2},
        }
    )
    own = section.of_decider()
    assert own is not None
    assert (own.model, own.window_clips, own.decider) == ("small", 6, None)
    assert (own.memory.recent_clips, own.memory.retrieved_clips) == (6, 0)
    assert (own.memory.arena_gib, own.memory.notes) == (2, "off")
    assert (own.vllm.dtype, own.vllm.max_model_len) == ("float16", 4096)
    assert own.vllm.gpu_memory_utilization == 0.1


def test_two_models_that_want_more_than_the_gpu_has_are_refused() -> None:
    with pytest.raises(ValueError, match="lower the first, so that both models fit"):
        EngineSection.model_validate({"decider": {"model": "m", "gpu_memory_utilization": 0.2}})
