"""`McpDoor`: MCP over Streamable HTTP, at `/mcp` of a server."""

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING

import httpx
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from onlooker.server.errors import NotInstalled
from onlooker.server.mcp.api import ServerApi
from onlooker.server.mcp.in_process import InProcessTransport

if TYPE_CHECKING:  # it needs the extra `mcp`
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from onlooker.server.mcp.sdk_server import ApiOf

BROUGHT_ON = ("authorization", "host", "traceparent", "tracestate")
"""Headers of a call that the calls made for it bring along: who asks, by which name of the server,
and for which trace."""

INSTALL = "pip install 'onlooker[mcp]'"

HERE = "http://this-server"
"""The address that calls to the app itself are made to; no name is ever looked up."""


class McpDoor:
    """Answers MCP by calls of `app`, for whoever shows a key with each.

    The SDK takes half a second to import, and is when the first client comes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._http = httpx.AsyncClient(
            transport=InProcessTransport(app), base_url=HERE, timeout=httpx.Timeout(None)
        )
        self._closing = asyncio.Event()
        self._opened: asyncio.Future[StreamableHTTPSessionManager] | None = None
        self._serving: asyncio.Task[None] | None = None

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request of a client; `check_installed` comes first."""
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
            self._serving = asyncio.create_task(self._serve(self._opened), name="mcp")
        sessions = await asyncio.shield(self._opened)
        await sessions.handle_request(scope, receive, send)

    async def close(self) -> None:
        """End what still runs. Idempotent."""
        self._closing.set()
        if self._serving is not None:
            await self._serving
        await self._http.aclose()

    async def _serve(self, opened: "asyncio.Future[StreamableHTTPSessionManager]") -> None:
        try:
            sessions = await asyncio.to_thread(_make_sessions, self._api_of)
        except Exception as error:  # an SDK that is broken, or of another version
            opened.set_exception(error)
            return
        async with sessions.run():
            opened.set_result(sessions)
            await self._closing.wait()

    def _api_of(self, request: Request | None) -> ServerApi:
        assert request is not None
        shown = {name: request.headers[name] for name in BROUGHT_ON if name in request.headers}
        return ServerApi(self._http, shown)


def check_installed() -> None:
    """Raises `NotInstalled` where the SDK is missing."""
    if find_spec("mcp") is None:
        raise NotInstalled(
            "this server does not speak MCP: its operator has to install the extra, with "
            f"{INSTALL}, and start it again"
        )


def _make_sessions(api_of: "ApiOf") -> "StreamableHTTPSessionManager":
    from onlooker.server.mcp.sdk_server import make_http_sessions

    return make_http_sessions(api_of)
