"""A decoder process: decodes one message at a time, and is ended by the kernel when one costs more
processor time than it may.

It is forked by the nursery and knows nothing but its socket. The limit is a timer of the process's
own processor time whose signal is not caught: no decoder can outlast it, and a busy machine, which
makes an honest picture wait, does not make it late.
"""

import ctypes
import resource
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from onlooker.core.heap import give_back_memory, keep_freed_memory
from onlooker.core.media import Codec, EncodedFrame
from onlooker.streams.decoding.network_lock import lock_network
from onlooker.streams.decoding.pull_wire import PullOrder
from onlooker.streams.decoding.pull_worker import PullWorker
from onlooker.streams.decoding.thumbnails import heard_before
from onlooker.streams.decoding.wire import DecodeReply, DecodeRequest, receive_request, send
from onlooker.streams.perception.chunks import Picture
from onlooker.streams.perception.decoders import LocalVideo, Shape
from onlooker.streams.perception.gate import (
    Before,
    LeastNews,
    Resemblance,
    Thumbnail,
    resemblance,
)
from onlooker.streams.perception.picker import Picker
from onlooker.streams.perception.pieces import Beginning
from onlooker.streams.perception.sampler import Sampler
from onlooker.streams.perception.scaler import Scaler
from onlooker.streams.perception.stills import Undecodable, decode_and_reduce, decode_still

_PR_SET_PDEATHSIG = 1

SAME_S = 2e-6
"""Capture times are the same that differ by less: libav counts in microseconds."""

KEPT_BYTES = 32 << 20
"""So much of what a decoder has freed it keeps for the next picture: each page that is taken anew
costs about a microsecond, and a picture has hundreds of them."""

QUIET_S = 5.0
"""A decoder that is asked nothing for so long gives back the memory that it does not use. Cameras
that send a picture a second or two, and a busy machine, must not have it taken anew for each."""


def confine(memory_bytes: int) -> None:
    """Limit this process: address space, no dumps, no files, and no life without its parent."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    keep_freed_memory(KEPT_BYTES)
    if sys.platform == "linux":  # elsewhere the end of the socket ends it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(link: socket.socket) -> None:
    """Decode until the server hangs up."""
    worker, is_locked = _Worker(), False
    ear = select.poll()
    ear.register(link, select.POLLIN)
    while True:
        if not ear.poll(1000 * QUIET_S):
            give_back_memory()
        try:
            request, body = receive_request(link)
        except EOFError:
            return
        if request.do == "pull":
            order = PullOrder.unpacked(body)
            lock_network(order.relay_port)
            PullWorker(link, order).run()
            return
        if not is_locked:
            is_locked = True
            lock_network(None)
        reply, parts = worker.answer(request, body)
        try:
            send(link, reply, *parts)
        except OSError:
            return


class Allowance:
    """Processor time that this process still has; when it is used up, the process ends."""

    def __init__(self, budget_s: float) -> None:
        self._begun_s = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, budget_s)

    def extend(self, more_s: float) -> None:
        """Give it more."""
        if more_s > 0:
            left_s, _ = signal.getitimer(signal.ITIMER_PROF)
            signal.setitimer(signal.ITIMER_PROF, left_s + more_s)

    def end(self) -> float:
        """Stop counting; returns what was spent."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        return time.process_time() - self._begun_s


