"""`PulledVideo`: a pulled source that is decoded in a process of its own, seen from the server.

The process asks for bytes, which are read here, on the thread that waits for the pictures. It has a
turn while it works, as a pushed message has, and none while bytes are waited for.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onlooker.core.media import DropReason, Pixels
from onlooker.streams.decoding.nursery import Worker, WorkerEnded, wall_limit_s
from onlooker.streams.decoding.pull_wire import (
    MAX_READ_BYTES,
    PullOrder,
    PullSaid,
    PullTold,
    Why,
    said_of,
)
from onlooker.streams.decoding.seat import Seat, SeatLeft
from onlooker.streams.decoding.wire import DecodeRequest
from onlooker.streams.perception.stills import Undecodable

MAX_FILES = 16
"""Files of one source that are open at the same time; a playlist and its segments are a few."""


class PullFailed(Exception):
    """The source cannot be played on; what went wrong with a file is known to who opened it."""

    def __init__(self, why: Why, detail: str = "") -> None:
        super().__init__(detail)
        self.why: Why = why
        self.detail = detail


class PulledFile(Protocol):
    """A file that is read for the process. Each call may block, and raise anything."""

    def read(self, num_bytes: int, /) -> bytes: ...
    def seek(self, offset: int, whence: int, /) -> int: ...
    def seekable(self) -> bool: ...
    @property
    def is_at_hand(self) -> bool:
        """Whether the next read waits for nobody."""
        ...

    def close(self) -> object: ...


OpenOther = Callable[[str, int, int | None], PulledFile]
"""Opens a file that the source names: its address, the first byte, the last one."""


@dataclass(frozen=True, slots=True)
class PulledPicture:
    """A picture of a pulled source."""

    time_s: float
    """Seconds in the source's own time, which may jump."""
    pixels: Pixels


class PulledPool(Protocol):
    """The part of `WorkerPool` that pulled sources need."""

    def begin(self) -> Worker: ...
    def count_end(
        self, ended: WorkerEnded, spend: Callable[[float], None], budget_s: float
    ) -> Undecodable | None: ...
    def count_pulled(self, spent_s: float) -> None: ...


