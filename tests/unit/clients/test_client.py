"""How long a client waits for the server's replies over HTTP, and what it says then."""

from collections.abc import Callable

import httpx
import pytest

from onlooker.clients.python.client import Client
from onlooker.clients.python.errors import ServerUnreachable
from onlooker.clients.python.options import ClientOptions
from onlooker.core.clock import ManualClock

OPTIONS = ClientOptions(connect_timeout_s=3.0, change_timeout_s=70.0, answer_timeout_s=50.0)


def silent(waited: list[dict[str, float]]) -> Callable[[httpx.Request], httpx.Response]:
    """A server that never replies, and notes how long it was waited for."""

    def reply(request: httpx.Request) -> httpx.Response:
        waited.append(request.extensions["timeout"])
        raise httpx.ReadTimeout("", request=request)

    return reply


async def test_a_stream_is_waited_for_as_long_as_the_server_may_take_to_make_it() -> None:
    waited: list[dict[str, float]] = []
    async with Client(options=OPTIONS, transport=httpx.MockTransport(silent(waited))) as client:
        with pytest.raises(ServerUnreachable, match="within 70 s; what was asked for may be done"):
            await client.create_stream("door")
        with pytest.raises(ServerUnreachable, match=r"GET /v1/streams/door within 3 s$"):
            await client.get_stream("door")
        with pytest.raises(ServerUnreachable, match="within 50 s"):
            await client.ask("door", "What is there?")
    assert [one["read"] for one in waited] == [70.0, 3.0, 50.0]
    assert {one["connect"] for one in waited} == {3.0}, "a server that is away is found out soon"


class Striding(ManualClock):
    """Whoever sleeps has slept."""

    async def sleep(self, duration_s: float) -> None:
        self.advance(duration_s)


@pytest.mark.parametrize(
    ("replies", "told"),
    [
        (["ok"], []),
        (["starting"] * 3 + ["ok"], ["at 0"]),
        (["starting"] * 61 + ["recovering", "ok"], ["at 0", "at 60"]),
        (["starting", "failed"], ["at 0"]),
        (["draining"], []),
        (["<html>busy</html>"], []),
        ([], []),  # nobody answers
        (["silent"], []),
        (["starting", "silent", "silent", "ok"], ["at 0"]),  # it is busy with its start
        (["starting", *["silent"] * 121], ["at 0", "at 0", "at 0"]),
    ],
)
async def test_a_server_that_starts_is_waited_for_and_tells_what_it_does(
    replies: list[str], told: list[str]
) -> None:
    asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        assert request.url.path == "/readyz"
        if asked == len(replies):
            raise httpx.ConnectError("refused")
        status, asked = replies[asked], asked + 1
        if status == "silent":
            raise httpx.ReadTimeout("busy")
        if status.startswith("<"):
            return httpx.Response(503, text=status)
        return httpx.Response(200, json={"status": status, "reason": f"at {asked - 1}"})

    said: list[str] = []
    transport = httpx.MockTransport(answer)
    async with Client(options=OPTIONS, transport=transport, clock=Striding()) as client:
        await client.until_started(said.append)
    assert (said, asked) == (told, len(replies))
