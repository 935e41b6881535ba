"""A hub with the scripted engine, and short ways to feed and ask its streams."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from onlooker.cache_store.config import JournalSection
from onlooker.cache_store.journal import FrameJournal
from onlooker.cache_store.opening import open_journal
from onlooker.core.clock import Clock, ManualClock
from onlooker.core.drawer import StreamDrawer
from onlooker.core.file_drawer import FileDrawer
from onlooker.core.metrics import Metrics
from onlooker.engine.config import RestartSection
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import AnswerDelta, AnswerEnd, EngineInfo, Question
from onlooker.engine.supervisor import EngineSupervisor
from onlooker.scheduler.config import SchedulerSection
from onlooker.server.config import Settings
from onlooker.server.fleet_wiring import make_accounts
from onlooker.server.wiring import make_hub, make_pool
from onlooker.streams.belongings import ALERTS, ORIGIN, PRIVACY, WATCHES
from onlooker.streams.config import StreamsSection
from onlooker.streams.decoding.desk import Decoding
from onlooker.streams.events import StreamEvent
from onlooker.streams.fanout import Subscription
from onlooker.streams.hub import StreamHub
from onlooker.streams.journaling import JournalKeeper
from onlooker.streams.ownership import Ownership
from onlooker.streams.shared import Shared
from onlooker.streams.stream import Stream
from tests.fakes.decoders import LocalWorkshop
from tests.fakes.waiting import limited

T = TypeVar("T")

SMALL = EngineInfo(
    model="fake",
    mode="fake",
    frame_width=32,
    frame_height=32,
    tokens_per_clip=4,
    max_clips=1 << 20,
    knows="nothing",
)


class InlineExecutor(Executor):
    """Does the work at once, so that with a `ManualClock` time stands still meanwhile."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def make_shared(clock: Clock, **settings: Any) -> Shared:
    """What streams share, for tests of their parts; the scripted engine is not started."""
    metrics, pool = Metrics(), InlineExecutor()
    engine = ScriptedEngine(clock=clock, info=SMALL)
    section = StreamsSection.model_validate(settings)
    return Shared(
        engine=EngineSupervisor(engine, clock=clock, settings=RestartSection(), metrics=metrics),
        clock=clock,
        metrics=metrics,
        settings=section,
        pool=pool,
        decoding=make_local_decoding(section, pool=pool, clock=clock, metrics=metrics),
        accounts=make_accounts(Settings(), clock=clock, metrics=metrics),
    )


def make_local_decoding(
    section: StreamsSection, *, pool: Executor, clock: Clock, metrics: Metrics
) -> Decoding:
    """Decodes in this process."""
    return Decoding(
        section.decoding, workshop=LocalWorkshop(), pool=pool, clock=clock, metrics=metrics
    )


def make_tree(scheduler: SchedulerSection, **settings: Any) -> Settings:
    """A server's settings. `watches` and `restarts` are sections of their own; all else that is
    given belongs to `streams`."""
    return Settings.model_validate(
        {
            "engine": {"mode": "fake", "restarts": settings.pop("restarts", {})},
            "watches": settings.pop("watches", {}),
            "streams": settings,
            "scheduler": scheduler,
        }
    )


def make_drawer(folder: Path, max_streams: int = 8) -> FileDrawer:
    """What is kept of streams, in files that are written at once."""
    return FileDrawer(
        folder,
        folders=(PRIVACY, ORIGIN, WATCHES, ALERTS),
        max_streams=max_streams,
        executor=InlineExecutor(),
    )


@asynccontextmanager
async def running_hub(
    *,
    engine: Any = None,
    clock: Clock | None = None,
    metrics: Metrics | None = None,
    pool: Executor | None = None,
    scheduler: SchedulerSection | None = None,
    journal: Path | FrameJournal | None = None,
    journal_settings: dict[str, Any] | None = None,
    kept: Path | StreamDrawer | None = None,
    ownership: Ownership | None = None,
    in_processes: bool = False,
    **settings: Any,
) -> AsyncIterator[StreamHub]:
    """A started hub, closed at the end; fails when a task of it is left behind.

    `in_processes`: what is pushed is decoded in processes, as in a server; else at once, here.
    `journal` and `kept` are folders, or a journal or drawer that is open; `settings` are those of
    `make_tree`. `pool` is where pictures are decoded; None decodes at once where time is manual,
    since it would pass the faster the busier the machine is.
    """
    clock = clock or ManualClock()
    if pool is None and isinstance(clock, ManualClock):
        pool = InlineExecutor()
    engine = engine or ScriptedEngine(clock=clock, info=SMALL)
    metrics = metrics or Metrics()
    keeper = None
    if journal is not None:
        path = journal if isinstance(journal, Path) else None
        section = JournalSection.model_validate({"path": path, **(journal_settings or {})})
        keeper = JournalKeeper(
            open_journal(section) if isinstance(journal, Path) else journal,
            settings=section,
            clock=clock,
            metrics=metrics,
            executor=InlineExecutor(),
        )
    drawer = make_drawer(kept) if isinstance(kept, Path) else kept
    tree = make_tree(scheduler or SchedulerSection(policy="fcfs"), **settings)
    pool = pool or make_pool(tree)
    local = None
    if not in_processes:
        local = make_local_decoding(tree.streams, pool=pool, clock=clock, metrics=metrics)
    hub = make_hub(
        tree,
        engine=engine,
        clock=clock,
        metrics=metrics,
        pool=pool,
        decoding=local,
        journal=keeper,
        drawer=drawer,
        ownership=ownership,
    )
    before = asyncio.all_tasks()
    await hub.start(lambda text: None)
    try:
        yield hub
    finally:
        async with limited("the hub to close"):
            await hub.close(deadline_s=0.0)
    ours = {asyncio.current_task()}  # where a fixture ends, not the one that began it
    left = [task for task in asyncio.all_tasks() - before - ours if not task.done()]
    assert not left, f"tasks left behind: {left}"


async def ask(stream: Stream, text: str = "digest?", **options: Any) -> str:
    """The text of the whole answer. `options` are fields of the `Question`."""
    return (await ask_fully(stream, text, **options))[0]


async def ask_fully(stream: Stream, text: str = "digest?", **options: Any) -> tuple[str, AnswerEnd]:
    """The text of the whole answer, and its end. `options` are fields of the `Question`."""
    pieces: list[str] = []
    end: AnswerEnd | None = None
    async with limited(f"the answer to {text!r}"):
        async for event in stream.ask(Question(text=text, **options)):
            if isinstance(event, AnswerDelta):
                pieces.append(event.text)
            else:
                assert end is None, "two ends"
                end = event
    assert end is not None, "no end"
    return "".join(pieces), end


async def next_event(subscription: Subscription, kind: type[T]) -> T:
    """The next event of a kind; others are passed over."""
    async with limited(f"a {kind.__name__}"):
        async for _, event in subscription:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"the stream closed before a {kind.__name__}")


def waiting_events(subscription: Subscription) -> list[StreamEvent]:
    """All events that wait in a subscription now."""
    events = []
    while (numbered := subscription.take()) is not None:
        events.append(numbered[1])
    return events


async def driven(clock: ManualClock, work: Awaitable[T], *, step_s: float = 0.05) -> T:
    """Await `work` while the clock advances, `step_s` whenever all tasks had time to react."""
    task = asyncio.ensure_future(work)
    try:
        async with limited(f"{task} on a clock that is moved by {step_s} s at a time"):
            while not task.done():
                for _ in range(20):
                    await asyncio.sleep(0)
                if not task.done():
                    clock.advance(step_s)
        return task.result()
    finally:
        task.cancel()
