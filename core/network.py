"""HTTP connections that go only to addresses which the operator allows.

A name is resolved where the connection is made, and the connection goes to an address that was
checked, so a name that changes its mind in between gains nothing.
"""

import asyncio
from typing import Any

import httpcore

from onlooker.core.address import AddressPolicy

CONNECT_ERRORS = (httpcore.ConnectError, httpcore.ConnectTimeout)
"""After these the next address of a name is tried."""


class GuardedBackend(httpcore.SyncBackend):
    """Connections for HTTP clients that block their thread."""

    def __init__(self, policy: AddressPolicy) -> None:
        super().__init__()
        self._policy = policy

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        *others, last = checked_addresses(self._policy, host, port)
        for address in others:
            try:
                return super().connect_tcp(address, port, timeout, local_address, socket_options)
            except CONNECT_ERRORS:
                continue
        return super().connect_tcp(last, port, timeout, local_address, socket_options)


class AsyncGuardedBackend(httpcore.AnyIOBackend):
    """Connections for HTTP clients on the event loop."""

    def __init__(self, policy: AddressPolicy) -> None:
        super().__init__()
        self._policy = policy

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:
        found = await asyncio.to_thread(checked_addresses, self._policy, host, port)
        *others, last = found
        for address in others:
            try:
                return await super().connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except CONNECT_ERRORS:
                continue
        return await super().connect_tcp(last, port, timeout, local_address, socket_options)


def checked_addresses(policy: AddressPolicy, host: str, port: int) -> list[str]:
    """The addresses of `host` that may be connected to, at least one. Blocks.

    Raises:
        Forbidden: none of them may be connected to.
        httpcore.ConnectError: the name does not resolve.
    """
    try:
        return policy.addresses(host, port)
    except OSError as error:
        raise httpcore.ConnectError(f"'{host}' does not resolve") from error
