"""`Assessors`: decoder processes for the stills of live streams, asked from the event loop.

    event loop ── head, thumbnails of before, still ──► process
               ◄── its pixels, and how it looks beside them

No thread waits, and the loop touches no pixels: what a picture looks like beside those before it
comes with the reply.
"""

import asyncio
import math
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np

from onlooker.core.media import Codec, DropReason
from onlooker.streams.config import DecodingSection
from onlooker.streams.decoding.assessor import Assessed, Assessor
from onlooker.streams.decoding.nursery import Worker, WorkerEnded, wall_limit_s
from onlooker.streams.decoding.thumbnails import said_before
from onlooker.streams.decoding.wire import DecodeReply, DecodeRequest, lengths, text_of
from onlooker.streams.perception.decoders import LentPicture, Shape
from onlooker.streams.perception.gate import Before, LeastNews, Resemblance, thumbnail_shape
from onlooker.streams.perception.stills import Undecodable

_CHECK_S = 1.0
"""How often it is looked whether a process takes far too long on the wall."""

Spend = Callable[[float], None]
"""Told of processor seconds that were spent for a sender; on the event loop."""


class StillToAssess(msgspec.Struct, frozen=True, kw_only=True):
    """A still to decode, bring to `shape` and compare with what was before it."""

    payload: bytes
    codec: Codec
    shape: Shape
    before: Before
    least: LeastNews
    """How it must look beside them for its pixels to be told."""


@dataclass(slots=True)
class _Errand:
    """A still that was asked for."""

    asked: StillToAssess
    spend: Spend
    tell: Callable[[LentPicture | Undecodable], None]
    limit_s: float
    """Processor time after which its process is ended."""
    is_again: bool = False
    """Whether the first process that had it was ended by somebody else."""
    late_at_s: float = math.inf
    """Loop time at which its process is given up."""


