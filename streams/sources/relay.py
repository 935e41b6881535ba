"""A relay on loopback between FFmpeg and a far end whose address was checked.

FFmpeg would resolve the name again and follow wherever it is sent. Through the relay it knows no
address but the relay's: the relay connects to the checked one, and looks at what passes.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Protocol

from onlooker.core.address import Target
from onlooker.core.network import TooSlow, WaitBudget
from onlooker.streams.sources import reasons
from onlooker.streams.sources.spec import SourceLost, SourceSlow
from onlooker.streams.sources.way import Access

_CHUNK_BYTES = 65536


class RelayGuard(Protocol):
    """What passes over one connection, seen on its way. `up` is called on one thread, `down` on
    another. Both return what goes on; `SourceBroken` or `SourceLost` ends the connection."""

    is_timed: bool
    """Whether the far end has to send something all the time."""

    def up(self, data: bytes) -> bytes: ...
    def down(self, data: bytes) -> bytes: ...
    def close(self) -> None: ...


class NoGuard:
    """Everything passes."""

    is_timed = True

    def up(self, data: bytes) -> bytes:
        return data

    def down(self, data: bytes) -> bytes:
        return data

    def close(self) -> None:
        pass


MakeGuard = Callable[["RelayedConnection"], RelayGuard]


class RelayedConnection:
    """One connection through a relay: both its ends."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        self._lock = threading.Lock()
        self.fault: Exception | None = None
        """Why the connection was ended from here, if it was."""

    def send_near(self, data: bytes) -> None:
        """Send to FFmpeg, whole. From any thread."""
        with self._lock:
            self.near.sendall(data)

    def end(self, fault: Exception | None = None) -> None:
        """End both connections. Idempotent; the first fault stays."""
        self.fault = self.fault or fault
        for connection in (self.near, self.far):
            _close(connection)


class Relay:
    """Carries connections, one after another: listens on loopback, connects to `target`."""

    def __init__(
        self,
        target: Target,
        access: Access,
        *,
        is_secure: bool,
        make_guard: MakeGuard = lambda link: NoGuard(),
        max_connections: int = 1,
    ) -> None:
        """Connect to `target`.

        Raises:
            Forbidden: none of its addresses may be connected to.
            SourceLost: it cannot be reached.
        """
        self._target, self._access, self._is_secure = target, access, is_secure
        self._make_guard, self._max_connections = make_guard, max_connections
        self._far: socket.socket | None = self._connect()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.settimeout(access.settings.open_timeout_s)
        self._link: RelayedConnection | None = None
        self._is_closed = False
        self._fault: SourceLost | None = None
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._run, name="source relay", daemon=True).start()

    @property
    def fault(self) -> Exception | None:
        """Why the relay ended the connection, if it did."""
        return self._fault or (self._link.fault if self._link is not None else None)

    def close(self) -> None:
        """End all connections. Idempotent."""
        self._is_closed = True
        _close(self._listener)
        if self._far is not None:
            _close(self._far)
        if self._link is not None:
            self._link.end()

    def _run(self) -> None:
        try:
            for _ in range(self._max_connections):
                near, _ = self._listener.accept()
                far, self._far = self._far or self._connect(), None
                self._carry(RelayedConnection(near, far))
        except OSError:
            pass  # one side is gone; FFmpeg sees the end and says so
        except SourceLost as fault:
            self._fault = fault
        finally:
            self.close()

    def _carry(self, link: RelayedConnection) -> None:
        self._link = link
        if self._is_closed:
            link.end()
        guard = self._make_guard(link)
        if not guard.is_timed:
            link.far.settimeout(None)
        upward = threading.Thread(
            target=self._copy_up, args=(link, guard), name="source relay up", daemon=True
        )
        upward.start()
        try:
            self._copy_down(link, guard)
        except OSError:
            link.end()
        except Exception as fault:
            link.end(fault)
        finally:
            link.end()
            guard.close()

    def _copy_up(self, link: RelayedConnection, guard: RelayGuard) -> None:
        try:
            while data := link.near.recv(_CHUNK_BYTES):
                link.far.sendall(guard.up(data))
            link.end()
        except OSError:
            link.end()
        except Exception as fault:
            link.end(fault)

    def _copy_down(self, link: RelayedConnection, guard: RelayGuard) -> None:
        clock, budget = self._access.clock, self._access.budget
        while True:
            begun_s = clock.now_s()
            data = link.far.recv(_CHUNK_BYTES)
            if not data:
                return
            if guard.is_timed:
                try:
                    budget.receive(len(data), clock.now_s() - begun_s)
                except TooSlow as error:
                    raise SourceSlow(f"it is too slow: {error}") from error
            link.send_near(guard.down(data))

    def _connect(self) -> socket.socket:
        connection = connected(self._target, self._access, is_secure=self._is_secure)
        connection.settimeout(self._access.settings.read_timeout_s)
        return connection


def connected(target: Target, access: Access, *, is_secure: bool) -> socket.socket:
    """Connect to a checked address of `target`.

    Raises:
        Forbidden: none of its addresses may be connected to.
        SourceLost: it cannot be reached.
    """
    budget = access.budget
    try:
        last_error: OSError | None = None
        for address in access.lookups.addresses(target.host, target.port):
            try:
                with budget.limiting(access.settings.open_timeout_s) as left_s:
                    connection = socket.create_connection((address, target.port), left_s)
                break
            except OSError as error:
                last_error = error
        else:
            raise last_error or OSError("no address")
        return _secured(connection, target, budget) if is_secure else connection
    except TooSlow as error:
        raise SourceSlow(f"{target.host} is too slow: {error}") from error
    except OSError as error:
        raise SourceLost(reasons.of_unreachable(target, error)) from error


def _secured(connection: socket.socket, target: Target, budget: WaitBudget) -> socket.socket:
    try:
        context = ssl.create_default_context()
        with budget.limiting(None) as left_s:
            connection.settimeout(left_s)  # holds for the handshake as a whole
            return context.wrap_socket(connection, server_hostname=target.host)
    except BaseException:
        connection.close()
        raise


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