@dataclass(slots=True)
class _Worker:
    """Decodes stills, or one source's video."""

    video: LocalVideo | None = None
    told: Beginning | None = None
    """The stream's beginning as it was told last."""
    scaler: Scaler = field(default_factory=Scaler)
    """For all stills."""

    def answer(
        self, request: DecodeRequest, body: bytes
    ) -> tuple[DecodeReply, list[bytes | memoryview]]:
        """The reply and the parts of its body."""
        sampler = Sampler(request.interval_s)
        sampler.due_s = request.due_s
        picker = Picker(sampler, request.newest_s, request.is_hurried)
        allowance = Allowance(request.budget_s)
        pictures: list[Picture] = []
        comparing = _Comparing(request, *heard_before(request, body))
        reason, detail = None, ""
        try:
            if request.do == "still" and request.is_compared:
                pictures = [self._reduced(request, comparing, allowance)]
            else:
                pictures = self._decode(request, comparing, picker, allowance)
        except Undecodable as error:
            reason, detail = error.reason.value, str(error)
        spent_s = allowance.end()
        told = self._beginning_to_tell()
        reply = DecodeReply(
            spent_s=spent_s,
            times_s=tuple(picture.capture_s for picture in pictures),
            reason=reason,
            detail=detail[:500],
            due_s=sampler.due_s,
            num_passed_over=picker.num_passed_over,
            jumps=tuple((jump.kind, jump.at_s, jump.by_s) for jump in picker.jumps),
            num_header_bytes=len(told.header) if told is not None else 0,
            base_s=told.base_s if told is not None else 0.0,
            origin_s=told.origin_s if told is not None else 0.0,
            is_compared=comparing.looks is not None,
            difference=comparing.looks.difference if comparing.looks is not None else 1.0,
            change=comparing.looks.change if comparing.looks is not None else 0.0,
            has_pixels=not pictures or pictures[0].pixels is not None,
        )
        parts = [] if told is None else [told.header]
        arrays = [one.pixels for one in pictures if one.pixels is not None]
        if request.is_reduced or request.is_compared:
            arrays += [one.thumbnail for one in pictures if one.thumbnail is not None]
        return reply, [*parts, *(one.data.cast("B") for one in arrays)]

    def _decode(
        self,
        request: DecodeRequest,
        comparing: "_Comparing",
        picker: Picker,
        allowance: Allowance,
    ) -> list[Picture]:
        body = comparing.body
        if request.do == "still":
            return [Picture(request.capture_s, decode_still(body, **_terms(request, allowance)))]
        if request.do == "finish":
            return [] if self.video is None else self.video.finish(picker)
        header, payload = body[: request.num_header_bytes], body[request.num_header_bytes :]
        if self.video is None:
            self.video = _open(request, header)
        message = EncodedFrame(0, request.capture_s, Codec(request.codec), payload, 0.0)
        return self.video.decode(
            message, picker, follows_gap=request.follows_gap, is_needed=comparing.is_needed
        )

    def _reduced(
        self, request: DecodeRequest, comparing: "_Comparing", allowance: Allowance
    ) -> Picture:
        """A still, with its pixels where they are needed."""
        pixels, seen = decode_and_reduce(
            comparing.body,
            scaler=self.scaler,
            is_needed=lambda seen: comparing.is_needed(request.capture_s, seen),
            **_terms(request, allowance),
        )
        return Picture(request.capture_s, pixels, seen)

    def _beginning_to_tell(self) -> Beginning | None:
        """The stream's beginning, when it has become known or is another one."""
        known = self.video.beginning if self.video is not None else None
        if known == self.told:
            return None
        self.told = known
        return known


class _Comparing:
    """Compares the picture of one message with those before it, where that is asked for."""

    def __init__(self, request: DecodeRequest, before: Before, body: bytes) -> None:
        self.body = body
        """What is to be decoded."""
        self.looks: Resemblance | None = None
        """How it looks; None where it was not compared."""
        self._request, self._before = request, before
        self._is_open = request.is_compared

    def is_needed(self, capture_s: float, seen: Thumbnail) -> bool:
        """As `Needed`. Only the first of a message is compared, and only if it is the message's
        own: what was before it is not what was before another."""
        is_own = abs(capture_s - self._request.capture_s) < SAME_S
        if not self._is_open or not is_own:
            self._is_open = False
            return True
        self._is_open = False
        self.looks = resemblance(seen, self._before)
        request = self._request
        return LeastNews(request.least_difference, request.least_change).reached_by(self.looks)


def _terms(request: DecodeRequest, allowance: Allowance) -> dict[str, Any]:
    """What a still is to become, and what it may cost."""
    return {
        "codec": Codec(request.codec),
        "width": request.width,
        "height": request.height,
        "max_pixels": request.max_pixels,
        "on_header": lambda num: allowance.extend(request.megapixel_budget_s * num / 1e6),
    }


def _open(request: DecodeRequest, header: bytes) -> LocalVideo:
    shape = Shape(request.width, request.height, request.max_pixels, request.max_gap_s)
    beginning = Beginning(header, request.base_s, request.origin_s) if header else None
    return LocalVideo(Codec(request.codec), shape, beginning=beginning)