class PulledVideo:
    """One opening of one source. All methods but `stop` are called on one thread.

    Args:
        order: budgets and all.
        file: what FFmpeg reads from, where it reads from one.
        patience_s: how long a process may say nothing while it waits for a relay.
        now_s: tells the time.
    """

    def __init__(
        self,
        pool: PulledPool,
        seat: Seat,
        order: PullOrder,
        *,
        file: PulledFile | None,
        open_other: OpenOther | None,
        patience_s: float,
        now_s: Callable[[], float],
    ) -> None:
        self._pool, self._seat, self._order, self._now_s = pool, seat, order, now_s
        self._files = {} if file is None else {0: file}
        self._open_other = open_other
        self._num_opened = 0
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._is_stopped = False
        self._budget_s = order.open_budget_s
        self._patience_s = patience_s
        self.is_recorded = self.comes_in_bursts = False
        """Whether the source has an end; whether it sends many pictures at a time."""

    def open(self) -> None:
        """Begin the process and have it find the video.

        Raises:
            PullFailed: it finds none, or was stopped.
            Undecodable: its process was ended, since it took too much processor time, or for a
                fault of the decoder.
        """
        with self._lock:
            if self._is_stopped:
                raise PullFailed("gone", "it was stopped")
            try:
                self._worker = self._pool.begin()
            except WorkerEnded:
                raise PullFailed("gone", "there was no process to decode it") from None
        request = DecodeRequest(do="pull", codec=0, width=0, height=0, max_pixels=0, budget_s=0.0)
        if self._order.relay_port is None:
            self._take_turn()
        try:
            self._worker.tell(request, self._order.packed(), wall_limit_s=self._wall_limit_s)
        except WorkerEnded as ended:
            raise self._lost(ended) from None
        said, _ = self._until("opened")
        self.is_recorded, self.comes_in_bursts = bool(said.is_recorded), bool(said.is_bursty)
        order = self._order
        most_megapixels = order.max_pixels / 1e6
        self._budget_s = order.packet_budget_s + order.megapixel_budget_s * most_megapixels

    def pictures(self) -> Iterator[PulledPicture]:
        """The pictures, thinned; ends where the source ends, or was stopped. Raises: as `open`."""
        order = self._order
        while True:
            self._answer()
            said, body = self._until("picture", "ended")
            if said.what == "ended":
                return
            try:
                pixels = np.frombuffer(body, np.uint8).reshape(order.height, order.width, 3)
            except ValueError as error:  # foreign bytes may have taken over the decoder
                raise PullFailed("gone", f"the decoder's picture: {error}") from error
            yield PulledPicture(said.time_s, pixels)

    def stop(self) -> None:
        """End the process, whatever it does, and whoever waits for it. From any thread."""
        with self._lock:
            self._is_stopped = True
            worker = self._worker
        self._seat.leave()
        if worker is not None:
            worker.interrupt()

    def close(self) -> None:
        """Let go of the process and of all files."""
        self.stop()
        self._seat.give_back()
        if self._worker is not None:
            self._worker.end()
        for file in self._files.values():
            file.close()
        self._files.clear()

    @property
    def _wall_limit_s(self) -> float:
        return wall_limit_s(self._budget_s) + self._patience_s

    def _until(self, *wanted: str) -> tuple[PullSaid, bytearray]:
        """Serve the process until it says one of what is wanted."""
        while True:
            said, body = self._heard()
            if said.what in wanted:
                return said, body
            match said.what:
                case "failed":
                    raise PullFailed(said.why, str(said.detail)[:500])
                case "waits":
                    continue
                case "ready":
                    self._answer()
                case "read" | "seek" | "open" | "close":
                    self._serve(said)
                case _:
                    raise PullFailed("gone", f"the decoder said {said.what!r}")

    def _heard(self) -> tuple[PullSaid, bytearray]:
        """What the process says next; its turn is over with it, unless it need not wait."""
        assert self._worker is not None, "it was opened"
        try:
            values, body = self._worker.hear(self._wall_limit_s)
            said = said_of(values)
        except WorkerEnded as ended:
            raise self._lost(ended) from None
        except ValueError as error:
            raise PullFailed("gone", str(error)) from error
        self._seat.spend(said.spent_s)
        self._pool.count_pulled(said.spent_s)
        file = self._files.get(said.file) if said.what == "read" else None
        if file is None or not file.is_at_hand:
            self._seat.give_back()
        return said, body

    def _serve(self, said: PullSaid) -> None:
        """Do what the process cannot do by itself."""
        number, data, can_seek = 0, b"", False
        try:
            match said.what:
                case "read":
                    most = max(1, min(said.number, MAX_READ_BYTES))
                    data = self._files[said.file].read(most)
                case "seek":
                    number = self._files[said.file].seek(said.number, said.whence)
                case "open":
                    number, can_seek = self._opened(said)
                case _ if (file := self._files.pop(said.file, None)) is not None:
                    file.close()
        except Exception:  # whoever opened the file keeps what it was, and is asked for it
            self._answer(has_failed=True)
            return
        self._answer(data, number=number, can_seek=can_seek)

    def _opened(self, said: PullSaid) -> tuple[int, bool]:
        """The number of a file that the source names, and whether one can seek in it."""
        if self._open_other is None or len(self._files) >= MAX_FILES:
            raise OSError("this source names other files, which are not opened")
        file = self._open_other(said.url, said.first_byte, said.last_byte)
        self._num_opened += 1
        self._files[self._num_opened] = file
        return self._num_opened, file.seekable()

    def _answer(
        self,
        data: bytes = b"",
        *,
        has_failed: bool = False,
        number: int = 0,
        can_seek: bool = False,
    ) -> None:
        """Let the process work on, when it is its turn."""
        assert self._worker is not None, "it was opened"
        self._take_turn()
        told = PullTold(
            now_s=self._now_s(), has_failed=has_failed, number=number, can_seek=can_seek
        )
        try:
            self._worker.tell(told, data, wall_limit_s=self._wall_limit_s)
        except WorkerEnded as ended:
            raise self._lost(ended) from None

    def _take_turn(self) -> None:
        try:
            self._seat.take()
        except SeatLeft:
            raise PullFailed("gone", "it was stopped") from None

    def _lost(self, ended: WorkerEnded) -> PullFailed | Undecodable:
        """Why there is nothing more from a process that has ended."""
        if self._is_stopped:
            return PullFailed("gone", "it was stopped")
        fault = self._pool.count_end(ended, self._seat.spend, self._budget_s)
        self._seat.give_back()
        return fault or Undecodable(DropReason.UNDECODABLE, "its decoder was ended")
