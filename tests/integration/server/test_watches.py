"""Watches over the wire: created in words, alerts to every subscriber once and in order."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from tests.fakes.served import Served, errors_of, frame_message, jpeg, next_event, send, serving
from tests.fakes.waiting import limited, until

ALONE: dict[str, Any] = {"streams__perception__max_pair_gap_s": 0.02}
"""One clip for every frame."""

RED = {"id": "red", "condition": "tell me when it is red"}
HOUSE = "/v1/streams/house"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(**ALONE) as running:
        yield running


async def alerts(ws: ClientConnection, count: int) -> list[dict[str, Any]]:
    return [await next_event(ws, "stream.alert", "error") for _ in range(count)]


def seen(events: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(e["alert"]["number"], e["alert"]["evidence"]["end_s"]) for e in events]


async def test_a_watch_created_over_the_websocket_alerts_every_viewer(served: Served) -> None:
    async with served.ws("?stream=house") as feeder, served.ws("?stream=house") as viewer:
        await send(feeder, "stream.watch.create", watch={**RED, "include_frame": True})
        for ws in (feeder, viewer):
            told = await next_event(ws, "stream.watch", "error")
            assert (told["change"], told["watch_id"]) == ("created", "red")
            assert told["watch"]["state"] == "active"
        async with served.http() as http:
            listed = (await http.get(f"{HOUSE}/watches")).json()["data"]
            assert [watch["id"] for watch in listed] == ["red"]
        pushing = asyncio.create_task(push(served, feeder, "blue", "red", "blue", "red"))
        found = await alerts(viewer, 2)
        await pushing
        assert seen(found) == [(1, 1.0), (2, 3.0)]
        alert = found[0]["alert"]
        assert alert["watch"] == "red"
        assert alert["confidence"] == pytest.approx(0.95)
        assert alert["text"] == RED["condition"]
        assert alert["frame"].startswith("/9j/")
        assert seen(await alerts(feeder, 2)) == seen(found)


async def push(served: Served, ws: ClientConnection, *colours: str, first: int = 0) -> None:
    """One frame after another, each when the one before it has become a clip."""
    stream = served.gateway.hub.get("house")
    for index, colour in enumerate(colours, first):
        num_clips = stream.status().clips + 1
        await ws.send(frame_message(jpeg(colour), sequence=index, at_s=index))
        await until(lambda: stream.status().clips == num_clips)  # noqa: B023


async def sse_alerts(
    http: httpx.AsyncClient, count: int, *, after: str | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """(event id, event) of the next alerts of the stream."""
    headers = {} if after is None else {"Last-Event-ID": after}
    found: list[tuple[str, dict[str, Any]]] = []
    async with limited("alerts"), http.stream("GET", f"{HOUSE}/events", headers=headers) as r:
        event_id = ""
        async for line in r.aiter_lines():
            if line.startswith("id: "):
                event_id = line[4:]
            if line.startswith("data: ") and '"type":"stream.alert"' in line:
                found.append((event_id, json.loads(line[6:])))
                if len(found) == count:
                    break
    return found


async def test_who_comes_back_gets_what_was_missed_once_and_in_order(served: Served) -> None:
    async with served.http() as http, served.ws("?stream=house") as feeder:
        assert (await http.post(f"{HOUSE}/watches", json=RED)).status_code == 201
        async with served.ws("?stream=house") as viewer:
            await push(served, feeder, "blue", "red")
            (first,) = await alerts(viewer, 1)
        await push(served, feeder, "blue", "red", "blue", "red", first=2)  # nobody listens
        token = first["event_number"]
        async with served.ws(f"?stream=house&after={token}") as viewer:
            missed = await alerts(viewer, 2)
            await push(served, feeder, "blue", "red", first=6)
            missed += await alerts(viewer, 1)
        assert seen(missed) == [(2, 3.0), (3, 5.0), (4, 7.0)]
        by_sse = await sse_alerts(http, 3, after=str(token))
        assert seen([event for _, event in by_sse]) == seen(missed)
        again = await sse_alerts(http, 1, after=by_sse[1][0])
        assert again[0][1]["alert"]["id"] == by_sse[2][1]["alert"]["id"]
        listed = (await http.get(f"{HOUSE}/alerts")).json()
        assert [alert["number"] for alert in listed["data"]] == [1, 2, 3, 4]
        after = (await http.get(f"{HOUSE}/alerts?after={listed['last_event']}")).json()
        assert after["data"] == []
        everything = await sse_alerts(http, 4, after="0")
        assert [event["alert"]["number"] for _, event in everything] == [1, 2, 3, 4]


async def test_watches_survive_the_connection_that_made_them(served: Served) -> None:
    async with served.ws("?stream=house") as maker:
        await send(maker, "stream.watch.create", watch=RED)
        await next_event(maker, "stream.watch")
    async with served.ws("?stream=house") as other:
        await send(other, "stream.watch.list")
        told = await next_event(other, "stream.watches", "error")
        assert [watch["id"] for watch in told["watches"]] == ["red"]
        await push(served, other, "red")
        assert seen(await alerts(other, 1)) == [(1, 0.0)]


async def test_a_watch_is_changed_paused_and_deleted_over_http(served: Served) -> None:
    async with served.http() as http, served.ws("?stream=house") as feeder:
        made = (await http.post(f"{HOUSE}/watches", json=RED)).json()
        assert (made["kind"], made["trigger"]) == ("alert", ["change", "yes_no"])
        paused = await http.patch(f"{HOUSE}/watches/red", json={"paused": True, "cooldown_s": 3})
        assert (paused.json()["state"], paused.json()["cooldown_s"]) == ("paused", 3.0)
        await push(served, feeder, "red", "blue")
        assert (await http.get(f"{HOUSE}/watches/red")).json()["counts"]["clips"] == 0
        changed = await http.patch(
            f"{HOUSE}/watches/red", json={"paused": False, "condition": "it is blue"}
        )
        assert changed.json()["asks"].find("it is blue") > 0
        assert (await http.delete(f"{HOUSE}/watches/red")).status_code == 204
        assert (await http.get(f"{HOUSE}/watches/red")).status_code == 404
        changes = [(await next_event(feeder, "stream.watch"))["change"] for _ in range(4)]
        assert changes == ["created", "updated", "updated", "deleted"]


# ---- bad input ----


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"condition": ""}, 400, "condition"),
        ({"condition": "word " * 10_000}, 413, "condition"),
        ({}, 400, "condition"),
        ({"condition": "x", "json_schema": {"type": "banana"}}, 400, "json_schema"),
        ({"condition": "x", "json_schema": "text"}, 400, "json_schema"),
        ({"condition": "x", "trigger": ["magic"]}, 400, "trigger.0"),
        ({"condition": "x", "colour": 1}, 400, "colour"),
        ({"condition": "x", "webhook": {"url": "http://127.0.0.1:9/"}}, 403, "webhook.url"),
        ({"condition": "x", "webhook": {"url": "http://[::1]/"}}, 403, "webhook.url"),
        ({"condition": "x", "webhook": {"url": "http://169.254.169.254/x"}}, 403, "webhook.url"),
        ({"condition": "x", "webhook": {"url": "file:///etc/passwd"}}, 400, "webhook.url"),
        ({"condition": "x", "webhook": {"url": "nonsense"}}, 400, "webhook.url"),
    ],
)
async def test_what_makes_no_watch_is_refused_with_the_field(
    served: Served, body: dict[str, Any], status: int, param: str
) -> None:
    async with served.http() as http, served.ws("?stream=house") as ws:
        reply = await http.post(f"{HOUSE}/watches", json=body)
        assert reply.status_code == status, reply.text
        assert reply.json()["error"]["param"] == param
        await send(ws, "stream.watch.create", watch=body)
        (error,) = await errors_of(ws)
        assert error["param"].endswith(param)
        assert (await http.get(f"{HOUSE}/watches")).json()["data"] == []


async def test_a_thousand_watches_meet_the_limit_and_the_stream_goes_on() -> None:
    async with (
        serving(watches__max_per_stream=3, **ALONE) as served,
        served.http() as http,
        served.ws("?stream=house") as ws,
    ):
        codes = [
            (await http.post(f"{HOUSE}/watches", json={"condition": "it is red"})).status_code
            for _ in range(50)
        ]
        assert codes == [201] * 3 + [413] * 47
        await push(served, ws, "red")
        assert len({e["alert"]["watch"] for e in await alerts(ws, 3)}) == 3


# ---- webhooks ----


class Receiver:
    """An HTTP server that answers as it is told, and notes what it got."""

    def __init__(self, statuses: list[int]) -> None:
        self.statuses = statuses
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")[1:]
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers["content-length"]))
                status = self.statuses.pop(0) if self.statuses else 200
                if status:
                    self.got.append((headers, body))
                    writer.write(f"HTTP/1.1 {status} OK\r\nContent-Length: 0\r\n\r\n".encode())
                    await writer.drain()
                else:
                    break  # hangs up without an answer
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    def numbers(self) -> list[int]:
        return [json.loads(body)["alert"]["number"] for _, body in self.got]


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    receiver = Receiver(list(statuses))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield receiver
    finally:
        server.close()


HOOKS: dict[str, Any] = {
    "watches__webhooks__allow_private": True,
    "watches__webhooks__backoff_min_s": 0.01,
    "watches__webhooks__backoff_max_s": 0.02,
    "watches__webhooks__timeout_s": 2.0,
    **ALONE,
}


async def test_a_webhook_gets_signed_alerts_once_and_in_order_through_failures() -> None:
    async with (
        receiving(200, 0, 503, 200) as hook,
        serving(**HOOKS) as served,
        served.http() as http,
        served.ws("?stream=house") as feeder,
    ):
        webhook = {"url": hook.url, "secret": "s3cret"}
        made = await http.post(f"{HOUSE}/watches", json={**RED, "webhook": webhook})
        assert made.json()["webhook_url"] == hook.url
        assert "s3cret" not in made.text
        await push(served, feeder, "red", "blue", "red", "blue", "red")
        await until(lambda: len([n for n in hook.numbers() if n == 3]) == 1)
    delivered = [body for headers, body in hook.got if headers["onlooker-attempt"] == "1"]
    assert hook.numbers() == [1, 2, 2, 3], "the second was tried again until it was taken"
    assert len(delivered) == 2
    headers, body = hook.got[0]
    stamp, _, digest = headers["onlooker-signature"].partition(",")
    signed = stamp.removeprefix("t=").encode() + b"." + body
    assert digest == "v1=" + hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
    told = json.loads(body)
    assert (told["type"], told["stream"]) == ("stream.alert", "house")
    assert headers["onlooker-delivery"] == told["alert"]["id"]


async def test_a_dead_webhook_holds_nothing_up() -> None:
    limits = {**HOOKS, "watches__webhooks__max_attempts": 100}
    async with (
        receiving(*[0] * 1000) as dead,
        receiving() as good,
        serving(**limits) as served,
        served.http() as http,
        served.ws("?stream=house") as feeder,
    ):
        for name, hook in (("dead", dead), ("good", good)):
            body = {"id": name, "condition": "it is red", "webhook": {"url": hook.url}}
            assert (await http.post(f"{HOUSE}/watches", json=body)).status_code == 201
        await push(served, feeder, "red", "blue", "red")
        assert len(await alerts(feeder, 4)) == 4
        await until(lambda: len(good.got) == 2)
        assert dead.got == []


async def test_an_alert_that_a_receiver_refuses_is_given_up_and_the_next_one_comes() -> None:
    async with (
        receiving(410, 200) as hook,
        serving(**HOOKS) as served,
        served.http() as http,
        served.ws("?stream=house") as feeder,
    ):
        await http.post(f"{HOUSE}/watches", json={**RED, "webhook": {"url": hook.url}})
        await push(served, feeder, "red", "blue", "red")
        await until(lambda: len(hook.got) == 2)
        assert hook.numbers() == [1, 2]
        name = "onlooker_webhook_deliveries_total"
        await until(lambda: served.metric(name, outcome="delivered") == 1)
        assert served.metric(name, outcome="given_up") == 1
