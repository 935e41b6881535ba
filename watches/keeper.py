"""`WatchKeeper`: the watches of one stream, from a clip that the model has seen to alerts.

A clip comes in by `on_clip` or `see`, is compared with the one before, and goes to the `Looker` of
every active watch, which asks the watch's trigger. What a looker wants to say becomes an `Alert`
with the stream's next number.

Every looker has a short queue of clips and a task of its own, so that neither ingest nor another
watch waits for it. Checks that are asked for at the same moment share the engine's steps, and equal
ones are asked once. On the live clock a watch that falls behind passes the oldest clips over and
counts them. On the virtual clock ingest waits, so that the same video raises the same alerts at any
speed.
"""

import asyncio
import io
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from PIL import Image

from onlooker.core.errors import ClientError, Conflict, NotFound, TooLarge
from onlooker.core.ids import StreamId, new_id
from onlooker.core.media import Clip, Cover
from onlooker.engine.checks import CheckResult
from onlooker.watches.alert import Alert, Statement
from onlooker.watches.alert_spans import record_alert
from onlooker.watches.events import WatchChanged, WatchEvent
from onlooker.watches.kept_watch import KeptWatch
from onlooker.watches.looker import Looker
from onlooker.watches.options import WatchOptions, check_options
from onlooker.watches.score import SharedClip
from onlooker.watches.service import WatchService
from onlooker.watches.triggers.change import ChangeMeter
from onlooker.watches.watch import Watch

_log = logging.getLogger("onlooker.watches")

FRAME_QUALITY = 85


RaiseAlert = Callable[[Watch, Alert], None]
"""Tells everybody of an alert."""

OnChange = Callable[[Sequence[Watch]], None]
"""Is told of all watches when what is to be kept of one of them has changed."""


class MakeKeeper(Protocol):
    """Makes a new stream's keeper; wiring knows the parts that all of them share."""

    def __call__(
        self,
        stream_id: StreamId,
        *,
        publish: Callable[[WatchEvent], None],
        is_live: bool,
        now_s: Callable[[], float],
        covers: Callable[[], Sequence[Cover]],
        raise_alert: RaiseAlert,
        on_change: OnChange,
        last_alert: int,
    ) -> "WatchKeeper": ...


