"""`MqttDoor`: tells a broker of MQTT what happens on a server's streams, and takes nothing from it.

What a broker should hold is looked up now and then, and told where it has changed. Alerts go out at
once, one after the other, each with its picture before it. A broker that is slow or away is waited
for by one task here, and by no stream: what waits is bounded.

An alert is told exactly once, whatever fails in between: it is passed on as the value that the
broker holds under the stream's topic `alert`. Where it is not known whether the broker has taken
one, that value tells, and it tells the stream's next owner, too.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onlooker.core.clock import Clock
from onlooker.core.ids import StreamId, split_stream_id, tenant_stream_id
from onlooker.core.metrics import Metrics
from onlooker.core.waiting import cancel, within
from onlooker.server.mqtt.alert_queue import AlertQueue, QueuedAlert
from onlooker.server.mqtt.config import MqttSection
from onlooker.server.mqtt.entities import Maker
from onlooker.server.mqtt.retained import RetainedBoard
from onlooker.server.mqtt.stream_card import StreamCard, alert_id, message, owner_of
from onlooker.server.mqtt.topics import OFFLINE, MqttTopics
from onlooker.streams.events import AnswerFinished, StreamEnded
from onlooker.streams.fanout import Subscription
from onlooker.streams.stream import Stream
from onlooker.watches.events import AlertRaised
from onlooker.watches.outlets import OutgoingAlert, is_chosen
from onlooker.watches.watch import Watch

if TYPE_CHECKING:  # it needs the extra `mqtt`
    from onlooker.server.mqtt.broker_link import BrokerLink, BrokerSession

_log = logging.getLogger("onlooker.server.mqtt")

AT_ONCE = 16
"""Values that are on their way to the broker at the same time."""

PICTURE_S = 2.0
"""How long an alert waits for its picture."""

CLOSE_S = 2.0
"""How long a broker gets at the end to take what waits."""

MAX_EVENTS = 1024
"""Events of a stream between two looks; of more, only how things are now is told."""

MAX_FORGOTTEN = 10_000
"""Streams that were deleted while the broker was away, and are to be deleted there, too."""


@dataclass(slots=True)
class _Followed:
    """A stream that is open here, and the topics that the broker is told of."""

    stream: Stream
    card: StreamCard
    events: Subscription
    topics: list[str] = field(default_factory=list)


class MqttDoor:
    """Of one server; an `AlertOutlet`. `run` as a task, then `close`.

    Args:
        link: to the broker.
        make_maker: called once the model is known.
    """

    def __init__(
        self,
        settings: MqttSection,
        topics: MqttTopics,
        link: "BrokerLink",
        *,
        make_maker: Callable[[], Maker],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._settings, self._topics, self._link = settings, topics, link
        self._make_maker = make_maker
        self._clock, self._metrics = clock, metrics
        self._queue = AlertQueue(settings.max_queued)
        self._board = RetainedBoard()
        self._followed: dict[StreamId, _Followed] = {}
        self._forgotten: dict[StreamId, None] = {}
        self._is_connected = False
        self._is_closing = False
        self._wake = asyncio.Event()
        self._linking: asyncio.Task[None] | None = None

    # ---- as an outlet

    @property
    def name(self) -> str:
        """See `AlertOutlet.name`."""
        return "mqtt"

    def takes(self, stream_id: StreamId, watch: Watch | None = None) -> bool:
        """Whether the settings have the stream told."""
        return is_chosen(stream_id, self._settings.tenants, self._settings.streams)

    def send(self, outgoing: OutgoingAlert, served: Callable[[], None]) -> None:
        """Queue an alert. Never waits."""
        lost = self._queue.add(outgoing, served)
        if lost is not None:
            self._done(lost, "dropped")
        self._note_waiting()
        self._wake.set()

    def forget(self, stream_id: StreamId, start_s: float, end_s: float) -> int:
        """Let go of what waits, and have the broker let go of what it holds."""
        num_gone = self._queue.forget(stream_id, start_s, end_s)
        if (followed := self._followed.get(stream_id)) is not None:
            self._board.clear(followed.card.forget(start_s, end_s))
        self._note_waiting()
        self._wake.set()
        return num_gone

    def is_busy(self, stream_id: StreamId) -> bool:
        """Never: what waits for a broker is kept for the stream's next opening."""
        return False

    async def let_go(self, stream_id: StreamId) -> None:
        """See `AlertOutlet.let_go`."""
        self._queue.let_go(stream_id)
        self._note_waiting()

    async def close(self) -> None:
        """Tell what waits, if the broker is there, and say farewell. Idempotent."""
        self._is_closing = True
        self._wake.set()
        linking, self._linking = self._linking, None
        if linking is None:
            return
        if self._is_connected:
            with contextlib.suppress(TimeoutError):
                await within(self._clock, CLOSE_S, asyncio.shield(linking))
        await cancel(linking)

    # ---- as a follower of streams

    async def run(self, streams: Callable[[], Iterable[Stream]]) -> None:
        """Follow the streams that are open, for ever."""
        self._linking = asyncio.create_task(self._link.run(self._serve), name="mqtt")
        self._linking.add_done_callback(_note_end)
        while not self._is_closing:
            for stream in streams():
                if self.takes(stream.id):
                    self._follow(stream)
            for stream_id in [*self._followed]:
                self._look_at(stream_id)
            await self._clock.sleep(self._settings.interval_s)

    def _follow(self, stream: Stream) -> None:
        known = self._followed.get(stream.id)
        if known is not None:
            if known.stream is stream:
                return
            known.events.close()
        card = StreamCard(
            stream, self._topics.of(stream.id), self._make_maker(), self._topics.server
        )
        self._forgotten.pop(stream.id, None)
        self._followed[stream.id] = _Followed(
            stream,
            card,
            stream.observe(max_events=MAX_EVENTS),
            [] if known is None else known.topics,
        )

    def _look_at(self, stream_id: StreamId) -> None:
        """Bring what is to be told of a stream up to date."""
        followed = self._followed.get(stream_id)
        if followed is None:
            return
        while (numbered := followed.events.take()) is not None:
            match numbered[1]:
                case AlertRaised(alert):
                    followed.card.note_alert(alert)
                case AnswerFinished() as answer if answer.text and self._settings.answers:
                    followed.card.note_answer(answer)
                case StreamEnded() as end:
                    self._let_end(stream_id, followed, end)
                    return
        values = followed.card.values()
        self._board.clear(topic for topic in followed.topics if topic not in values)
        followed.topics = list(values)
        if self._board.put_all(values):
            self._wake.set()

    def _let_end(self, stream_id: StreamId, followed: _Followed, end: StreamEnded) -> None:
        del self._followed[stream_id]
        topics = followed.card.topics
        held = [*followed.topics, topics.alert, topics.picture, topics.answer]
        self._board.leave(held)
        if end.is_moved or self._is_closing:
            return
        if end.is_kept:
            if self._is_connected:  # else `_tidy` tells it
                self._board.put_once(topics.availability, OFFLINE)
        elif self._is_connected:
            self._board.clear(held)
        else:
            self._forgotten[stream_id] = None
            if len(self._forgotten) > MAX_FORGOTTEN:
                del self._forgotten[next(iter(self._forgotten))]
        self._wake.set()

    # ---- as a client of the broker

    async def _serve(self, session: "BrokerSession") -> None:
        self._is_connected = True
        try:
            await self._tidy(session)
            self._board.tell_again()
            while True:
                while self._queue or self._board.num_due:
                    if self._queue:
                        await self._tell(session, self._queue.first)
                    await self._flush(session)
                if self._is_closing:
                    return
                self._wake.clear()
                await self._wake.wait()
        finally:
            self._is_connected = False

    async def _flush(self, session: "BrokerSession") -> None:
        """Tell some of the values that have changed."""

        async def hold(topic: str, value: bytes) -> None:
            await session.hold(topic, value)
            self._board.note_held(topic, value)

        async with asyncio.TaskGroup() as tasks:
            for topic, value in self._board.due(AT_ONCE):
                tasks.create_task(hold(topic, value))

    async def _tell(self, session: "BrokerSession", queued: QueuedAlert) -> None:
        outgoing = queued.outgoing
        topics = self._topics.of(outgoing.stream_id)
        if queued.is_unsure:
            held = await session.held(topics.alert)
            newest_id = alert_id(held.get(topics.alert, b""))
            for known in self._queue.settle(outgoing.stream_id, newest_id):
                self._done(known, "known")
            return
        if self._settings.pictures:
            await self._show(session, outgoing)
        stream = split_stream_id(outgoing.stream_id)[1]
        value = message(outgoing.alert, stream=stream, has_album=outgoing.has_album)
        queued.is_unsure = True  # until the broker has said that it has it
        await session.tell_once(topics.alert, value)
        self._look_at(outgoing.stream_id)  # its watch is told right after it
        if self._queue.take(queued):
            self._done(queued, "delivered")
        else:  # it was deleted meanwhile
            self._board.clear([topics.alert, topics.picture])
        self._note_waiting()

    async def _show(self, session: "BrokerSession", outgoing: OutgoingAlert) -> None:
        """Tell the picture of an alert, or that there is none."""
        picture = None
        with contextlib.suppress(TimeoutError):
            picture = await within(self._clock, PICTURE_S, outgoing.picture())
        followed = self._followed.get(outgoing.stream_id)
        if picture is None or followed is None:
            return
        followed.card.note_picture(outgoing.alert, picture)
        topic = followed.card.topics.picture
        self._board.put(topic, picture.data)
        await session.hold(topic, picture.data)
        self._board.note_held(topic, picture.data)

    async def _tidy(self, session: "BrokerSession") -> None:
        """Let the broker know of streams that it holds as ours, and that are not open any more:
        this server may have died, or may not have been connected when they ended."""
        prefix = f"{self._topics.prefix}/streams/"
        for topic, value in (await session.held(self._topics.all_states)).items():
            tenant, stream, _ = topic.removeprefix(prefix).split("/")
            stream_id, owner = tenant_stream_id(tenant, stream), owner_of(value)
            if owner is None or owner[0] != self._topics.server or stream_id in self._followed:
                continue
            if owner[1] and stream_id not in self._forgotten:
                await session.hold(self._topics.of(stream_id).availability, OFFLINE)
            else:
                await self._wipe(session, stream_id)
        self._forgotten.clear()

    async def _wipe(self, session: "BrokerSession", stream_id: StreamId) -> None:
        topics = self._topics.of(stream_id)
        held = [*await session.held(f"{topics.base}/#")]
        described = topics.config("+", "+")
        if described is not None:
            held += await session.held(described)
        for topic in held:
            await session.hold(topic, b"")

    def _done(self, queued: QueuedAlert, outcome: str) -> None:
        self._metrics.mqtt_alerts.labels(outcome).inc()
        queued.served()

    def _note_waiting(self) -> None:
        self._metrics.mqtt_waiting.set(len(self._queue))


def _note_end(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("nothing is told to the MQTT broker any more", exc_info=error)
