"""The server's side of the nursery: decoder processes are begun, asked and ended from here."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from onlooker.streams.decoding.nursery_main import FORK, KILL, ORDER
from onlooker.streams.decoding.wire import (
    DecodeReply,
    DecodeRequest,
    EndTold,
    receive_from_worker,
    receive_reply,
    send,
)

T = TypeVar("T")

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

LINK_BYTES = 1 << 20
"""A socket to a decoder process takes so much at once, where the system lets it: a picture's pixels
are read when they are all there, and not a quarter at a time."""

CLOSE_S = 2.0
"""How long an ended nursery may take to go before it is killed."""


class WorkerEnded(Exception):
    """A decoder process is gone, and took with it what it was asked."""

    def __init__(self, ended_by: int) -> None:
        super().__init__(f"ended by signal {ended_by}")
        self.ended_by = ended_by
        """The signal; SIGKILL when it is not known."""


class Worker:
    """One decoder process. Used by one thread at a time, or by a `Assessor`."""

    def __init__(self, nursery: "Nursery", number: int, link: socket.socket) -> None:
        self._nursery, self._number, self._link = nursery, number, link

    @property
    def link(self) -> socket.socket:
        """The socket, for who neither asks nor hears by the methods below."""
        return self._link

    def ask(
        self, request: DecodeRequest, *body: bytes, wall_limit_s: float
    ) -> tuple[DecodeReply, bytearray]:
        """Have one thing decoded; blocks.

        Raises:
            WorkerEnded: the process ended over it, was killed, or did not answer within
                `wall_limit_s`, upon which it is killed. It cannot be asked again.
        """
        self.tell(request, *body, wall_limit_s=wall_limit_s)
        return self._heard(receive_reply)

    def tell(self, head: Any, *body: bytes, wall_limit_s: float) -> None:
        """Say something that is answered later; `hear` waits as long for the answer.

        Raises:
            WorkerEnded: the process did not take it within `wall_limit_s`, and was killed.
        """
        try:
            self._link.settimeout(wall_limit_s)
            with contextlib.suppress(ConnectionError):  # why it has ended is waiting to be read
                send(self._link, head, *body)
        except TimeoutError:
            self.end()
            raise WorkerEnded(signal.SIGALRM) from None
        except OSError:  # it was ended from another thread
            self.end()
            raise WorkerEnded(signal.SIGKILL) from None

    def hear(self, wall_limit_s: float) -> tuple[dict[str, Any], bytearray]:
        """Wait for what the process says next: the values of its head, and its body. Raises: as
        `ask`."""
        with contextlib.suppress(OSError):
            self._link.settimeout(wall_limit_s)
        return self._heard(receive_from_worker)

    def _heard(self, receive: Callable[[socket.socket], T]) -> T:
        try:
            return receive(self._link)
        except EndTold as end:
            self._link.close()
            raise WorkerEnded(end.ended_by or signal.SIGKILL) from None
        except TimeoutError:
            self.end()
            raise WorkerEnded(signal.SIGALRM) from None
        except (EOFError, OSError):
            self.end()
            raise WorkerEnded(signal.SIGKILL) from None

    def interrupt(self) -> None:
        """Kill the process, from any thread: who waits for it hears that it has ended."""
        with contextlib.suppress(OSError):
            self._nursery.order_kill(self._number)
            self._link.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """End the process, whatever it does. Idempotent; nobody may be asking it."""
        if self._link.fileno() >= 0:
            self._nursery.order_kill(self._number)
            self._link.close()


class Nursery:
    """Begins decoder processes, from any thread. The process behind it is started when it is first
    needed, or has died.

    Args:
        memory_bytes: address space of each decoder process.
    """

    def __init__(self, *, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._is_closed = False

    def begin(self) -> Worker:
        """A new decoder process; it can be asked at once.

        Raises:
            WorkerEnded: the nursery is closed, or cannot be started.
        """
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LINK_BYTES)
        number = next(self._numbers)
        with theirs, self._lock:
            for _ in range(2):
                if self._is_closed:
                    break
                try:
                    control = self._control or self._start()
                    socket.send_fds(control, [ORDER.pack(FORK, number)], [theirs.fileno()])
                except OSError:
                    self._end()
                else:
                    return Worker(self, number, ours)
        ours.close()
        raise WorkerEnded(signal.SIGKILL)

    def order_kill(self, number: int) -> None:
        """Have a decoder process killed; one that has ended is left alone."""
        with self._lock:
            if self._control is not None:
                try:
                    self._control.send(ORDER.pack(KILL, number))
                except OSError:
                    self._end()

    def close(self) -> None:
        """End it and every decoder process, whatever they do. Idempotent."""
        with self._lock:
            self._is_closed = True
            self._end()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "onlooker.streams.decoding.nursery_main",
                    str(theirs.fileno()),
                    str(self._memory_bytes),
                ],
                pass_fds=[theirs.fileno()],
                env={**os.environ, **_ONE_THREAD},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        ours.settimeout(CLOSE_S)
        self._control = ours
        return ours

    def _end(self) -> None:
        control, self._control = self._control, None
        process, self._process = self._process, None
        if control is not None:
            control.close()
        if process is not None:
            process.kill()  # its decoders have the kernel's order to die with it
            process.wait(CLOSE_S)


def wall_limit_s(budget_s: float) -> float:
    """How long a process may take on the wall, after which something is wrong with it. So far above
    its budget of processor time that only a machine which hardly gives it any reaches it."""
    return 5.0 + 20.0 * budget_s
