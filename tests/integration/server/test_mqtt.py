"""A broker of MQTT is told what happens on streams: a real one, with whatever can happen to it."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from onlooker.server.self_signed import TRUST_FILE, self_signed_file
from tests.fakes.mqtt_broker import Told, broker, free_port, line_to, make_user, subscribed
from tests.fakes.served import Served, serving
from tests.fakes.waiting import until
from tests.integration.server.test_watches import ALONE, HOUSE, RED, push

BASE = "onlooker/streams/default/house"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    with broker(tmp_path) as running:
        yield running


@asynccontextmanager
async def telling(port: int, **settings: Any) -> AsyncIterator[Served]:
    """A server that tells the broker at a port of this machine."""
    quick: dict[str, Any] = {
        **ALONE,
        "mqtt__host": "127.0.0.1",
        "mqtt__port": port,
        "mqtt__interval_s": 0.02,
        "mqtt__backoff_min_s": 0.02,
        "mqtt__backoff_max_s": 0.05,
    }
    async with serving(**quick | settings) as served:
        yield served


async def make_watch(served: Served, **options: Any) -> None:
    async with served.http() as http:
        reply = await http.post(f"{HOUSE}/watches", json={**RED, **options})
        assert reply.status_code == 201, reply.text


def status_topic(served: Served) -> str:
    return f"onlooker/servers/{served.gateway.name}/status"


def numbers(told: Told) -> list[int]:
    return [json.loads(one)["alert"]["number"] for one in told.all_of(f"{BASE}/alert")]


async def test_an_alert_is_told_once_after_its_picture_and_turns_its_watch_on(port: int) -> None:
    async with subscribed(port) as told, telling(port) as served, served.ws("?stream=house") as ws:
        await make_watch(served, include_frame=True)
        await told.until(f"{BASE}/watches/red")
        assert told.json(f"{BASE}/watches/red")["state"] == "OFF"
        await push(served, ws, "blue", "red")
        await until(lambda: told.json(f"{BASE}/watches/red").get("state") == "ON")
        await told.until(f"{BASE}/alert")
        topics = [topic for topic, _, _ in told.messages]
        alert_at = topics.index(f"{BASE}/alert")
        assert topics.index(f"{BASE}/picture") < alert_at
        assert told.held[f"{BASE}/picture"].startswith(b"\xff\xd8")
        alert = told.json(f"{BASE}/alert")["alert"]
        assert (alert["watch"], alert["text"]) == ("red", RED["condition"])
        assert "frame" not in alert
        assert told.json(f"{BASE}/watches/red")["attributes"]["alert"]["id"] == alert["id"]
        await push(served, ws, "blue", first=2)
        await until(lambda: told.json(f"{BASE}/watches/red").get("state") == "OFF")
        await push(served, ws, "red", first=3)
        await until(lambda: numbers(told) == [1, 2])
        assert served.metric("onlooker_mqtt_alerts_total", outcome="delivered") == 2
        assert told.held[status_topic(served)] == b"online"
    assert told.held[status_topic(served)] == b"offline"


async def test_the_picture_is_the_one_of_the_album_where_an_alert_brings_none(port: int) -> None:
    async with subscribed(port) as told, telling(port) as served, served.ws("?stream=house") as ws:
        await make_watch(served)
        await push(served, ws, "blue", "red")
        await told.until(f"{BASE}/alert")
        async with served.http() as http:
            kept = await http.get(f"{HOUSE}/picture?at=1.0")
        assert told.held[f"{BASE}/picture"] == kept.content


async def test_state_and_answers_are_told_and_follow_what_happens(port: int) -> None:
    async with subscribed(port) as told, telling(port) as served, served.http() as http:
        async with served.ws("?stream=house") as ws:
            await push(served, ws, "blue")
            await until(lambda: told.held.get(f"{BASE}/availability") == b"online")
            await until(lambda: told.json(f"{BASE}/state").get("source") == "playing")
            assert told.json(f"{BASE}/state")["health"] == "ok"
            await http.post(f"{HOUSE}/questions", json={"question": "What is there?"})
            await told.until(f"{BASE}/answer")
            answer = told.json(f"{BASE}/answer")
            assert answer["state"] == answer["attributes"]["text"]
        await until(lambda: told.json(f"{BASE}/state").get("source") == "ended")


async def test_a_stream_that_is_not_chosen_is_not_told(port: int) -> None:
    async with (
        subscribed(port) as told,
        telling(port, mqtt__streams=["door-*"]) as served,
        served.http() as http,
    ):
        for name in ("house", "door-1"):
            assert (await http.post("/v1/streams", json={"id": name})).status_code == 201
        await told.until("onlooker/streams/default/door-1/state")
        assert not [topic for topic in told.held if "house" in topic]


async def test_what_is_deleted_goes_from_the_broker_too(port: int) -> None:
    async with subscribed(port) as told, telling(port) as served, served.http() as http:
        async with served.ws("?stream=house") as ws:
            await make_watch(served, include_frame=True)
            await push(served, ws, "blue", "red")
            await told.until(f"{BASE}/alert")
            await until(lambda: "alert" in told.json(f"{BASE}/watches/red").get("attributes", {}))
            assert (await http.delete(f"{HOUSE}/memory")).status_code == 200
            await until(lambda: not {f"{BASE}/alert", f"{BASE}/picture"} & set(told.held))
            await until(lambda: "alert" not in told.json(f"{BASE}/watches/red")["attributes"])
        assert (await http.delete(HOUSE)).status_code in (200, 204)
        await until(lambda: [*told.held] == [status_topic(served)])


async def test_a_stream_that_may_come_back_is_away_and_then_there_again(port: int) -> None:
    short = {"streams__stream_idle_s": 0.2}
    async with subscribed(port) as told, telling(port, **short) as served:
        async with served.ws("?stream=house"):
            await until(lambda: told.held.get(f"{BASE}/availability") == b"online")
        await until(lambda: told.held.get(f"{BASE}/availability") == b"offline")
        assert f"{BASE}/state" in told.held
        async with served.ws("?stream=house"):
            await until(lambda: told.held.get(f"{BASE}/availability") == b"online")


async def test_alerts_wait_for_a_broker_that_is_away_and_streams_do_not(tmp_path: Path) -> None:
    port = free_port()
    async with telling(port) as served, served.ws("?stream=house") as ws:
        await make_watch(served)
        await push(served, ws, "red", "blue", "red", "blue", "red")
        await until(lambda: served.metric("onlooker_mqtt_alerts_waiting") == 3)
        assert served.metric("onlooker_mqtt_connected") == 0
        with broker(tmp_path, port=port):
            async with subscribed(port) as told:
                await until(lambda: 3 in numbers(told))
                await until(lambda: served.metric("onlooker_mqtt_alerts_waiting") == 0)
                alerts = [n for n in numbers(told) if n]
                assert alerts == sorted(set(alerts)), "each once, in order"
                await told.until(f"{BASE}/watches/red")


async def test_of_too_many_alerts_the_oldest_are_given_up_and_counted() -> None:
    async with (
        telling(free_port(), mqtt__max_queued=2) as served,
        served.ws("?stream=house") as ws,
    ):
        await make_watch(served)
        await push(served, ws, "red", "blue", "red", "blue", "red")
        await until(lambda: served.metric("onlooker_mqtt_alerts_total", outcome="dropped") == 1)
        assert served.metric("onlooker_mqtt_alerts_waiting") == 2


async def test_a_broker_that_has_lost_everything_is_told_again(tmp_path: Path) -> None:
    port = free_port()
    async with telling(port) as served, served.ws("?stream=house") as ws:
        with broker(tmp_path, port=port):
            async with subscribed(port) as told:
                await make_watch(served)
                await push(served, ws, "blue")
                await told.until(f"{BASE}/watches/red")
        with broker(tmp_path, port=port):
            async with subscribed(port) as told:
                await told.until(f"{BASE}/watches/red")
                await told.until(f"{BASE}/state")


async def test_a_broker_that_takes_nothing_is_let_go_and_no_alert_is_told_twice(port: int) -> None:
    async with (
        line_to(port) as line,
        subscribed(port) as told,
        telling(line.port, mqtt__timeout_s=0.5) as served,
        served.ws("?stream=house") as ws,
    ):
        await make_watch(served)
        await push(served, ws, "red", "blue")
        await until(lambda: numbers(told) == [1])
        await told.until(f"{BASE}/watches/red")
        line.hold_up()
        await push(served, ws, "red", "blue", "red", first=2)
        failures = served.metric("onlooker_mqtt_failures_total")
        await until(lambda: served.metric("onlooker_mqtt_failures_total") > failures)
        line.cut()
        await until(lambda: 3 in numbers(told))
        assert numbers(told) == [1, 2, 3]


async def test_the_broker_tells_that_a_server_has_vanished(port: int) -> None:
    async with line_to(port) as line, subscribed(port) as told, telling(line.port) as served:
        await until(lambda: told.held.get(status_topic(served)) == b"online")
        line.cut()
        await until(lambda: b"offline" in told.all_of(status_topic(served)))
        await until(lambda: told.held.get(status_topic(served)) == b"online")


async def test_alerts_that_were_not_told_before_a_restart_are_told_after_it_and_no_other(
    tmp_path: Path,
) -> None:
    kept = {"cache_store__disk__path": str(tmp_path / "kept")}
    port = free_port()
    with ExitStack() as stack:
        async with telling(port, **kept) as served, served.ws("?stream=house&persistent=1") as ws:
            await make_watch(served)
            stack.enter_context(broker(tmp_path, "allow_anonymous true", port=port))
            async with subscribed(port) as told:
                await push(served, ws, "red", "blue")
                await until(lambda: numbers(told) == [1])
                await until(
                    lambda: served.metric("onlooker_mqtt_alerts_total", outcome="delivered") == 1
                )
            stack.close()
            await push(served, ws, "red", "blue", "red", first=2)
            await until(lambda: served.metric("onlooker_mqtt_alerts_waiting") == 2)
    with broker(tmp_path, port=port):
        async with (
            subscribed(port) as told,
            telling(port, **kept) as served,
            served.ws("?stream=house&persistent=1"),
        ):
            await until(lambda: 3 in numbers(told))
            await until(lambda: served.metric("onlooker_mqtt_alerts_waiting") == 0)
            assert numbers(told) == [2, 3]


async def test_streams_of_a_server_that_died_are_away_or_gone_after_its_restart(port: int) -> None:
    state = {"server": "", "persistent": False}
    async with subscribed(port) as told, telling(port, server__port=free_port()) as served:
        pass
    settings = {"server__port": served.gateway.settings.server.port}
    async with subscribed(port) as told:
        for name, is_kept in (("short", False), ("long", True)):
            state = {"server": served.gateway.name, "persistent": is_kept}
            base = f"onlooker/streams/default/{name}"
            await hold(port, f"{base}/state", json.dumps(state))
            await hold(port, f"{base}/availability", "online")
            await hold(port, f"{base}/watches/w", "{}")
        async with telling(port, **settings):
            await until(
                lambda: told.held.get("onlooker/streams/default/long/availability") == b"offline"
            )
            await until(lambda: not [topic for topic in told.held if "/short/" in topic])
            assert "onlooker/streams/default/long/state" in told.held


async def test_a_broker_with_tls_and_a_password_is_told_and_a_wrong_password_is_not(
    tmp_path: Path,
) -> None:
    made = self_signed_file(tmp_path, host="127.0.0.1", wall_s=time.time())
    trusted = str(tmp_path / TRUST_FILE)
    users = tmp_path / "users"
    make_user(users, "onlooker", "secret")
    lines = (f"password_file {users}", f"certfile {made}", f"keyfile {made}")
    trust = aiomqtt.TLSParameters(ca_certs=trusted)
    secure: dict[str, Any] = {
        "mqtt__tls": True, "mqtt__ca": trusted, "mqtt__user": "onlooker",
    }  # fmt: skip
    with broker(tmp_path, *lines) as port:
        async with telling(port, mqtt__password="wrong", **secure) as served:
            await until(lambda: served.metric("onlooker_mqtt_failures_total") > 1)
            assert served.metric("onlooker_mqtt_connected") == 0
        async with (
            subscribed(port, username="onlooker", password="secret", tls_params=trust) as told,
            telling(port, mqtt__password="secret", **secure) as served,
        ):
            await told.until(status_topic(served))


async def hold(port: int, topic: str, value: str) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.publish(topic, value, qos=1, retain=True)
