"""A camera that is covered: told to listeners, with the stream, in metrics, and by a watch."""

from typing import Any

from onlooker.core.media import Pixels
from tests.fakes.camera_views import Sensor, covered, looked_at, room, seconds
from tests.fakes.pictures import encode
from tests.fakes.served import frame_message, next_event, send, serving

SOON: dict[str, Any] = {
    "streams__clock": "virtual",
    "streams__perception__health__warm_up_s": 10.0,
    "streams__perception__health__hold_s": 2.0,
}


def pictures() -> list[Pixels]:
    """Twelve quiet seconds, six with a cover on the lens, six quiet ones."""
    sensor, view = Sensor(1), looked_at(room(1))
    quiet = [list(seconds(sensor, view, count)) for count in (12, 6)]
    return [*quiet[0], *(sensor.take(covered(view)) for _ in range(6)), *quiet[1]]


async def test_a_covered_camera_is_told_and_watched_without_the_model() -> None:
    async with serving(**SOON) as served, served.ws("?stream=door") as ws:
        watch = {"id": "cover", "condition": "tell me when the camera is blocked"}
        await send(ws, "stream.watch.create", watch=watch)
        created = await next_event(ws, "stream.watch", "error")
        assert created["watch"]["trigger"] == ["health"]
        shown: list[dict[str, Any]] = []
        for second, pixels in enumerate(pictures()):
            message = frame_message(encode(pixels, quality=92), sequence=second, at_s=second)
            await ws.send(message)
            if second == 16:
                told = [await next_event(ws, "stream.health", "stream.alert") for _ in range(2)]
                async with served.http() as http:
                    shown.append((await http.get("/v1/streams/door")).json())
                in_trouble = served.metric("onlooker_streams_in_trouble", trouble="blocked")
                assert in_trouble == 1
        told.append(await next_event(ws, "stream.health", "stream.alert"))
        async with served.http() as http:
            shown.append((await http.get("/v1/streams/door")).json())
        assert served.metric("onlooker_streams_in_trouble", trouble="blocked") == 0
        assert served.metric("onlooker_view_troubles_total", trouble="blocked") == 1
    health = [e for e in told if e["type"] == "stream.health"]
    assert [(e["health"], e["was"], e["at_s"]) for e in health] == [
        ("blocked", "ok", 14.0),
        ("ok", "blocked", 20.0),
    ]
    (alert,) = [e["alert"] for e in told if e["type"] == "stream.alert"]
    assert (alert["watch"], alert["text"]) == ("cover", watch["condition"])
    assert [(s["health"], s["health_since_s"]) for s in shown] == [("blocked", 14.0), ("ok", None)]


async def test_where_it_is_switched_off_nothing_is_told() -> None:
    off = {**SOON, "streams__perception__health__enabled": False}
    async with serving(**off) as served, served.ws("?stream=door") as ws:
        for second, pixels in enumerate(pictures()):
            await ws.send(frame_message(encode(pixels), sequence=second, at_s=second))
        await send(ws, "ping")
        assert (await next_event(ws, "stream.health", "pong"))["type"] == "pong"
        assert served.gateway.hub.get("door").status().trouble is None
