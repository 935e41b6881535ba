"""`WatchKeeper`: one stream's watches. Each looks at every clip after the model has seen it.

Every watch has a short queue of clips and a task of its own, so that neither ingest nor another
watch waits for it; checks that are asked for at the same moment share the engine's steps, and equal
ones are asked once. Live, a watch that falls behind passes the oldest clips over and counts them;
on the virtual clock ingest waits, so that the same video raises the same alerts at any speed.
"""

import asyncio
import io
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol

from PIL import Image

from onlooker.core.clock import Clock
from onlooker.core.errors import ClientError, Conflict, NotFound, TooLarge
from onlooker.core.ids import StreamId, new_id
from onlooker.core.media import Clip
from onlooker.core.metrics import Metrics
from onlooker.engine.checks import CheckResult
from onlooker.watches.alert import Alert
from onlooker.watches.events import AlertRaised, WatchChanged, WatchEvent
from onlooker.watches.looking import Looker
from onlooker.watches.options import WatchOptions, check_options
from onlooker.watches.score import CheckRunner, SharedClip
from onlooker.watches.shelf import KeptWatch
from onlooker.watches.triggers.change import ChangeMeter
from onlooker.watches.watch import Watch

_log = logging.getLogger("onlooker.watches")

FRAME_QUALITY = 85


class MakeKeeper(Protocol):
    """Makes a new stream's keeper; the hub knows the parts that all of them share."""

    def __call__(
        self,
        stream_id: StreamId,
        *,
        publish: Callable[[WatchEvent], None],
        is_live: bool,
        now_s: Callable[[], float],
        is_kept: bool,
    ) -> "WatchKeeper": ...


