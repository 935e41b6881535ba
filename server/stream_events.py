"""What happens on a stream as the wire tells it, over the WebSocket and as server-sent events.

`told_of` is the one translation. What differs between the two is left to who follows: a connection
knows its streams by slots, acknowledges by its own clock, and is not told of everything.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Literal

from onlooker.core.errors import NotFound
from onlooker.core.guarantee import Guarantee, weakest
from onlooker.core.media import FrameOutcome
from onlooker.core.protocol import server_events as told
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.core.protocol.stream_objects import DroppedFrame
from onlooker.server.rights import Action, Grant
from onlooker.server.views import frame_totals, health_word, stream_object
from onlooker.server.watch_wire import told_alert, watch_object
from onlooker.streams import events
from onlooker.streams.stream import Stream
from onlooker.watches.events import AlertRaised, WatchChanged

AckMode = Literal["all", "problems", "none"]


def told_of(
    number: int, event: events.StreamEvent, stream: Stream, *, slot: int | None = None
) -> ServerEvent | None:
    """Event `number` of `stream` for the wire; None for frames and clips, which are acknowledged
    together (see `AckBatch`), and where the stream goes on at another server. `slot`: the
    connection's number for the stream, where there is one."""
    name = stream.name
    match event:
        case AlertRaised():
            alert = told_alert(event.alert, stream)
            return told.StreamAlert(slot=slot, stream=name, event_number=number, alert=alert)
        case WatchChanged():
            return _watch(number, event, stream, slot)
        case events.SceneChanged():
            return told.StreamScene(slot=slot, stream=name, event_number=number, at_s=event.at_s)
        case events.HealthChanged():
            return told.StreamHealth(
                slot=slot,
                stream=name,
                event_number=number,
                health=health_word(event.trouble),
                was=health_word(event.was),
                at_s=event.at_s,
            )
        case events.TimeJumped():
            jump = event.jump
            return told.StreamTimeJump(
                slot=slot,
                stream=name,
                event_number=number,
                kind=jump.kind,
                at_s=jump.at_s,
                by_s=jump.by_s,
            )
        case events.PaceChanged():
            return pace_told(event, stream, slot=slot or 0)
        case events.SourceChanged():
            return told.StreamUpdated(
                stream=stream_object(stream, source=event.source),
                reason=f"source {event.state.value}",
                event_number=number,
            )
        case events.MemoryForgotten() | events.PrivacyChanged() | events.NameplateChanged():
            reason = {
                events.MemoryForgotten: "memory deleted",
                events.PrivacyChanged: "privacy changed",
                events.NameplateChanged: "nameplate changed",
            }[type(event)]
            return told.StreamUpdated(
                stream=stream_object(stream), reason=reason, event_number=number
            )
        case events.AnswerStarted() | events.AnswerFinished():
            return _answer(event, stream)
        case events.StreamEnded(is_moved=False):
            return told.StreamClosed(slot=slot, stream=name, reason=event.reason)
        case events.StreamEnded() | events.FrameAck() | events.ClipSeen() | events.ClipLost():
            return None


def may_hear(grant: Grant, event: events.StreamEvent) -> bool:
    """Whether a connection is told of `event`. Who may not listen still hears what its own calls
    come to: whoever feeds, of frames; whoever makes watches, of watches; everyone, of the end."""
    match event:
        case events.StreamEnded():
            return True
        case (
            events.FrameAck()
            | events.ClipSeen()
            | events.ClipLost()
            | events.PaceChanged()
            | events.TimeJumped()
        ):
            return grant.may(Action.LISTEN) or grant.may(Action.PUSH_FRAME)
        case WatchChanged():
            return grant.may(Action.LISTEN) or grant.may(Action.MAKE_WATCH)
        case _:
            return grant.may(Action.LISTEN)


def pace_told(pace: events.PaceChanged, stream: Stream, *, slot: int = 0) -> told.VideoPace:
    """What the server would like to be sent, for the wire."""
    return told.VideoPace(
        slot=slot,
        stream=stream.name,
        fps=pace.fps,
        width=pace.width,
        height=pace.height,
        lag_s=pace.lag_s,
        reason=pace.reason,
    )