class WatchKeeper:
    """One per stream. Everything runs on the event loop, but for the comparison of pictures."""

    def __init__(
        self,
        stream_id: StreamId,
        *,
        service: WatchService,
        publish: Callable[[WatchEvent], None],
        is_live: bool,
        now_s: Callable[[], float],
        raise_alert: RaiseAlert,
        on_change: OnChange = lambda watches: None,
        covers: Callable[[], Sequence[Cover]] = tuple,
        last_alert: int = 0,
    ) -> None:
        """`now_s` tells the stream time now; `covers`, on the live clock, how long the newest clips
        stand for what was there. `last_alert`: the number of the newest alert of an earlier
        server."""
        self._stream_id, self._service = stream_id, service
        self._publish, self._raise_alert, self._on_change = publish, raise_alert, on_change
        self._is_live, self._now_s = is_live, now_s
        self._covers = covers
        self._lookers: dict[str, Looker] = {}
        """By the id of their watch, oldest first."""
        self._arrived: deque[Clip] = deque()
        self._arrival = asyncio.Event()
        self._meter = ChangeMeter()
        self._newest: SharedClip | None = None
        self._checks: set[asyncio.Task[CheckResult]] = set()
        self._num_alerts = last_alert
        self._gone: deque[tuple[float, float]] = deque(maxlen=16)
        """The spans of stream time that were deleted last: a clip of one may still be on its way
        here."""
        self._again_below = 0
        """Clips of a lower index were with an earlier server."""
        self._held: list[tuple[Watch, Clip, Statement]] | None = None
        """On the virtual clock, what was said about the clip that the watches look at."""

    # ---- watches

    def create(
        self, options: WatchOptions, watch_id: str | None = None, *, said_wall_s: float = 0.0
    ) -> Watch:
        """Add a watch. `said_wall_s`: when its options were said, where another clock tells that;
        it counts where it is later than now.

        Raises:
            InvalidRequest: see `check_options`.
            TooLarge: see `check_options`; or the stream has as many watches as it takes.
            Conflict: there is a watch of this id already.
        """
        watch_id = watch_id or new_id("watch")
        watch = self._add(watch_id, options, self._service.clock.wall_s(), self._now_s())
        watch.changed_wall_s = max(watch.changed_wall_s, said_wall_s)
        self._tell(watch, "created")
        return watch

    def restore(self, kept: Sequence[KeptWatch]) -> None:
        """Go on with the watches of an earlier server. They have seen no picture yet."""
        for one in kept:
            try:
                watch = self._add(one.watch_id, one.options, one.created_wall_s, one.created_s)
                watch.go_on(
                    one.alerts_s,
                    num_alerts=one.num_alerts,
                    is_on=one.is_on,
                    changed_wall_s=one.changed_wall_s,
                )
                self._publish(WatchChanged(watch.watch_id, "created"))
            except ClientError as error:  # the settings have changed since
                _log.warning("a kept watch was left out", extra={"detail": error.message})

    def update(self, watch_id: str, changes: dict[str, Any], *, said_wall_s: float = 0.0) -> Watch:
        """Change options of a watch. What it looks for begins anew only where that changes.
        `said_wall_s`: as for `create`.

        Raises:
            NotFound: there is no watch of this id.
            InvalidRequest, TooLarge: see `check_options`.
        """
        settings = self._service.settings
        model = self._service.model
        watch = self.get(watch_id).updated(
            changes,
            wording=model.of_checks.wording,
            settings=settings,
            replies=model.wording,
            changed_wall_s=max(self._service.clock.wall_s(), said_wall_s),
        )
        check_options(watch.options, settings, model)
        self._lookers[watch_id].stop()
        self._begin(watch)
        self._tell(watch, "updated")
        return watch

    def delete(self, watch_id: str) -> None:
        """Take a watch away, and break off a text that it is writing.

        Raises:
            NotFound: there is no watch of this id.
        """
        watch = self.get(watch_id)
        self._lookers.pop(watch_id).stop()
        self._service.count_watches(-1)
        self._tell(watch, "deleted")

    def get(self, watch_id: str) -> Watch:
        """The watch of this id.

        Raises:
            NotFound: there is none.
        """
        looker = self._lookers.get(watch_id)
        if looker is None:
            raise NotFound(
                f"stream '{self._stream_id}' has no watch '{watch_id[:80]}'", param="watch"
            )
        return looker.watch

    def watches(self) -> list[Watch]:
        """All watches, oldest first, those that have ended among them."""
        if self._is_live:
            self._expire(self._now_s())
        return self._all()

    def ids(self) -> list[str]:
        """The ids of all watches, oldest first."""
        return list(self._lookers)

    @property
    def num_active(self) -> int:
        """How many watches look at clips."""
        return sum(watch.state == "active" for watch in self._all())

    # ---- clips

    def on_clip(self, clip: Clip) -> None:
        """Take a clip of a live stream that the model has seen. Never waits."""
        if not self._lookers:
            return
        self._arrived.append(clip)
        if len(self._arrived) > self._service.settings.backlog_clips:
            self._arrived.popleft()
            self._service.count_checks("passed_over", len(self._lookers))
        self._arrival.set()

    async def see(self, clip: Clip) -> None:
        """Take a clip of a stream on the virtual clock, and return when all has been said about it.

        Alerts about one clip are raised in the order in which their watches were created.
        """
        if not self._lookers:
            return
        shared = await self._shared(clip)
        self._held = []
        await asyncio.gather(*(looker.look(shared) for looker in self._active(clip)))
        held, self._held = self._held, None
        order = {watch_id: index for index, watch_id in enumerate(self._lookers)}
        for said in sorted(held, key=lambda said: order.get(said[0].watch_id, -1)):
            self._raise(*said)

    async def see_again(self, clip: Clip) -> None:
        """Take a clip that was acknowledged by an earlier server, which ended before it was
        remembered for good: whether its watches had looked at it nobody knows. Each looks at what
        is newer than all that it spoke of."""
        self._again_below = clip.clip_index + 1
        if self._is_live:
            self.on_clip(clip)
        else:
            await self.see(clip)

    def forget(self, start_s: float, end_s: float) -> None:
        """Let go of all that tells of a span of stream time: clips that wait, and whatever is being
        said about one. Watches that may be at work on it begin anew."""
        self._gone.append((start_s, end_s))
        arrived = [clip for clip in self._arrived if not self._is_gone(clip)]
        self._arrived.clear()
        self._arrived.extend(arrived)
        if self._newest is not None and self._is_gone(self._newest.clip):
            self._newest, self._meter = None, ChangeMeter()
            for looker in [*self._lookers.values()]:
                looker.stop()
                self._begin(looker.watch)

    async def run(self) -> None:
        """Hand the clips of a live stream to its watches, until cancelled."""
        while True:
            while not self._arrived:
                self._arrival.clear()
                await self._arrival.wait()
            shared = await self._shared(self._arrived.popleft())
            if self._is_gone(shared.clip):
                self._newest = None
                continue
            for looker in self._active(shared.clip):
                looker.take(shared)

    async def close(self) -> None:
        """Break everything off. Call it after `run` has ended."""
        running: list[asyncio.Task[Any]] = [*self._checks]
        for check in self._checks:
            check.cancel()
        for looker in self._lookers.values():
            running += looker.stop()
        await asyncio.gather(*running, return_exceptions=True)
        self._service.count_watches(-len(self._lookers))
        self._lookers.clear()

    # ---- inside

    async def _shared(self, clip: Clip) -> SharedClip:
        signals = await self._service.in_pool(partial(self._meter.measure, clip))
        self._newest = SharedClip(clip, signals, self._service, self._is_live, self._checks)
        return self._newest

    def _is_gone(self, clip: Clip) -> bool:
        return any(clip.start_s <= end_s and clip.end_s >= start_s for start_s, end_s in self._gone)

    def _all(self) -> list[Watch]:
        return [looker.watch for looker in self._lookers.values()]

    def _active(self, clip: Clip) -> list[Looker]:
        self._expire(clip.end_s)
        is_again = clip.clip_index < self._again_below
        return [
            looker
            for looker in self._lookers.values()
            if looker.watch.state == "active" and (not is_again or looker.watch.may_be_new(clip))
        ]

    def _expire(self, now_s: float) -> None:
        for watch in self._all():
            if watch.expire(now_s):
                self._tell(watch, "ended")

    def _add(
        self, watch_id: str, options: WatchOptions, created_wall_s: float, created_s: float
    ) -> Watch:
        settings = self._service.settings
        model = self._service.model
        check_options(options, settings, model)
        if len(self._lookers) >= settings.max_per_stream:
            raise TooLarge(
                f"a stream takes {settings.max_per_stream} watches (setting "
                "watches.max_per_stream); delete one first",
                param="watch",
            )
        if watch_id in self._lookers:
            raise Conflict(f"watch '{watch_id[:80]}' exists already", param="id")
        watch = Watch.make(
            watch_id,
            options,
            wording=model.of_checks.wording,
            replies=model.wording,
            settings=settings,
            created_wall_s=created_wall_s,
            created_s=created_s,
        )
        self._begin(watch)
        self._service.count_watches(1)
        if options.kind == "question" and self._newest is not None:
            self._lookers[watch_id].take(self._newest)  # it may be told already
        return watch

    def _begin(self, watch: Watch) -> None:
        looker = self._lookers[watch.watch_id] = Looker(
            watch,
            service=self._service,
            is_live=self._is_live,
            raise_alert=self._raise,
            tell_ended=lambda ended: self._tell(ended, "ended"),
            note_turned=lambda: self._on_change(self._all()),
        )
        looker.start()

    def _tell(self, watch: Watch, change: str) -> None:
        self._publish(WatchChanged(watch.watch_id, change))
        self._on_change(self._all())

    def _raise(self, watch: Watch, clip: Clip, statement: Statement) -> None:
        """Make an alert of a statement, give it the next number, and tell everybody."""
        if self._held is not None:
            self._held.append((watch, clip, statement))
            return
        if self._is_gone(clip):
            return
        self._num_alerts += 1
        now_s = self._service.clock.now_s()
        tracer = self._service.tracer
        place = None if tracer is None else tracer.begin()
        alert = Alert(
            alert_id=new_id("alert"),
            number=self._num_alerts,
            watch_id=watch.watch_id,
            kind=watch.options.kind,
            start_s=clip.start_s,
            end_s=clip.end_s,
            until_s=self._until_s(clip),
            decided_wall_s=statement.decided_wall_s,
            staleness_s=max(0.0, now_s - clip.frames[1].received_at_s),
            text=statement.words.text,
            confidence=statement.confidence,
            data=statement.words.data,
            problem=statement.words.problem,
            frame_jpeg=_jpeg(clip) if watch.options.include_frame else None,
            traceparent=str(place) if place is not None and place.is_sampled else None,
        )
        if tracer is not None and place is not None:
            record_alert(
                tracer, place, alert, stream_id=self._stream_id, clip=clip, statement=statement
            )
        self._service.count_raised(alert.staleness_s)
        self._on_change(self._all())  # a watch that spoke rests, or has ended: kept with the alert
        self._raise_alert(watch, alert)

    def _until_s(self, clip: Clip) -> float:
        """Until when the picture is known to have been nearly the same as a clip's."""
        known = [cover.until_s for cover in self._covers() if cover.clip_index == clip.clip_index]
        return max([clip.end_s, *(min(until_s, self._now_s()) for until_s in known)])


def _jpeg(clip: Clip) -> bytes:
    """The newest frame of `clip`. It is as small as the model wants it: this takes a
    millisecond."""
    data = io.BytesIO()
    Image.fromarray(clip.frames[1].pixels).save(data, "JPEG", quality=FRAME_QUALITY)
    return data.getvalue()
