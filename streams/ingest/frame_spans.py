"""`FrameSpans`: where the time of one stream's frames went, from the socket to the segment.

Spans are made once a clip was seen, from times that were noted on its way: so a frame that turned
out slow can be traced whole, and of the others none but the share that is asked for is ever made.
"""

from dataclasses import dataclass

from onlooker.core.ids import StreamId, split_stream_id
from onlooker.core.media import Clip, FrameMessage
from onlooker.core.trace import SpanKind
from onlooker.core.tracer import Tracer
from onlooker.engine.interface import IngestResult
from onlooker.streams.engine_spans import record_served

MAX_ON_THE_WAY = 16
"""Clips on their way to the engine of which times are kept; a stream has no more than a few."""


@dataclass(frozen=True, slots=True)
class _Looked:
    """When the message that completed a clip was taken from the mailbox, and had been looked at."""

    sequence: int
    taken_at_s: float
    looked_at_s: float


class FrameSpans:
    """Of one stream whose server traces. Lives on the event loop."""

    def __init__(self, tracer: Tracer, stream_id: StreamId) -> None:
        self._tracer = tracer
        self._tenant, self._stream = split_stream_id(stream_id)
        self._looked: dict[int, _Looked] = {}

    def now_s(self) -> float:
        return self._tracer.clock.now_s()

    def looked(self, message: FrameMessage, clips: list[Clip], taken_at_s: float) -> None:
        """Note that a message, taken from the mailbox at `taken_at_s`, has just been looked at and
        has completed these clips."""
        for clip in clips:
            if len(self._looked) >= MAX_ON_THE_WAY:
                self._looked.pop(next(iter(self._looked)))
            looked = _Looked(message.sequence, taken_at_s, self.now_s())
            self._looked[clip.clip_index] = looked

    def seen(self, clip: Clip, begun_s: float, result: IngestResult | None) -> None:
        """Record the way of a clip that the engine was shown at `begun_s` and has just seen, or
        failed on, where `result` is None."""
        looked = self._looked.pop(clip.clip_index, None)
        tracer, now_s = self._tracer, self.now_s()
        received_s = min(clip.frames[1].received_at_s, begun_s)
        place = tracer.begin_frame(now_s - received_s)
        if place is None:
            return
        tracer.record(
            "frame",
            place,
            above=None,
            start_s=received_s,
            end_s=now_s,
            kind=SpanKind.SERVER,
            error="the engine lost the clip" if result is None else None,
            tenant=self._tenant,
            stream=self._stream,
            clip=clip.clip_index,
            sequence=clip.frames[1].sequence,
            capture_s=clip.end_s,
            lag_s=now_s - received_s,
            tokens__prompt=None if result is None else result.num_tokens,
            tokens__cached=None if result is None else result.num_cached_tokens,
        )
        ready_s = received_s
        if looked is not None:
            tracer.step("frame.wait", place, received_s, looked.taken_at_s)
            tracer.step("frame.look", place, looked.taken_at_s, looked.looked_at_s)
            ready_s = looked.looked_at_s
        tracer.step("clip.wait", place, ready_s, begun_s)
        ingested = tracer.step("clip.ingest", place, begun_s, now_s)
        served = None if result is None else result.served
        record_served(tracer, ingested, served, since_s=begun_s)
