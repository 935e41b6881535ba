"""A decoder process: decodes one message at a time, and is ended by the kernel when one costs more
processor time than it may.

It is forked by the nursery and knows nothing but its socket. The limit is a timer of the process's
own processor time whose signal is not caught: no decoder can outlast it, and a busy machine, which
makes an honest picture wait, does not make it late.
"""

import ctypes
import math
import resource
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onlooker.core.heap import give_back_memory, keep_freed_memory
from onlooker.core.media import Codec, EncodedFrame, Pixels
from onlooker.streams.decoding.network_lock import lock_network
from onlooker.streams.decoding.pull_wire import PullOrder
from onlooker.streams.decoding.pull_worker import PullWorker
from onlooker.streams.decoding.wire import DecodeReply, DecodeRequest, receive_request, send
from onlooker.streams.perception.chunks import Picture
from onlooker.streams.perception.decoders import LocalVideo, Shape
from onlooker.streams.perception.gate import (
    Before,
    LeastNews,
    Resemblance,
    Thumbnail,
    resemblance,
    thumbnail_shape,
)
from onlooker.streams.perception.picker import Picker
from onlooker.streams.perception.pieces import Beginning
from onlooker.streams.perception.sampler import Sampler
from onlooker.streams.perception.scaler import Scaler
from onlooker.streams.perception.stills import Undecodable, decode_and_reduce, decode_still

_PR_SET_PDEATHSIG = 1

NO_THUMBNAIL = np.zeros((3, 0, 0), np.uint8)

KEPT_BYTES = 32 << 20
"""So much of what a decoder has freed it keeps for the next picture: each page that is taken anew
costs about a microsecond, and a picture has hundreds of them."""

QUIET_S = 1.0
"""A decoder that is asked nothing for so long gives back the memory that it does not use."""


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
        looks, pixels = Resemblance(NO_THUMBNAIL, 1.0, 0.0), None
        reason, detail = None, ""
        try:
            before, body = _before(request, body)
            if request.is_compared:
                pixels, looks = self._reduced(request, body, before, allowance)
            else:
                pictures = self._decode(request, body, picker, allowance)
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
            difference=looks.difference,
            change=looks.change,
            has_pixels=pixels is not None or not request.is_compared,
        )
        parts = [] if told is None else [told.header]
        arrays = [one.pixels for one in pictures]
        if request.is_reduced:
            arrays += [one.thumbnail for one in pictures if one.thumbnail is not None]
        if request.is_compared and reason is None:
            arrays = [looks.thumbnail] if pixels is None else [pixels, looks.thumbnail]
        return reply, [*parts, *(one.data.cast("B") for one in arrays)]

    def _decode(
        self, request: DecodeRequest, body: bytes, picker: Picker, allowance: Allowance
    ) -> list[Picture]:
        if request.do == "still":
            return [Picture(request.capture_s, decode_still(body, **_terms(request, allowance)))]
        if request.do == "finish":
            return [] if self.video is None else self.video.finish(picker)
        header, payload = body[: request.num_header_bytes], body[request.num_header_bytes :]
        if self.video is None:
            self.video = _open(request, header)
        message = EncodedFrame(0, request.capture_s, Codec(request.codec), payload, 0.0)
        return self.video.decode(message, picker, follows_gap=request.follows_gap)

    def _reduced(
        self, request: DecodeRequest, body: bytes, before: Before, allowance: Allowance
    ) -> tuple[Pixels | None, Resemblance]:
        """A still's pixels, where they are needed, and how it looks beside those before it."""
        least = LeastNews(request.least_difference, request.least_change)
        looks = Resemblance(NO_THUMBNAIL, 1.0, 0.0)

        def is_needed(seen: Thumbnail) -> bool:
            nonlocal looks
            looks = resemblance(seen, before)
            return least.reached_by(looks)

        terms = _terms(request, allowance)
        pixels, _ = decode_and_reduce(body, scaler=self.scaler, is_needed=is_needed, **terms)
        return pixels, looks

    def _beginning_to_tell(self) -> Beginning | None:
        """The stream's beginning, when it has become known or is another one."""
        known = self.video.beginning if self.video is not None else None
        if known == self.told:
            return None
        self.told = known
        return known


def _before(request: DecodeRequest, body: bytes) -> tuple[Before, bytes]:
    """What a still is compared with, and the rest of the body."""
    num = 1 + max(request.kept_index, request.previous_index)
    if not num:
        return Before(), body
    shape = thumbnail_shape(request.width, request.height)
    num_bytes = num * math.prod(shape)
    known = np.frombuffer(body, np.uint8, num_bytes).reshape(num, *shape)
    kept, previous = (
        known[index] if index >= 0 else None
        for index in (request.kept_index, request.previous_index)
    )
    return Before(kept, previous), body[num_bytes:]


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
