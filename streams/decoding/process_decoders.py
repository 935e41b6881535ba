"""`ProcessDecoders`: decodes in processes that can be killed; what they do is bounded by a budget.

Stills go to any process that is free. A source of coded video has one of its own, since what it
decodes builds on what came before; when that is killed, the source alone loses anything, and begins
anew at its next key frame, cluster or fragment.
"""

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from onlooker.core.errors import ServiceError
from onlooker.core.media import Codec, DropReason, Pixels
from onlooker.core.metrics import Metrics
from onlooker.streams.config import DecodingSection
from onlooker.streams.decoding.assessors import Assessors, StillToAssess
from onlooker.streams.decoding.nursery import Nursery, Worker, WorkerEnded, wall_limit_s
from onlooker.streams.decoding.process_video import ProcessVideo
from onlooker.streams.decoding.pull_wire import PullOrder
from onlooker.streams.decoding.pulled_video import OpenOther, PulledFile, PulledVideo
from onlooker.streams.decoding.seat import Seat
from onlooker.streams.decoding.wire import DecodeReply, DecodeRequest
from onlooker.streams.perception.decoders import LentPicture, Shape
from onlooker.streams.perception.stills import Undecodable, encode_png

_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)

Spend = Callable[[float], None]
"""Told of processor seconds that were spent for a sender; on the thread that decodes."""


class WorkerPool:
    """All decoder processes of a server. Called from any thread.

    Of those for stills `workers` stand ready: one that is killed is replaced at once, and those
    that were needed beside them are ended when they are free. Live streams take them over: they are
    asked from the event loop from then on, and a still of anybody else may have to wait for a new
    one.
    """

    def __init__(self, settings: DecodingSection, metrics: Metrics) -> None:
        self.settings, self._metrics = settings, metrics
        self._nursery = Nursery(memory_bytes=settings.memory_mib << 20)
        self._lock = threading.Lock()
        self._decode_cpu = {codec: metrics.note_decode_cpu(codec.name.lower()) for codec in Codec}
        self._idle: list[Worker] = []
        self._num_lent = 0
        self._assessors = Assessors(
            settings, take=self._take, count=self.count, count_end=self.count_end
        )

    def start(self) -> None:
        """Begin the processes for stills, so that the first pictures need not wait for them."""
        with self._lock:
            self._idle += [self.begin() for _ in range(self.settings.num_workers)]

    def check(self) -> None:
        """Have a picture decoded. Raises `ServiceError` when that fails."""
        shape = Shape(2, 2, max_pixels=4)
        picture = encode_png(np.zeros((2, 2, 3), np.uint8))
        try:
            self.decoders(lambda spent_s: None).still(picture, Codec.PNG, shape)
        except Undecodable as error:
            raise ServiceError(f"decoder processes do not start: {error}") from error

    def close(self) -> None:
        """Kill every process, whatever it does."""
        self._nursery.close()
        self._assessors.close()
        with self._lock:
            for worker in self._idle:
                worker.end()
            self._idle.clear()

    def decoders(self, spend: Spend) -> "ProcessDecoders":
        """For one sender."""
        return ProcessDecoders(self, spend)

    def assess(
        self,
        asked: StillToAssess,
        spend: Spend,
        tell: Callable[[LentPicture | Undecodable], None],
    ) -> None:
        """Have a still of a live stream assessed, on the event loop; see `Assessors.assess`."""
        self._assessors.assess(asked, spend, tell)

    def pulled(
        self,
        order: PullOrder,
        seat: Seat,
        *,
        file: PulledFile | None,
        open_other: OpenOther | None,
        patience_s: float,
        now_s: Callable[[], float],
    ) -> PulledVideo:
        """For one opening of a pulled source; see `PulledVideo`."""
        settings = self.settings
        order = replace(
            order,
            open_budget_s=settings.open_budget_s,
            packet_budget_s=settings.chunk_budget_s,
            megapixel_budget_s=settings.megapixel_budget_s,
        )
        return PulledVideo(
            self,
            seat,
            order,
            file=file,
            open_other=open_other,
            patience_s=patience_s,
            now_s=now_s,
        )

    @contextlib.contextmanager
    def lend(self, *, is_fresh: bool) -> Iterator[Worker]:
        """A process for a still, which may have decoded others before unless it is to be a fresh
        one. Raises `WorkerEnded`, also where the body does."""
        with self._lock:
            worker = None if is_fresh or not self._idle else self._idle.pop()
            self._num_lent += 1
        try:
            if worker is None:
                worker = self.begin()
            yield worker
        except BaseException:
            if worker is not None:
                worker.end()
            worker = None
            raise
        finally:
            self._take_back(worker)

    def begin(self) -> Worker:
        """A new process. Raises `WorkerEnded`."""
        return self._nursery.begin()

    def _take(self) -> Worker:
        """A process for the event loop, which does not give it back. Raises `WorkerEnded`."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self.begin()

    def _take_back(self, worker: Worker | None) -> None:
        """It is free again, or (None) gone."""
        with self._lock:
            self._num_lent -= 1
            num_idle = len(self._idle)
            num_standing = max(1, self.settings.num_workers - self._assessors.num_idle)
            if worker is not None and num_idle < num_standing:
                self._idle.append(worker)
            elif worker is not None:
                worker.end()
            elif num_idle + self._num_lent < num_standing:
                with contextlib.suppress(WorkerEnded):  # then the next still begins it
                    self._idle.append(self.begin())

    def count_end(self, ended: WorkerEnded, spend: Spend, budget_s: float) -> Undecodable | None:
        """Account for a process that ended over a message; why the message is lost, or None where
        it is not the message's fault."""
        if ended.ended_by in (signal.SIGPROF, signal.SIGALRM):
            spend(budget_s)
            self._metrics.decoders_ended.labels(why="too_costly").inc()
            return Undecodable(
                DropReason.TOO_COSTLY, "it takes more processor time than its budget"
            )
        if ended.ended_by in _CRASHES:
            spend(budget_s)
            self._metrics.decoders_ended.labels(why="crashed").inc()
            return Undecodable(DropReason.UNDECODABLE, "the decoder crashed over it")
        self._metrics.decoders_ended.labels(why="killed").inc()
        return None

    def count_pulled(self, spent_s: float) -> None:
        """Account for what was decoded of a pulled source."""
        self._metrics.decode_cpu_seconds.labels(codec="pulled").inc(spent_s)

    def count(self, reply: DecodeReply, codec: Codec, spend: Spend) -> None:
        """Account for a message that was decoded."""
        spend(reply.spent_s)
        self._decode_cpu[codec](reply.spent_s)


