"""A call over one connection to another server, whatever that server does."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from onlooker.core.clock import ManualClock
from onlooker.core.metrics import Metrics
from onlooker.server.fleet.hop import MAX_HEAD_BYTES, Hop, HopFailed
from onlooker.server.fleet.hop_pool import HopPool
from onlooker.server.fleet.reach import Reach, Site
from tests.fakes.waiting import WAIT_S, limited, until

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"
HEADERS = [(b"host", b"there")]


class There:
    """A server that does what a test says, and the connections to it."""

    def __init__(self, site: Site, pool: HopPool) -> None:
        self.site, self.pool = site, pool
        self.num_connections = 0


@asynccontextmanager
async def there(
    serve: Serve, *, silence_s: float = WAIT_S, max_idle: int = 4
) -> AsyncIterator[There]:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.num_connections += 1
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    reach = Reach(limit_s=WAIT_S, hold_s=1.0, clock=ManualClock(), metrics=Metrics())
    pool = HopPool(
        reach,
        trust=ssl.create_default_context(),
        silence_s=silence_s,
        max_idle=max_idle,
        idle_s=WAIT_S,
    )
    found = There(Site("127.0.0.1", server.sockets[0].getsockname()[1]), pool)
    async with server:
        yield found
        pool.close()
        server.close()


def saying(*replies: bytes) -> Serve:
    """Answers one call after another, on any connection, and then closes it."""
    left = list(replies)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while left:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(left.pop(0))

    return serve


async def call(found: There, method: str = "GET") -> tuple[int, bytes]:
    async with limited("the reply"):
        hop = await found.pool.take(found.site)
        try:
            status, _ = await hop.ask(method, b"/", HEADERS)
            return status, b"".join([piece async for piece in hop.pieces()])
        finally:
            found.pool.give_back(hop, found.site)


async def test_a_connection_is_used_again() -> None:
    async with there(saying(HELLO, HELLO)) as found:
        assert [await call(found), await call(found)] == [(200, b"hello")] * 2
        assert found.num_connections == 1


@pytest.mark.parametrize(
    "reply",
    [
        OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"\r\nhello",  # its end is that of the connection
    ],
)
async def test_a_connection_that_ends_with_its_reply_is_not_used_again(reply: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with there(serve) as found:
        assert [await call(found), await call(found)] == [(200, b"hello")] * 2
        assert found.num_connections == 2


async def test_interim_replies_are_passed_over() -> None:
    async with there(saying(b"HTTP/1.1 102 Processing\r\nX: 1\r\n\r\n" + HELLO)) as found:
        assert await call(found) == (200, b"hello")


async def test_chunks_and_trailers_are_understood() -> None:
    chunks = b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nLate: header\r\n\r\n"
    async with there(saying(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)) as found:
        hop = await found.pool.take(found.site)
        _, headers = await hop.ask("GET", b"/", HEADERS)
        body = b"".join([piece async for piece in hop.pieces()])
    assert (body, headers) == (b"hello", [(b"transfer-encoding", b"chunked")])


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"", "closed"),
        (b"SSH-2.0-OpenSSH\r\n", "no reply"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "no r"),
        (OK + b"x: " + b"y" * 2 * MAX_HEAD_BYTES, "head"),
    ],
)
async def test_what_is_no_reply_is_said_to_be_none(reply: bytes, why: str) -> None:
    async with there(saying(reply)) as found:
        with pytest.raises(HopFailed, match=why):
            await call(found)


async def test_a_reply_that_breaks_off_is_not_taken_for_whole() -> None:
    async with there(saying(OK + b"Content-Length: 50\r\n\r\nhello")) as found:
        with pytest.raises(HopFailed):
            await call(found)


async def test_silence_ends_a_call() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with there(serve, silence_s=0.02) as found:
        with pytest.raises(HopFailed, match="nothing came"):
            await call(found)


async def test_what_nobody_asked_for_closes_a_connection() -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HELLO + HELLO)
        await reader.read()
        gone.set()

    async with there(serve) as found:
        assert await call(found) == (200, b"hello")
        async with limited("the connection to be closed"):
            await gone.wait()


async def test_a_body_is_sent_as_it_comes_and_no_faster_than_it_is_taken() -> None:
    num_given, piece = 0, b"x" * 65536
    reads = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reads.wait()
        received = await reader.readexactly(200 * len(piece))
        assert received == 200 * piece
        writer.write(HELLO)
        await reader.read()

    async def body() -> AsyncIterator[bytes]:
        nonlocal num_given
        for _ in range(200):
            num_given += 1
            yield piece

    async with there(serve) as found:
        hop = await found.pool.take(found.site)
        length = [*HEADERS, (b"content-length", b"%d" % (200 * len(piece)))]
        asking = asyncio.create_task(hop.ask("POST", b"/", length, body()))
        before = -1
        while num_given > before:  # the socket and what asyncio keeps for it are full
            before = num_given
            for _ in range(20):
                await asyncio.sleep(0)
        assert num_given < 200
        reads.set()
        async with limited("the reply"):
            assert (await asking)[0] == 200


async def test_an_owner_that_replies_early_is_not_sent_the_rest() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        await until(lambda: hop._has_head)
        yield b"y"
        raise AssertionError("nobody wants more")

    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
    async with there(saying(refusal, refusal)) as found:
        hop: Hop = await found.pool.take(found.site)
        async with limited("the refusal"):
            status, _ = await hop.ask("POST", b"/", HEADERS, body(), is_chunked=True)
        assert status == 413
        assert [piece async for piece in hop.pieces()] == []
        found.pool.give_back(hop, found.site)
        assert not hop.is_free


async def test_what_fails_in_the_body_is_raised_and_the_connection_goes() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        raise ValueError("too large")

    async with there(saying(HELLO)) as found:
        hop = await found.pool.take(found.site)
        with pytest.raises(ValueError, match="too large"):
            await hop.ask("POST", b"/", HEADERS, body(), is_chunked=True)
        found.pool.give_back(hop, found.site)
        assert not hop.is_free


async def test_of_connections_that_nobody_uses_the_oldest_go() -> None:
    async with there(saying(*[HELLO] * 3), max_idle=2) as found:
        hops = [await found.pool.take(found.site) for _ in range(3)]
        for hop in hops:
            await hop.ask("GET", b"/", HEADERS)
            assert [piece async for piece in hop.pieces()] == [b"hello"]
        for hop in hops:
            found.pool.give_back(hop, found.site)
        assert [hop.is_free for hop in hops] == [False, True, True]


def test_it_works_on_the_loop_that_servers_run_on() -> None:
    """Whose transports are not asyncio's."""
    body = b"x" * (4 << 20)
    large = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body

    async def talk() -> None:
        async with there(saying(HELLO, large, HELLO)) as found:
            assert await call(found) == (200, b"hello")
            hop = await found.pool.take(found.site)
            await hop.ask("GET", b"/", HEADERS)
            await until(lambda: hop._is_paused)
            assert b"".join([piece async for piece in hop.pieces()]) == body
            found.pool.give_back(hop, found.site)
            assert await call(found) == (200, b"hello")
            assert found.num_connections == 1

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(talk())
