"""Attacks with sources that the server pulls: ones that drip, ones whose pictures cost too much to
decode, and names that are none."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import httpx

from onlooker.benchmarks.attacks import bombs
from onlooker.benchmarks.attacks.tally import AttackTally
from onlooker.benchmarks.attacks.target import AttackTarget
from onlooker.benchmarks.lone_server import HOST

NUM_SOURCES = 16
"""As many as the server pulls at a time by default."""
OPEN_TIMEOUT_S = 2.0
"""`streams.sources.open_timeout_s` of the server that is attacked."""
SLACK_S = 1.0
CREATED = 201
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 1000000\r\n\r\n"

NUM_COSTLY = 4
"""Cameras of each kind."""
COSTLY_FPS = 5.0
MIN_COSTLY_S = 5.0
STILL_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n"
)
VIDEO_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n"
    b"Connection: close\r\n\r\n"
)
PART_HEAD = b"--b\r\nContent-Type: image/jpeg\r\n\r\n"

HOSTILE_URLS = (
    "http://a..example/v.mp4", "http://.example/v.mp4", "http://./v.mp4", "https://..",
    "http:///v.mp4", "http://" + "a" * 64 + ".invalid/v.mp4", "rtsp://" + "b" * 64 + "/live",
    "http://" + "a." * 200 + "invalid/v.mp4", "http://" + "\u00e4" * 80 + ".invalid/v.mp4",
    "http://[::1/v.mp4", "http://127.0.0.1:99999/v.mp4", "http://127.0.0.1:-1/v.mp4",
    "http://127.0.0.1:x/v.mp4", "http://\u0000.invalid/v.mp4", "http://a b.invalid/v.mp4",
    "http://user:pass@@/v.mp4", "http://\u202e.invalid/v.mp4", "http://\ud7ff\uffff/v.mp4",
    "rtsp://a..b/live", "http:", "://", "http", "file:///etc/passwd", "gopher://127.0.0.1/",
)  # fmt: skip
"""Addresses that must be refused with 4xx: empty and over-long labels, bad ports, blanks. None has
a name that could be looked up."""
STRANGE_URLS = ("http://xn--.invalid/v", "http://[::1%25lo]/v", "http://%00/v", "http://%/v")
"""Addresses that may be refused, or taken for a host that does not answer yet."""


async def dripping_sources(target: AttackTarget, tally: AttackTally) -> None:
    """Sixteen sources that send a byte a second; each must be let go in `open_timeout_s`."""
    async with _drip() as drip, target.http() as client:
        names = [f"drip-{index}" for index in range(NUM_SOURCES)]
        replies = await asyncio.gather(
            *(_pull(client, name, drip.url) for name in names), return_exceptions=True
        )
        for reply in replies:
            if isinstance(reply, int):
                tally.noted[f"status {reply}"] += 1
        await asyncio.sleep(max(target.seconds, OPEN_TIMEOUT_S + SLACK_S))
        for held_s in drip.held_s():
            was_let_go = held_s <= OPEN_TIMEOUT_S + SLACK_S
            (tally.held if was_let_go else tally.gave_way)["connection"] += 1
        await asyncio.gather(
            *(client.delete(f"/v1/streams/{name}") for name in names), return_exceptions=True
        )


async def costly_sources(target: AttackTarget, tally: AttackTally) -> None:
    """Cameras whose pictures take seconds to decode, as motion JPEG and to be fetched one by one;
    each source must be told so."""
    show = partial(_show, bombs.endless_scans())
    async with _served(show) as url, target.http() as client:
        names = [f"costly-{index}" for index in range(2 * NUM_COSTLY)]
        for index, name in enumerate(names):
            video, still = {"url": url}, {"url": f"{url}still", "every_s": 0.5}
            status = await _ask_for(client, name, still if index % 2 else video)
            tally.noted[f"status {status}"] += 1
        await asyncio.sleep(max(target.seconds, MIN_COSTLY_S))
        for name in names:
            source = (await client.get(f"/v1/streams/{name}")).json().get("source") or {}
            state = source.get("state", "none")
            (tally.gave_way if state in ("playing", "none") else tally.held)[f"source {state}"] += 1
            await client.delete(f"/v1/streams/{name}")


async def hostile_hosts(target: AttackTarget, tally: AttackTally) -> None:
    """Streams with sources of hostile names; all must be refused and leave nothing behind."""
    async with target.http() as client:
        for index, url in enumerate(HOSTILE_URLS + STRANGE_URLS):
            name = f"host-{index}"
            try:
                status = await _pull(client, name, url)
            except httpx.TransportError:  # after an internal error the server hangs up
                tally.gave_way["hung up"] += 1
                continue
            if status == CREATED and url in STRANGE_URLS:
                tally.noted["strange name taken"] += 1
                await client.delete(f"/v1/streams/{name}")
            else:
                tally.refusal(status)
        listed = (await client.get("/v1/streams?limit=100")).json()["data"]
        for stream in listed:
            if stream["id"].startswith("host-"):
                tally.gave_way["stream left behind"] += 1
                await client.delete(f"/v1/streams/{stream['id']}")


async def _pull(client: httpx.AsyncClient, name: str, url: str) -> int:
    return await _ask_for(client, name, {"url": url})


async def _ask_for(client: httpx.AsyncClient, name: str, source: Mapping[str, object]) -> int:
    reply = await client.post("/v1/streams", json={"id": name, "source": source})
    return reply.status_code


async def _show(picture: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request with a picture, or with the same one again and again."""
    with suppress(OSError, asyncio.IncompleteReadError):
        request = await reader.readuntil(b"\r\n\r\n")
        if request.startswith(b"GET /still "):
            writer.write(STILL_HEAD % len(picture) + picture)
            await writer.drain()
        else:
            writer.write(VIDEO_HEAD)
            while not reader.at_eof():
                writer.write(PART_HEAD + picture + b"\r\n")
                await writer.drain()
                await asyncio.sleep(1 / COSTLY_FPS)
    writer.close()


@dataclass(slots=True)
class _Drip:
    """A server on loopback that begins an answer and goes on with a byte a second."""

    url: str = ""
    begun_s: dict[int, float] = field(default_factory=dict)
    ended_s: dict[int, float] = field(default_factory=dict)
    writers: dict[int, asyncio.StreamWriter] = field(default_factory=dict)
    all_ended: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, loop = next(self.numbers), asyncio.get_running_loop()
        self.begun_s[number] = loop.time()
        self.writers[number] = writer
        self.all_ended.clear()
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(HEAD)
                while not reader.at_eof():
                    writer.write(b"\0")
                    await writer.drain()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(1.0):
                            await reader.read(1)
        finally:
            self.ended_s[number] = loop.time()
            del self.writers[number]
            writer.close()
            if not self.writers:
                self.all_ended.set()

    async def end(self) -> None:
        """Hang up on everybody."""
        if self.writers:
            for writer in self.writers.values():
                writer.transport.abort()
            await self.all_ended.wait()

    def held_s(self) -> list[float]:
        """How long each connection lasted, those still open until now."""
        now_s = asyncio.get_running_loop().time()
        return [self.ended_s.get(n, now_s) - begun_s for n, begun_s in self.begun_s.items()]


@asynccontextmanager
async def _served(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """The address of a server on loopback."""
    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield f"http://{HOST}:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


@asynccontextmanager
async def _drip() -> AsyncIterator[_Drip]:
    drip = _Drip()
    server = await asyncio.start_server(drip.serve, HOST, 0)
    drip.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}/v.mp4"
    try:
        yield drip
    finally:
        server.close()
        await drip.end()
