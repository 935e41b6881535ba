"""MCP over Streamable HTTP: what agents speak."""

import asyncio

from fastapi import APIRouter, Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onlooker.server.access import CallerGrant, ReadyGateway
from onlooker.server.errors import WrongMethod, reply_of
from onlooker.server.mcp.door import McpDoor, check_installed

router = APIRouter(prefix="/mcp", tags=["mcp"])


class McpReply(Response):
    """The reply that the MCP server of this server writes. A client that takes nothing of it for
    `send_timeout_s` seconds is let go, and what was done for it ends."""

    def __init__(self, handle: ASGIApp, *, send_timeout_s: float) -> None:
        super().__init__()
        self._handle = handle
        self._send_timeout_s = send_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def bounded(message: Message) -> None:
            async with asyncio.timeout(self._send_timeout_s):
                await send(message)

        try:
            await self._handle(scope, receive, bounded)
        except* TimeoutError:
            pass


@router.post("", include_in_schema=False)
async def speak(gateway: ReadyGateway, grant: CallerGrant, request: Request) -> Response:
    """One message of an MCP client. What it may do is checked by the calls that it leads to."""
    check_installed()
    door = request.app.state.mcp
    assert isinstance(door, McpDoor)
    return McpReply(door.handle, send_timeout_s=gateway.settings.server.send_timeout_s)


@router.api_route("", methods=["GET", "HEAD", "PUT", "DELETE"], include_in_schema=False)
async def refuse_others() -> Response:
    """Clients ask for a stream of messages or end a session; there are none of either here."""
    status, headers, body = reply_of(WrongMethod("MCP comes here by POST, and has no sessions"))
    return Response(body, status, {**headers, "Allow": "POST"})
