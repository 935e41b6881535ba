"""A stream's events as its HTTP followers get them."""

import asyncio
from collections.abc import AsyncGenerator

from onlooker.core.protocol.server_events import (
    ServerEvent,
    StreamAnswer,
    StreamClosed,
    StreamUpdated,
    VideoPace,
)
from onlooker.engine.interface import FinishReason
from onlooker.server.slots import AckBatch
from onlooker.server.views import stream_object
from onlooker.server.watch_calls import told_of
from onlooker.streams import events
from onlooker.streams.fanout import Subscription
from onlooker.streams.stream import Stream

_STATUS = {
    FinishReason.STOP: "completed",
    FinishReason.LENGTH: "incomplete",
    FinishReason.CANCELLED: "cancelled",
    FinishReason.ERROR: "failed",
}


async def stream_events(
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
    following: asyncio.Future[tuple[int, events.StreamEvent]] | None = None
    try:
        if after is None:
            yield None, StreamUpdated(stream=stream_object(stream))
        while True:
            following = following or asyncio.ensure_future(_next(subscription))
            await asyncio.wait([following], timeout=interval_s if batch.is_dirty else None)
            if not following.done():
                yield _counted(number, batch.take(0, stream))
                continue
            try:
                number, event = following.result()
            except StopAsyncIteration:
                return
            following = None
            if isinstance(event, events.FrameAck):
                batch.add(event, mode="all")
                continue
            if batch.is_dirty:
                yield _counted(number, batch.take(0, stream))
            if (told := _told(event, stream) or told_of(number, event, stream)) is not None:
                yield _counted(number, told)
    finally:
        if following is not None:
            following.cancel()
        subscription.close()


async def _next(subscription: Subscription) -> tuple[int, events.StreamEvent]:
    return await anext(subscription)


def _counted(number: int, event: ServerEvent) -> tuple[int, ServerEvent]:
    event.sequence_number = number
    event.event_id = f"event_{number}"
    return number, event


def _told(event: events.StreamEvent, stream: Stream) -> ServerEvent | None:
    match event:
        case events.PaceChanged():
            return VideoPace(
                stream=stream.name,
                fps=event.fps,
                width=event.width,
                height=event.height,
                lag_s=event.lag_s,
                reason=event.reason,
            )
        case events.SourceChanged():
            return StreamUpdated(stream=stream_object(stream), reason=f"source {event.state}")
        case events.AnswerStarted():
            return StreamAnswer(
                stream=stream.name,
                response_id=event.response_id,
                status="in_progress",
                asked_s=event.asked_s,
            )
        case events.AnswerFinished():
            return StreamAnswer(
                stream=stream.name,
                response_id=event.response_id,
                status=_STATUS[event.finish_reason],  # type: ignore[arg-type]  # the four words
                asked_s=event.asked_s,
                text=event.text,
            )
        case events.StreamClosed():
            return StreamClosed(stream=stream.name, reason=event.reason)
        case _:
            return None
