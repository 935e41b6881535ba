"""The nursery: a small process that has the decoders' code loaded, and forks a decoder when asked.

Forking from here takes milliseconds and shares the code's memory; forking the server would copy an
event loop, its threads and an engine. Run by `Nursery` as ``python -m …nursery_main FD BYTES``.

Over the control socket come datagrams of one `ORDER`: ``F`` with a socket (fork a decoder for it,
under this number) or ``K`` (kill it). When a decoder has ended, the nursery says so in its stead,
with a `WorkerEnd` on the decoder's socket. The nursery ends, with all its decoders, when
the control socket does or the server is gone.
"""

import contextlib
import gc
import os
import selectors
import signal
import socket
import struct
import sys
import traceback

from PIL import Image

from onlooker.core.log import configure_logging_as_parent
from onlooker.streams.decoding.wire import WorkerEnd, send
from onlooker.streams.decoding.worker import confine, serve

ORDER = struct.Struct("<cI")
FORK, KILL = b"F", b"K"

_LOOK_S = 1.0
"""How often the nursery looks whether the server is still its parent."""


class _Nursery:
    def __init__(self, control: socket.socket, memory_bytes: int) -> None:
        self._control, self._memory_bytes = control, memory_bytes
        self._ears = selectors.DefaultSelector()
        self._sockets = [control]
        """What a decoder has no business with."""
        self._links: dict[int, tuple[int, socket.socket]] = {}
        """By process id: the decoder's number and its end of the socket."""

    def run(self) -> None:
        """Serve until the server is gone."""
        parent = os.getppid()
        woken, wake = socket.socketpair()
        woken.setblocking(False)
        wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._ears.register(self._control, selectors.EVENT_READ)
        self._ears.register(woken, selectors.EVENT_READ)
        self._sockets += [woken, wake]
        while os.getppid() == parent:
            heard = [key.fileobj for key, _ in self._ears.select(_LOOK_S)]
            if woken in heard:
                woken.recv(4096)
            self._reap()
            if self._control in heard and not self._obey():
                break
        for process_id in self._links:
            os.kill(process_id, signal.SIGKILL)

    def _obey(self) -> bool:
        """Carry out the next order; False when there will be no more."""
        data, handles, _, _ = socket.recv_fds(self._control, ORDER.size, 1)
        if not data:
            return False
        order, number = ORDER.unpack(data)
        if order == FORK:
            self._fork(number, socket.socket(fileno=handles[0]))
        else:
            for process_id, (known, _) in self._links.items():
                if known == number:
                    os.kill(process_id, signal.SIGKILL)
        return True

    def _fork(self, number: int, link: socket.socket) -> None:
        process_id = os.fork()
        if process_id:
            self._links[process_id] = number, link
            return
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._ears.close()
            for other in [*self._sockets, *(link for _, link in self._links.values())]:
                other.close()
            confine(self._memory_bytes)
            link.setblocking(True)
            serve(link)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _reap(self) -> None:
        """Speak for the decoders that have ended."""
        while self._links:
            process_id, status = os.waitpid(-1, os.WNOHANG)
            if not process_id:
                return
            _, link = self._links.pop(process_id)
            with link:
                link.setblocking(False)  # not before: the decoder's end is the same one
                ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
                with contextlib.suppress(OSError):  # the server has hung up before
                    send(link, WorkerEnd(ended_by=ended_by))


def main() -> None:
    """Run the nursery."""
    configure_logging_as_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Image.init()  # loads the formats, which each decoder would otherwise do for itself
    gc.freeze()  # collections in the decoders must not touch, and so copy, the shared memory
    _Nursery(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])).run()


if __name__ == "__main__":
    main()
