"""HTTP connections that go only to addresses which the operator allows, and wait for nobody.

A name is resolved where the connection is made, and the connection goes to an address that was
checked, so a name that changes its mind in between gains nothing. Whoever is connected to is a
stranger: what is asked of them has an end, however slowly their bytes come.
"""

import asyncio
import ssl
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpcore

from onlooker.core.address import AddressPolicy
from onlooker.core.clock import Clock

CONNECT_ERRORS = (httpcore.ConnectError, httpcore.ConnectTimeout)
"""After these the next address of a name is tried."""


class TooSlow(httpcore.TimeoutException):
    """A stranger took longer for an operation than it may, or sent fewer bytes a second."""


class Lookups:
    """Looks names up in threads of its own, so that a slow name server holds up nothing else."""

    def __init__(self, policy: AddressPolicy, *, num_threads: int, timeout_s: float) -> None:
        """`timeout_s`: how long one look-up is waited for, its turn included."""
        self._policy, self._timeout_s = policy, timeout_s
        self._threads = ThreadPoolExecutor(num_threads, "lookup")

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of `host` that may be connected to, at least one. Blocks.

        Raises:
            Forbidden: none of them may be connected to.
            OSError: the name does not resolve, or not in time.
        """
        looking = self._threads.submit(self._policy.addresses, host, port)
        try:
            return looking.result(self._timeout_s)
        finally:
            looking.cancel()

    async def find(self, host: str, port: int) -> list[str]:
        """As `addresses`, on the event loop."""
        looking = self._threads.submit(self._policy.addresses, host, port)
        async with asyncio.timeout(self._timeout_s):
            return await asyncio.wrap_future(looking)


class WaitBudget:
    """How long one stranger is waited for. Used by one thread.

    Only waiting counts: who reads slowly, as one who plays a recording does, is owed nothing.
    """

    def __init__(self, clock: Clock, *, min_bytes_per_s: float, window_s: float) -> None:
        """`min_bytes_per_s`: the least that must come while it is waited for, on average over
        `window_s` seconds of waiting."""
        self._clock = clock
        self._min_bytes_per_s, self._window_s = min_bytes_per_s, window_s
        self._until_s: float | None = None
        self._waited_s = 0.0
        self._num_bytes = 0

    def begin(self, limit_s: float) -> bool:
        """An operation begins that may take `limit_s` seconds; False: it is part of another one,
        whose limit holds."""
        if self._until_s is not None:
            return False
        self._until_s = self._clock.now_s() + limit_s
        return True

    def end(self) -> None:
        """The operation is done."""
        self._until_s = None

    def left_s(self, timeout_s: float | None) -> float | None:
        """How long one read or write may take whose own limit is `timeout_s`.

        Raises:
            TooSlow: the operation has taken too long already.
        """
        if self._until_s is None:
            return timeout_s
        left_s = self._until_s - self._clock.now_s()
        if left_s <= 0:
            raise TooSlow("it took too long")
        return left_s if timeout_s is None else min(left_s, timeout_s)

    @contextmanager
    def limiting(self, timeout_s: float | None) -> Iterator[float | None]:
        """A read or write whose own limit is `timeout_s`; gives the time that it may take.

        Raises:
            TooSlow: the operation that it is a part of has taken too long.
        """
        left_s = self.left_s(timeout_s)
        try:
            yield left_s
        except (httpcore.TimeoutException, TimeoutError) as error:
            if left_s != timeout_s:
                raise TooSlow("it took too long") from error
            raise

    def receive(self, num_bytes: int, waited_s: float) -> None:
        """So many bytes came after so long a wait.

        Raises:
            TooSlow: they are too few.
        """
        self._num_bytes += num_bytes
        self._waited_s += waited_s
        if self._waited_s < self._window_s:
            return
        if self._num_bytes < self._min_bytes_per_s * self._waited_s:
            raise TooSlow(f"less than {self._min_bytes_per_s:g} bytes a second came")
        self._num_bytes, self._waited_s = 0, 0.0


class BudgetedStream(httpcore.NetworkStream):
    """A connection that is waited for with `WaitBudget`."""

    def __init__(self, stream: httpcore.NetworkStream, budget: WaitBudget, clock: Clock) -> None:
        self._stream, self._budget, self._clock = stream, budget, clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        begun_s = self._clock.now_s()
        with self._budget.limiting(timeout) as left_s:
            data = self._stream.read(max_bytes, left_s)
        self._budget.receive(len(data), self._clock.now_s() - begun_s)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with self._budget.limiting(timeout) as left_s:
            self._stream.write(buffer, left_s)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            with self._budget.limiting(timeout) as left_s:
                secured = self._stream.start_tls(ssl_context, server_hostname, left_s)
        except TooSlow:
            self._stream.close()  # httpcore does so only where the handshake had begun
            raise
        return BudgetedStream(secured, self._budget, self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class GuardedBackend(httpcore.SyncBackend):
    """Connections for HTTP clients that block their thread."""

    def __init__(self, lookups: Lookups, budget: WaitBudget, clock: Clock) -> None:
        super().__init__()
        self._lookups, self._budget, self._clock = lookups, budget, clock

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        *others, last = self._found(host, port)
        for address in others:
            try:
                return self._connect(address, port, timeout, local_address, socket_options)
            except CONNECT_ERRORS:
                continue
        return self._connect(last, port, timeout, local_address, socket_options)

    def _connect(
        self, address: str, port: int, timeout_s: float | None, local: str | None, options: Any
    ) -> httpcore.NetworkStream:
        with self._budget.limiting(timeout_s) as left_s:
            stream = super().connect_tcp(address, port, left_s, local, options)
        return BudgetedStream(stream, self._budget, self._clock)

    def _found(self, host: str, port: int) -> list[str]:
        try:
            return self._lookups.addresses(host, port)
        except TimeoutError as error:
            raise TooSlow("its name was not found in time") from error
        except OSError as error:
            raise httpcore.ConnectError(f"'{host}' does not resolve") from error


class AsyncGuardedBackend(httpcore.AnyIOBackend):
    """Connections for HTTP clients on the event loop. Whoever uses them limits what they do."""

    def __init__(self, lookups: Lookups) -> None:
        super().__init__()
        self._lookups = lookups

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            *others, last = await self._lookups.find(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"'{host}' does not resolve") from error
        for address in others:
            try:
                return await super().connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except CONNECT_ERRORS:
                continue
        return await super().connect_tcp(last, port, timeout, local_address, socket_options)