def _watch(number: int, event: WatchChanged, stream: Stream, slot: int | None) -> told.StreamWatch:
    try:
        watch = watch_object(stream.watches.get(event.watch_id))
    except NotFound:
        watch = None
    return told.StreamWatch(
        slot=slot,
        stream=stream.name,
        event_number=number,
        change=event.change,  # type: ignore[arg-type]  # one of the four words
        watch_id=event.watch_id,
        watch=watch,
    )


def _answer(
    event: events.AnswerStarted | events.AnswerFinished, stream: Stream
) -> told.StreamAnswer:
    answer = told.StreamAnswer(
        stream=stream.name,
        response_id=event.response_id,
        status="in_progress",
        asked_s=event.asked_s,
    )
    if isinstance(event, events.AnswerFinished):
        answer.status, answer.text = event.finish_reason.status, event.text
    return answer


class AckBatch:
    """What became of frames since the last acknowledgement; bounded."""

    def __init__(self, *, max_listed: int) -> None:
        self._max_listed = max_listed
        self._kept: list[int] = []
        self._skipped: list[int] = []
        self._dropped: list[DroppedFrame] = []
        self._omitted = 0
        self._guarantee: Guarantee | None = None
        self._last_sequence: int | None = None
        self.is_dirty = False
        """Whether there is anything to tell."""

    def add(self, ack: events.FrameAck, *, mode: AckMode) -> None:
        """Note an outcome. What the mode leaves out only counts in the totals."""
        self.is_dirty = True
        self._last_sequence = ack.sequence
        if ack.guarantee is not None:
            self._guarantee = weakest((ack.guarantee, self._guarantee or ack.guarantee))
        if mode == "none" or (mode == "problems" and ack.outcome is not FrameOutcome.DROPPED):
            return
        if len(self._kept) + len(self._skipped) + len(self._dropped) >= self._max_listed:
            self._omitted += 1
        elif ack.outcome is FrameOutcome.KEPT:
            self._kept.append(ack.sequence)
        elif ack.outcome is FrameOutcome.SKIPPED:
            self._skipped.append(ack.sequence)
        else:
            reason = ack.reason.value if ack.reason is not None else "unknown"
            self._dropped.append(DroppedFrame(sequence=ack.sequence, reason=reason))

    def take(self, slot: int, stream: Stream) -> told.VideoAck:
        """Return the acknowledgement and begin a new batch."""
        tally = stream.ingest.tally
        ack = told.VideoAck(
            slot=slot,
            stream=stream.name,
            kept=self._kept,
            guarantee=self._guarantee,
            skipped=self._skipped,
            dropped=self._dropped,
            omitted=self._omitted,
            last_sequence=self._last_sequence,
            seen_until_s=tally.seen_until_s,
            lag_s=tally.lag_s if tally.clips else None,
            totals=frame_totals(tally),
        )
        self._clear()
        return ack

    def _clear(self) -> None:
        self._kept, self._skipped, self._dropped = [], [], []
        self._omitted = 0
        self._guarantee = None
        self._last_sequence = None
        self.is_dirty = False


async def followed(
    stream: Stream,
    *,
    after: int | None,
    interval_s: float,
    max_listed_acks: int,
    max_queued: int,
) -> AsyncGenerator[tuple[int | None, ServerEvent]]:
    """Yield (event number, event), from after number `after` or from now, until the stream closes.

    The first event of who begins now tells of the stream as it is and has no number.
    Acknowledgements are gathered for `interval_s` and carry the number of the newest of them.
    """
    subscription = stream.subscribe(max_events=max_queued, after=after)
    batch = AckBatch(max_listed=max_listed_acks)
    number = after or 0
    try:
        if after is None:
            yield None, told.StreamUpdated(stream=stream_object(stream))
        while True:
            try:
                async with asyncio.timeout(interval_s if batch.is_dirty else None):
                    number, event = await anext(subscription)
            except TimeoutError:
                yield _counted(number, batch.take(0, stream))
                continue
            except StopAsyncIteration:
                return
            if isinstance(event, events.FrameAck):
                batch.add(event, mode="all")
                continue
            if batch.is_dirty:
                yield _counted(number, batch.take(0, stream))
            if (wired := told_of(number, event, stream)) is not None:
                yield _counted(number, wired)
                if isinstance(event, AlertRaised):
                    stream.note_told(event.alert, "events")
    finally:
        subscription.close()


def _counted(number: int, event: ServerEvent) -> tuple[int, ServerEvent]:
    event.sequence_number = number
    event.event_id = f"event_{number}"
    return number, event
