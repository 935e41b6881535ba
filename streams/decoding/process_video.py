"""`ProcessVideo`: one source of coded video and the process that decodes it, asked from the event
loop.

What a message decodes to builds on those before it, so the process is the source's own. When it is
killed, the source alone loses anything: it begins anew at its next key frame, cluster or fragment.
"""

import asyncio
import math
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from onlooker.core.media import Codec, DropReason, EncodedFrame, Pixels
from onlooker.streams.config import DecodingSection
from onlooker.streams.decoding.assessor import Assessed, Assessor
from onlooker.streams.decoding.nursery import Worker, WorkerEnded, wall_limit_s
from onlooker.streams.decoding.thumbnails import said_before
from onlooker.streams.decoding.wire import DecodeReply, DecodeRequest, lengths, text_of
from onlooker.streams.perception.chunks import Picture
from onlooker.streams.perception.decoders import Shape
from onlooker.streams.perception.gate import (
    Before,
    Comparison,
    LeastNews,
    Resemblance,
    thumbnail_shape,
)
from onlooker.streams.perception.picker import Picker
from onlooker.streams.perception.pieces import MAX_JUMPS, Beginning
from onlooker.streams.perception.stills import Undecodable
from onlooker.streams.perception.stream_time import TimeJump

_CHECK_S = 1.0
"""How often it is looked whether the process takes far too long on the wall."""

_NO_COMPARISON = Comparison(Before(), LeastNews())

Spend = Callable[[float], None]
"""Told of processor seconds that were spent for a sender."""

Found = list[Picture] | Undecodable


class Processes(Protocol):
    """What is asked of those who have the processes; see `WorkerPool`."""

    settings: DecodingSection

    def begin(self) -> Worker:
        """A new process. Raises `WorkerEnded`."""
        ...

    def count(self, reply: DecodeReply, codec: Codec, spend: Spend) -> None:
        """Account for a message that was decoded."""
        ...

    def count_end(self, ended: WorkerEnded, spend: Spend, budget_s: float) -> Undecodable | None:
        """Account for a process that ended; why the message is lost, or None where it is not the
        message's fault."""
        ...


@dataclass(frozen=True, slots=True)
class _Errand:
    """A message that was asked for."""

    picker: Picker
    tell: Callable[[Found], None]
    late_at_s: float
    """Loop time at which the process is given up."""


class ProcessVideo:
    """One source. All calls are made on one event loop; a message is asked for when the one before
    it has been told."""

    def __init__(self, pool: Processes, spend: Spend, codec: Codec, shape: Shape) -> None:
        self._pool, self._spend, self._codec, self._shape = pool, spend, codec, shape
        settings = pool.settings
        self._budget_s = settings.piece_budget_s if codec.is_container else settings.chunk_budget_s
        self._process: Assessor | None = None
        self._errand: _Errand | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._beginning: Beginning | None = None
        """Of a container or of H.264: another process can go on with it."""

    def decode(
        self,
        message: EncodedFrame,
        picker: Picker,
        *,
        follows_gap: bool,
        tell: Callable[[Found], None],
        comparison: Comparison | None = None,
    ) -> None:
        """See `VideoDecoder.decode`."""
        beginning = self._beginning if self._process is None else None
        if self._codec.is_container:  # its pictures are not the message's own
            comparison = None
        request = self._request(
            "video",
            picker,
            capture_s=message.capture_s,
            follows_gap=follows_gap,
            of=beginning,
            comparison=comparison,
        )
        parts = [] if comparison is None else said_before(comparison.before).parts
        header = beginning.header if beginning is not None else b""
        self._ask(request, picker, tell, *parts, header, message.payload)

    def finish(self, picker: Picker, tell: Callable[[Found], None]) -> None:
        """See `VideoDecoder.finish`."""
        if self._process is None:
            tell([])
        else:
            self._ask(self._request("finish", picker), picker, tell)

    def close(self) -> None:
        """See `VideoDecoder.close`."""
        process, self._process = self._process, None
        if process is not None:
            process.end()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._errand is not None:
            self._tell(Undecodable(DropReason.UNDECODABLE, "decoding has ended"))

    def _ask(
        self,
        request: DecodeRequest,
        picker: Picker,
        tell: Callable[[Found], None],
        *body: bytes | memoryview,
    ) -> None:
        assert self._errand is None, "a message is asked for after the one before it"
        loop = asyncio.get_running_loop()
        limit_s = wall_limit_s(self._budget_s)
        self._errand = _Errand(picker, tell, loop.time() + limit_s)
        if self._process is None:
            try:
                self._process = Assessor(self._pool.begin(), on_told=self._hear)
            except WorkerEnded as ended:
                self._lose(ended)
                return
        if self._watch is None:
            self._watch = loop.call_later(min(_CHECK_S, limit_s), self._end_late)
        text = text_of(request)
        self._process.ask([lengths(text, sum(map(len, body))), text, *body])

    def _hear(self, process: Assessor, told: Assessed | WorkerEnded) -> None:
        errand = self._errand
        if isinstance(told, WorkerEnded):
            self._process = None
            if errand is not None:
                self._lose(told)
            return
        if errand is None:  # it speaks unasked: what it says next could be taken for anything
            self._process = None
            process.end()
            return
        self._pool.count(told.reply, self._codec, self._spend)
        self._tell(self._found(told, errand.picker))

    def _found(self, told: Assessed, picker: Picker) -> Found:
        reply, body = told.reply, told.body
        try:
            picker.sampler.due_s = reply.due_s
            picker.num_passed_over += reply.num_passed_over
            picker.jumps += _jumps(reply)
            if reply.num_header_bytes:
                header = bytes(body[: reply.num_header_bytes])
                self._beginning = Beginning(header, reply.base_s, reply.origin_s)
            return _pictures(reply, body, self._shape)
        except Undecodable as error:
            return error

    def _tell(self, found: Found) -> None:
        errand, self._errand = self._errand, None
        assert errand is not None
        errand.tell(found)

    def _lose(self, ended: WorkerEnded) -> None:
        fault = self._pool.count_end(ended, self._spend, self._budget_s)
        again = "its decoder was ended; it begins anew"
        self._tell(fault or Undecodable(DropReason.UNDECODABLE, again))

    def _end_late(self) -> None:
        self._watch = None
        if self._errand is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._errand.late_at_s:
            self._watch = loop.call_later(_CHECK_S, self._end_late)
            return
        process, self._process = self._process, None
        if process is not None:
            process.end()
        self._lose(WorkerEnded(signal.SIGALRM))

    def _request(
        self,
        do: Literal["video", "finish"],
        picker: Picker,
        *,
        capture_s: float = 0.0,
        follows_gap: bool = False,
        of: Beginning | None = None,
        comparison: Comparison | None = None,
    ) -> DecodeRequest:
        comparison = comparison or _NO_COMPARISON
        before = said_before(comparison.before)
        return DecodeRequest(
            do=do,
            codec=self._codec,
            width=self._shape.width,
            height=self._shape.height,
            max_pixels=self._shape.max_pixels,
            budget_s=self._budget_s,
            capture_s=capture_s,
            follows_gap=follows_gap,
            interval_s=picker.sampler.interval_s,
            due_s=picker.sampler.due_s,
            newest_s=picker.newest_s,
            is_hurried=picker.is_hurried,
            max_gap_s=self._shape.max_gap_s,
            num_header_bytes=len(of.header) if of is not None else 0,
            base_s=of.base_s if of is not None else 0.0,
            origin_s=of.origin_s if of is not None else 0.0,
            is_reduced=True,
            is_compared=comparison is not _NO_COMPARISON,
            kept_index=before.kept_index,
            previous_index=before.previous_index,
            least_difference=comparison.least.difference,
            least_change=comparison.least.change,
        )


