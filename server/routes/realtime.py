"""The WebSocket."""

from fastapi import APIRouter, WebSocket

from onlooker.server.gateway import Gateway
from onlooker.server.realtime.connection import serve_realtime

router = APIRouter()


@router.websocket("/v1/realtime")
async def realtime(websocket: WebSocket) -> None:
    """Live video, questions and answers; see docs/protocol.md."""
    gateway = websocket.app.state.gateway
    assert isinstance(gateway, Gateway)
    await serve_realtime(websocket, gateway)