class WatchKeeper:
    """One per stream. Everything runs on the event loop, but for the comparison of pictures."""

    def __init__(
        self,
        stream_id: StreamId,
        *,
        runner: CheckRunner,
        clock: Clock,
        metrics: Metrics,
        pool: Executor,
        publish: Callable[[WatchEvent], None],
        is_live: bool,
        now_s: Callable[[], float],
        on_alert: Callable[[StreamId, Watch, Alert], None],
        on_change: Callable[[StreamId, Sequence[Watch]], None] = lambda *_: None,
        is_kept: bool = True,
    ) -> None:
        """`now_s`: stream time now. `on_alert` is told of every alert beside the subscribers;
        where `is_kept`, `on_change` is told of all watches when one of them comes, changes, ends
        or goes."""
        self._stream_id = stream_id
        self._runner, self._clock, self._metrics, self._pool = runner, clock, metrics, pool
        self._publish, self._on_alert = publish, on_alert
        self._on_change = on_change if is_kept else lambda *_: None
        self._is_live, self._now_s = is_live, now_s
        self._watches: dict[str, Watch] = {}
        self._lookers: dict[str, Looker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._arrived: deque[Clip] = deque()
        self._arrival = asyncio.Event()
        self._meter = ChangeMeter()
        self._newest: SharedClip | None = None
        self._checks: set[asyncio.Task[CheckResult]] = set()
        self._num_alerts = 0
        self._held: list[tuple[Watch, Clip, dict[str, Any]]] | None = None

    # ---- watches

    def create(self, options: WatchOptions, watch_id: str | None = None) -> Watch:
        """Add a watch.

        Raises:
            InvalidRequest, TooLarge: see `check_options`; as many as a stream takes.
            Conflict: there is one of this id.
        """
        watch_id = watch_id or new_id("watch")
        watch = self._add(watch_id, options, self._clock.wall_s(), self._now_s())
        self._tell(watch, "created")
        return watch

    def restore(self, kept: Sequence[KeptWatch]) -> None:
        """Go on with the watches of an earlier server; they look anew."""
        for one in kept:
            try:
                watch = self._add(one.watch_id, one.options, one.created_wall_s, one.created_s)
                self._publish(WatchChanged(watch.watch_id, "created"))
            except ClientError as error:  # the settings have changed since
                _log.warning("a kept watch was left out", extra={"detail": error.message})

    def update(self, watch_id: str, changes: dict[str, Any]) -> Watch:
        """Change options of a watch. What it looks for begins anew only where that changes.

        Raises:
            NotFound: there is none; InvalidRequest, TooLarge: see `check_options`.
        """
        old = self.get(watch_id)
        settings = self._runner.settings
        watch = old.updated(changes, wording=self._runner.wording, settings=settings)
        check_options(watch.options, settings)
        self._end(watch_id)
        self._begin(watch)
        self._tell(watch, "updated")
        return watch

    def delete(self, watch_id: str) -> None:
        """Take a watch away; a text that it is writing is broken off. Raises `NotFound`."""
        watch = self.get(watch_id)
        self._end(watch_id)
        del self._watches[watch_id]
        self._metrics.watches.dec()
        self._tell(watch, "deleted")

    def get(self, watch_id: str) -> Watch:
        """The watch of this id. Raises `NotFound`."""
        watch = self._watches.get(watch_id)
        if watch is None:
            raise NotFound(
                f"stream '{self._stream_id}' has no watch '{watch_id[:80]}'", param="watch"
            )
        return watch

    def watches(self) -> list[Watch]:
        """All of them, oldest first; those whose time has passed have ended."""
        if self._is_live:
            self._expire(self._now_s())
        return list(self._watches.values())

    @property
    def num_active(self) -> int:
        """Watches that look."""
        return sum(watch.state == "active" for watch in self._watches.values())

    # ---- clips

    def on_clip(self, clip: Clip) -> None:
        """Live: the model has seen `clip`. Never waits."""
        if not self._watches:
            return
        self._arrived.append(clip)
        if len(self._arrived) > self._runner.settings.backlog_clips:
            self._arrived.popleft()
            self._metrics.checks.labels(outcome="passed_over").inc(len(self._watches))
        self._arrival.set()

    async def see(self, clip: Clip) -> None:
        """Virtual clock: the same, and return when all that is to be said has been said.

        Alerts about one clip are raised in the order in which their watches were created.
        """
        if not self._watches:
            return
        shared = await self._shared(clip)
        lookers = [self._lookers[watch.watch_id] for watch in self._active(clip)]
        self._held = []
        await asyncio.gather(*(looker.look(shared) for looker in lookers))
        held, self._held = self._held, None
        order = {watch_id: index for index, watch_id in enumerate(self._watches)}
        for said in sorted(held, key=lambda said: order.get(said[0].watch_id, -1)):
            self._raise(*said)

    async def run(self) -> None:
        """Live: hand clips to the watches until cancelled."""
        while True:
            while not self._arrived:
                self._arrival.clear()
                await self._arrival.wait()
            shared = await self._shared(self._arrived.popleft())
            for watch in self._active(shared.clip):
                self._lookers[watch.watch_id].take(shared)

    async def close(self) -> None:
        """Break everything off; after `run` has ended."""
        running: list[asyncio.Task[Any]] = [*self._tasks.values(), *self._checks]
        for watch_id in list(self._tasks):
            self._end(watch_id)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._metrics.watches.dec(len(self._watches))
        self._watches.clear()

    async def _shared(self, clip: Clip) -> SharedClip:
        loop = asyncio.get_running_loop()
        signals = await loop.run_in_executor(self._pool, self._meter.measure, clip)
        self._newest = SharedClip(clip, signals, self._checks)
        return self._newest

    def _active(self, clip: Clip) -> list[Watch]:
        self._expire(clip.end_s)
        return [watch for watch in self._watches.values() if watch.state == "active"]

    def _expire(self, now_s: float) -> None:
        for watch in self._watches.values():
            if watch.expire(now_s):
                self._tell(watch, "ended")

    # ---- inside

    def _begin(self, watch: Watch) -> None:
        is_new = watch.watch_id not in self._watches
        self._watches[watch.watch_id] = watch
        if is_new:
            self._metrics.watches.inc()
        looker = Looker(
            watch,
            runner=self._runner,
            metrics=self._metrics,
            clock=self._clock,
            is_live=self._is_live,
            raise_alert=self._raise,
            note_ended=lambda: self._tell(watch, "ended"),
        )
        self._lookers[watch.watch_id] = looker
        self._tasks[watch.watch_id] = asyncio.create_task(
            looker.run(), name=f"watch {watch.watch_id}"
        )
        if is_new and watch.options.kind == "question" and self._newest is not None:
            looker.take(self._newest)  # it may be told already

    def _end(self, watch_id: str) -> None:
        self._lookers.pop(watch_id).stop()
        self._tasks.pop(watch_id).cancel()

    def _add(
        self, watch_id: str, options: WatchOptions, created_wall_s: float, created_s: float
    ) -> Watch:
        settings = self._runner.settings
        check_options(options, settings)
        if len(self._watches) >= settings.max_per_stream:
            raise TooLarge(
                f"a stream takes {settings.max_per_stream} watches (setting "
                "watches.max_per_stream); delete one first",
                param="watch",
            )
        if watch_id in self._watches:
            raise Conflict(f"watch '{watch_id[:80]}' exists already", param="id")
        watch = Watch.make(
            watch_id,
            options,
            wording=self._runner.wording,
            settings=settings,
            created_wall_s=created_wall_s,
            created_s=created_s,
        )
        self._begin(watch)
        return watch

    def _tell(self, watch: Watch, change: str) -> None:
        self._publish(WatchChanged(watch.watch_id, change))
        self._on_change(self._stream_id, [*self._watches.values()])

    def _raise(self, watch: Watch, clip: Clip, said: dict[str, Any]) -> None:
        """Give an alert its number and tell everybody."""
        if self._held is not None:
            self._held.append((watch, clip, said))
            return
        self._num_alerts += 1
        staleness_s = max(0.0, self._clock.now_s() - clip.frames[1].received_at_s)
        alert = Alert(
            alert_id=new_id("alert"),
            number=self._num_alerts,
            watch_id=watch.watch_id,
            kind=watch.options.kind,
            start_s=clip.start_s,
            end_s=clip.end_s,
            staleness_s=staleness_s,
            frame_jpeg=_jpeg(clip) if watch.options.include_frame else None,
            **said,
        )
        self._metrics.alerts.labels(outcome="raised").inc()
        self._metrics.alert_staleness_seconds.observe(staleness_s)
        self._publish(AlertRaised(alert))
        self._on_alert(self._stream_id, watch, alert)


def _jpeg(clip: Clip) -> bytes:
    """The newest frame. It is as small as the model wants it, so this takes a millisecond."""
    data = io.BytesIO()
    Image.fromarray(clip.frames[1].pixels).save(data, "JPEG", quality=FRAME_QUALITY)
    return data.getvalue()
