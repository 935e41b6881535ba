"""A real server in this process: uvicorn on a free loopback port, with the scripted engine."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from onlooker.core.clock import Clock
from onlooker.core.media import Codec
from onlooker.core.protocol.frame_header import FrameHeader, pack_frame
from onlooker.core.settings import load_settings
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import Engine
from onlooker.server.certificates import open_certificates
from onlooker.server.config import Settings
from onlooker.server.gateway import Gateway
from onlooker.server.serving import GatewayServer, address, bind, make_server
from onlooker.server.wiring import make_gateway
from tests.fakes.decoders import LocalWorkshop
from tests.fakes.pictures import Colour, encode, make_pixels
from tests.fakes.waiting import WAIT_S, limited

KEY = "a-key-for-tests"


@dataclass(slots=True)
class Served:
    """A running server, and the ways to reach it."""

    base: str
    gateway: Gateway
    server: GatewayServer

    @property
    def api(self) -> str:
        return f"{self.base}/v1"

    @property
    def realtime(self) -> str:
        return f"ws{self.base.removeprefix('http')}/v1/realtime"

    def http(self, **options: Any) -> httpx.AsyncClient:
        options = {"verify": trusting_the_world(), **options}
        return httpx.AsyncClient(base_url=self.base, timeout=WAIT_S, trust_env=False, **options)

    def ws(self, query: str = "", *, events: str | None = "all", **options: Any) -> connect:
        """A connection. What a test leaves unread is no reason not to hear the server's goodbye.
        `events`: which the server is asked to tell; None asks for none."""
        options = {"open_timeout": WAIT_S, "max_queue": None, **options}
        if events is not None:
            query = f"{query}{'&' if query else '?'}events={events}"
        return connect(f"{self.realtime}{query}", proxy=None, **options)

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value now; 0 when it was never counted."""
        return self.gateway.metrics.registry.get_sample_value(name, labels) or 0.0


@cache
def trusting_the_world() -> ssl.SSLContext:
    """The same for all clients: httpx would read every authority's certificate for each of them."""
    return httpx.create_ssl_context()


def make_settings(**overrides: Any) -> Settings:
    """Settings for tests. The names of `overrides` have ``__`` for dots: ``server__port=1``."""
    values = {
        "server.port": 0,
        "server.ack_interval_s": 0.02,
        "server.drain_s": 2.0,
        "engine.mode": "fake",
        "streams.perception.gate_threshold": 0.0,
        **{name.replace("__", "."): value for name, value in overrides.items()},
    }
    return load_settings(Settings, environ={}, overrides=values)


@asynccontextmanager
async def serving(
    *,
    engine: Engine | None = None,
    clock: Clock | None = None,
    wait: bool = True,
    decodes_in_processes: bool = False,
    **overrides: Any,
) -> AsyncIterator[Served]:
    """Run a server while the block runs, then stop it in order."""
    settings = make_settings(**overrides)
    workshop = None if decodes_in_processes else LocalWorkshop()
    gateway = make_gateway(
        settings, engine=engine or ScriptedEngine(), clock=clock, workshop=workshop
    )
    certificates = open_certificates(
        settings.server.tls,
        host=settings.server.host,
        clock=gateway.clock,
        metrics=gateway.metrics,
    )
    bound = bind(settings.server)
    ready = asyncio.Event()
    server, failures = make_server(gateway, certificates=certificates, on_ready=ready.set)
    task = asyncio.create_task(server._serve([bound]))
    try:
        if wait:
            async with limited("the server to be ready"):
                await ready.wait()
        yield Served(address(settings.server, bound), gateway, server)
    finally:
        server.should_exit = True
        async with limited("the server to stop"):
            await task
        bound.close()
        assert failures == []


def frame_message(
    payload: bytes, *, sequence: int = 1, at_s: float = 0.0, codec: Codec = Codec.JPEG, **flags: Any
) -> bytes:
    """A binary message of the realtime socket: a frame's header and `payload`."""
    header = FrameHeader(codec=codec, sequence=sequence, capture_us=round(at_s * 1e6), **flags)
    return pack_frame(header, payload)


async def next_event(ws: ClientConnection, *types: str) -> dict[str, Any]:
    """Read on to the next event of one of `types` (any, when none is given)."""
    async with limited(" or ".join(types) or "an event"):
        while True:
            event: dict[str, Any] = json.loads(await ws.recv())
            if not types or event["type"] in types:
                return event


async def send(ws: ClientConnection, event_type: str, **fields: Any) -> None:
    """Send one JSON event."""
    await ws.send(json.dumps({"type": event_type, **fields}))


def user_item(text: str, *images: str) -> Mapping[str, Any]:
    """A user's message, with pictures as data URLs, as a conversation item."""
    content: list[dict[str, str]] = [{"type": "input_text", "text": text}]
    content += [{"type": "input_image", "image_url": image} for image in images]
    return {"type": "message", "role": "user", "content": content}


def jpeg(colour: Colour = "red", *, width: int = 64, height: int = 48) -> bytes:
    """A picture of one colour."""
    return encode(make_pixels(colour, width=width, height=height))


def data_url(picture: bytes, media_type: str = "image/jpeg") -> str:
    """A picture as clients put it into JSON."""
    return f"data:{media_type};base64,{base64.b64encode(picture).decode()}"


async def errors_of(ws: ClientConnection) -> list[dict[str, Any]]:
    """The errors that came so far; returning at all shows that the connection still answers."""
    await send(ws, "ping")
    found = []
    while (event := await next_event(ws, "error", "pong"))["type"] == "error":
        found.append(event["error"])
    return found
