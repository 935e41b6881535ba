"""A connection that ends before it has begun."""

from typing import Any, cast

import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect

from onlooker.engine.fake import ScriptedEngine
from onlooker.server.gateway import Phase
from onlooker.server.realtime.connection import serve_realtime
from onlooker.server.wiring import make_gateway
from tests.fakes.served import make_settings


@pytest.mark.parametrize(
    ("error", "is_ours"),
    [
        (WebSocketDisconnect(1006), False),
        (ConnectionResetError("gone"), False),
        (KeyError("unforeseen"), True),
    ],
)
async def test_a_peer_that_leaves_before_it_is_accepted_leaves_no_stream(
    error: Exception, is_ours: bool, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = make_gateway(make_settings(), engine=ScriptedEngine())
    await gateway.hub.start(lambda line: None)
    gateway.phase = Phase.READY
    opened: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        if message["type"] == "websocket.accept":
            opened.append(len(gateway.hub.streams()))
            raise error

    scope = {
        "type": "websocket", "path": "/v1/realtime", "query_string": b"", "headers": [],
        "subprotocols": [], "state": {}, "extensions": {},
    }  # fmt: skip
    websocket = WebSocket(cast(Any, scope), receive, send)

    await serve_realtime(websocket, gateway)
    assert opened == [1]
    assert gateway.hub.streams() == []
    assert any(record.levelname == "ERROR" for record in caplog.records) == is_ours
    await gateway.hub.close(deadline_s=0.0)