class ProcessDecoders:
    """Decodes for one sender; blocks."""

    def __init__(self, pool: WorkerPool, spend: Spend) -> None:
        self._pool, self._spend = pool, spend

    def still(self, payload: bytes, codec: Codec, shape: Shape) -> Pixels:
        """One picture. When its process is ended by somebody else, a fresh one gets it."""
        settings = self._pool.settings
        request = DecodeRequest(
            do="still",
            codec=codec,
            width=shape.width,
            height=shape.height,
            max_pixels=shape.max_pixels,
            budget_s=settings.still_budget_s,
            megapixel_budget_s=settings.megapixel_budget_s,
        )
        most_s = settings.still_budget_s + settings.megapixel_budget_s * shape.max_pixels / 1e6
        for is_fresh in (False, True):
            try:
                with self._pool.lend(is_fresh=is_fresh) as worker:
                    reply, body = worker.ask(request, payload, wall_limit_s=wall_limit_s(most_s))
            except WorkerEnded as ended:
                fault = self._pool.count_end(ended, self._spend, most_s)
                if fault is not None:
                    raise fault from None
                continue
            self._pool.count(reply, codec, self._spend)
            return _pixels(reply, body, shape)
        raise Undecodable(DropReason.UNDECODABLE, "there was no process to decode it")

    def open_video(self, codec: Codec, shape: Shape) -> ProcessVideo:
        return ProcessVideo(self._pool, self._spend, codec, shape)


def _pixels(reply: DecodeReply, body: bytearray, shape: Shape) -> Pixels:
    """The one picture of a reply. Raises `Undecodable` where the reply says so, or makes no
    sense."""
    rows = (shape.height, shape.width, 3)
    try:
        if reply.reason is not None:
            raise Undecodable(DropReason(reply.reason), reply.detail)
        if len(reply.times_s) != 1 or len(body) != math.prod(rows):
            raise ValueError(f"{len(body)} bytes of {len(reply.times_s)} pictures")
        return np.frombuffer(body, np.uint8).reshape(rows)
    except ValueError as error:  # foreign bytes may have taken over the decoder
        raise Undecodable(DropReason.UNDECODABLE, f"the decoder's reply: {error}") from error