def _jumps(reply: DecodeReply) -> list[TimeJump]:
    """The jumps of a reply, as far as they make sense."""
    return [
        TimeJump("gap" if kind == "gap" else "moved", float(at_s), float(by_s))
        for kind, at_s, by_s in reply.jumps[:MAX_JUMPS]
        if math.isfinite(at_s) and math.isfinite(by_s)
    ]


def _pictures(reply: DecodeReply, body: memoryview, shape: Shape) -> list[Picture]:
    """The pictures of a reply and their thumbnails, which follow. A picture is kept, or let go, for
    itself: where there are several, each has memory of its own. Raises `Undecodable` where the
    reply says so, or makes no sense."""
    num, at = len(reply.times_s), reply.num_header_bytes
    num_whole = num if reply.has_pixels else num - 1
    rows = (num_whole, shape.height, shape.width, 3)
    seen_rows = (num, *thumbnail_shape(shape.width, shape.height))
    num_bytes, num_seen_bytes = math.prod(rows), math.prod(seen_rows)
    try:
        if reply.reason is not None:
            raise Undecodable(DropReason(reply.reason), reply.detail)
        if num_whole < 0 or len(body) != at + num_bytes + num_seen_bytes:
            raise ValueError(f"{len(body)} bytes of {num} pictures")
        if not num:
            return []
        pixels = np.frombuffer(body, np.uint8, num_bytes, at).reshape(rows)
        seen = np.frombuffer(body, np.uint8, num_seen_bytes, at + num_bytes).reshape(seen_rows)
        if not (math.isfinite(reply.difference) and math.isfinite(reply.change)):
            raise ValueError("numbers that are none")
        if not (reply.has_pixels or reply.is_compared):
            raise ValueError("a picture without pixels that was not compared")
    except ValueError as error:  # foreign bytes may have taken over the decoder
        raise Undecodable(DropReason.UNDECODABLE, f"the decoder's reply: {error}") from error
    whole: list[Pixels | None] = [one if num == 1 else one.copy() for one in pixels]
    if not reply.has_pixels:
        whole.insert(0, None)
    small = [one.copy() for one in seen]
    looks = None
    if reply.is_compared:
        looks = Resemblance(small[0], reply.difference, reply.change)
    return [
        Picture(at_s, whole[number], small[number], looks if number == 0 else None)
        for number, at_s in enumerate(reply.times_s)
    ]