class Assessors:
    """The processes. All calls are made on one event loop.

    Args:
        take: a process that stands ready, or a new one. Raises `WorkerEnded`.
        count: accounts for a message that was decoded.
        count_end: accounts for a process that ended; why the message is lost, or None where it is
            not the message's fault.
    """

    def __init__(
        self,
        settings: DecodingSection,
        *,
        take: Callable[[], Worker],
        count: Callable[[DecodeReply, Codec, Spend], None],
        count_end: Callable[[WorkerEnded, Spend, float], Undecodable | None],
    ) -> None:
        self._settings, self._take = settings, take
        self._count, self._count_end = count, count_end
        self._num_kept = settings.num_workers
        self._idle: list[Assessor] = []
        self._busy: dict[Assessor, _Errand] = {}
        self._watch: asyncio.TimerHandle | None = None

    @property
    def num_idle(self) -> int:
        """Processes that have nothing to do."""
        return len(self._idle)

    def assess(
        self,
        asked: StillToAssess,
        spend: Spend,
        tell: Callable[[LentPicture | Undecodable], None],
    ) -> None:
        """Have a still assessed. `tell` is called once, with it or with why there is none; it
        raises nothing. It may be called before this returns."""
        settings = self._settings
        limit_s = (
            settings.still_budget_s + settings.megapixel_budget_s * asked.shape.max_pixels / 1e6
        )
        self._begin(_Errand(asked, spend, tell, limit_s))

    def close(self) -> None:
        """End every process, whatever it does. Idempotent."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for assessor in (*self._idle, *self._busy):
            assessor.end()
        errands = list(self._busy.values())
        self._idle.clear()
        self._busy.clear()
        for errand in errands:
            errand.tell(Undecodable(DropReason.UNDECODABLE, "decoding has ended"))

    def _begin(self, errand: _Errand) -> None:
        try:
            assessor = self._ready(is_fresh=errand.is_again)
        except WorkerEnded:
            errand.tell(_no_process())
            return
        self._busy[assessor] = errand
        loop = asyncio.get_running_loop()
        errand.late_at_s = loop.time() + wall_limit_s(errand.limit_s)
        if self._watch is None:
            self._watch = loop.call_later(_CHECK_S, self._end_late)
        assessor.ask(_said(errand.asked, self._settings))

    def _ready(self, *, is_fresh: bool) -> Assessor:
        if self._idle and not is_fresh:
            return self._idle.pop()
        return Assessor(self._take(), on_told=self._hear)

    def _hear(self, assessor: Assessor, told: Assessed | WorkerEnded) -> None:
        errand = self._busy.pop(assessor, None)
        if isinstance(told, WorkerEnded):
            if errand is None:
                self._idle.remove(assessor)
            else:
                self._lose(errand, told)
            return
        if errand is None:  # it speaks unasked: what it says next could be taken for anything
            self._idle.remove(assessor)
            assessor.end()
            return
        if len(self._idle) < self._num_kept:
            self._idle.append(assessor)
        else:
            assessor.end()
        self._count(told.reply, errand.asked.codec, errand.spend)
        errand.tell(found_in(told, errand.asked.shape))

    def _lose(self, errand: _Errand, ended: WorkerEnded) -> None:
        fault = self._count_end(ended, errand.spend, errand.limit_s)
        if fault is not None:
            errand.tell(fault)
        elif errand.is_again:
            errand.tell(_no_process())
        else:
            errand.is_again = True
            self._begin(errand)

    def _end_late(self) -> None:
        self._watch = None
        loop = asyncio.get_running_loop()
        for assessor, errand in list(self._busy.items()):
            if loop.time() >= errand.late_at_s:
                del self._busy[assessor]
                assessor.end()
                self._lose(errand, WorkerEnded(signal.SIGALRM))
        if self._busy:
            self._watch = self._watch or loop.call_later(_CHECK_S, self._end_late)


def _no_process() -> Undecodable:
    return Undecodable(DropReason.UNDECODABLE, "there was no process to decode it")


def _said(asked: StillToAssess, settings: DecodingSection) -> list[bytes | memoryview]:
    """What is said to a process to have a still assessed."""
    before = said_before(asked.before)
    text = _head(
        asked.codec,
        asked.shape,
        settings.still_budget_s,
        settings.megapixel_budget_s,
        kept_index=before.kept_index,
        previous_index=before.previous_index,
        least=asked.least,
    )
    parts: list[bytes | memoryview] = [*before.parts, asked.payload]
    return [lengths(text, sum(map(len, parts))), text, *parts]


@lru_cache(maxsize=256)
def _head(
    codec: Codec,
    shape: Shape,
    budget_s: float,
    megapixel_budget_s: float,
    *,
    kept_index: int,
    previous_index: int,
    least: LeastNews,
) -> bytes:
    """A head as it is written; a server says few different ones, again and again."""
    return text_of(
        DecodeRequest(
            do="still",
            codec=codec,
            width=shape.width,
            height=shape.height,
            max_pixels=shape.max_pixels,
            budget_s=budget_s,
            megapixel_budget_s=megapixel_budget_s,
            is_compared=True,
            kept_index=kept_index,
            previous_index=previous_index,
            least_difference=least.difference,
            least_change=least.change,
        )
    )


def found_in(told: Assessed, shape: Shape) -> LentPicture | Undecodable:
    """The still of a reply, whose arrays lie where the reply does; or why there is none: the reply
    says so, or makes no sense."""
    reply = told.reply
    num_pixel_bytes = 3 * shape.width * shape.height if reply.has_pixels is True else 0
    rows = thumbnail_shape(shape.width, shape.height)
    try:
        if reply.reason is not None:
            return Undecodable(DropReason(reply.reason), reply.detail)
        pixels = np.frombuffer(told.body, np.uint8, num_pixel_bytes)
        seen = np.frombuffer(told.body, np.uint8, math.prod(rows), num_pixel_bytes)
        if not (math.isfinite(reply.difference) and math.isfinite(reply.change)):
            raise ValueError("numbers that are none")
    except (TypeError, ValueError) as error:  # foreign bytes may have taken over the decoder
        return Undecodable(DropReason.UNDECODABLE, f"the decoder's reply: {error}")
    looks = Resemblance(seen.reshape(rows), reply.difference, reply.change)
    if not num_pixel_bytes:
        return LentPicture(None, looks)
    return LentPicture(pixels.reshape(shape.height, shape.width, 3), looks)
