"""Standing orders: watches over labels, at streams that are open or open or are labelled later."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from onlooker.core.ids import DEFAULT_TENANT
from onlooker.streams.stream import Stream
from onlooker.watches.options import WatchOptions
from tests.fakes.fleet import SELDOM, acquaint, member, redis_of_a_fleet
from tests.fakes.served import KEY, Served, jpeg, serving
from tests.fakes.waiting import until

AUTH = {"authorization": f"Bearer {KEY}"}
RAIN = {"condition": "it rains", "labels": ["outside"]}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as running:
        yield running


@pytest.fixture
async def http(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with served.http() as client:
        yield client


async def make(http: httpx.AsyncClient, name: str, *labels: str) -> None:
    made = await http.post("/v1/streams", json={"id": name, "labels": list(labels)})
    made.raise_for_status()


async def watches(http: httpx.AsyncClient, name: str) -> list[str]:
    reply = await http.get(f"/v1/streams/{name}/watches")
    return [one["id"] for one in reply.json()["data"]]


async def order(http: httpx.AsyncClient, **wanted: Any) -> dict[str, Any]:
    reply = await http.post("/v1/watches", json=wanted)
    assert reply.status_code == 201, reply.text
    told: dict[str, Any] = reply.json()
    return told


async def becomes(http: httpx.AsyncClient, name: str, *wanted: str) -> None:
    """Wait until a stream has these watches and no others."""
    for _ in range(500):
        if await watches(http, name) == list(wanted):
            return
    raise AssertionError(f"{name} has {await watches(http, name)}, not {wanted}")


async def test_open_streams_with_the_labels_have_the_watch_at_once(http: httpx.AsyncClient) -> None:
    await make(http, "door", "outside")
    await make(http, "hall")
    told = await order(http, **RAIN)
    assert (told["labels"], told["condition"], told["kind"]) == (["outside"], "it rains", "alert")
    assert [(one["stream"], one["has_watch"]) for one in told["streams"]] == [("door", True)]
    assert await watches(http, "door") == [told["id"]]
    assert await watches(http, "hall") == []


async def test_a_stream_that_opens_or_is_labelled_later_has_it_too_and_loses_it_with_the_label(
    http: httpx.AsyncClient,
) -> None:
    order_id = (await order(http, **RAIN))["id"]
    await make(http, "door", "outside", "door")
    await becomes(http, "door", order_id)
    await make(http, "hall")
    await http.patch("/v1/streams/hall", json={"labels": ["outside"]})
    await becomes(http, "hall", order_id)
    await http.patch("/v1/streams/hall", json={"labels": ["inside"]})
    await becomes(http, "hall")


async def test_an_order_without_labels_is_for_all_streams(http: httpx.AsyncClient) -> None:
    await make(http, "door")
    order_id = (await order(http, condition="it rains"))["id"]
    assert await watches(http, "door") == [order_id]


async def test_an_order_that_is_taken_back_takes_its_watches_along(
    http: httpx.AsyncClient,
) -> None:
    await make(http, "door", "outside")
    order_id = (await order(http, **RAIN))["id"]
    await http.post("/v1/streams/door/watches", json={"id": "mine", "condition": "it snows"})
    listed = (await http.get("/v1/watches")).json()["data"]
    assert [one["id"] for one in listed] == [order_id]
    assert (await http.get(f"/v1/watches/{order_id}")).json()["condition"] == "it rains"
    assert (await http.delete(f"/v1/watches/{order_id}")).status_code == 204
    assert await watches(http, "door") == ["mine"]
    assert (await http.get(f"/v1/watches/{order_id}")).status_code == 404
    assert (await http.delete(f"/v1/watches/{order_id}")).status_code == 404


async def test_a_watch_that_an_order_has_left_behind_goes_with_the_next_call(
    served: Served, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(http, "door", "outside")
    order_id = (await order(http, **RAIN))["id"]
    orders = served.gateway.hub.orders
    await orders.alter(DEFAULT_TENANT, order_id, lambda _: None)  # and nobody heard of it
    assert await watches(http, "door") == [order_id]
    assert (await http.delete(f"/v1/watches/{order_id}")).status_code == 404
    assert await watches(http, "door") == []


async def change(http: httpx.AsyncClient, order_id: str, **changes: Any) -> dict[str, Any]:
    reply = await http.patch(f"/v1/watches/{order_id}", json=changes)
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    return told


async def watch(http: httpx.AsyncClient, name: str, watch_id: str) -> dict[str, Any]:
    reply = await http.get(f"/v1/streams/{name}/watches/{watch_id}")
    told: dict[str, Any] = reply.json()
    return told


async def test_the_watches_of_an_order_follow_when_it_is_changed(http: httpx.AsyncClient) -> None:
    await make(http, "door", "outside")
    order_id = (await order(http, **RAIN, cooldown_s=5))["id"]
    told = await change(http, order_id, condition="it snows", paused=True)
    assert (told["condition"], told["paused"], told["labels"]) == ("it snows", True, ["outside"])
    assert told["changed_at"] >= told["created_at"]
    assert [(one["stream"], one["has_watch"]) for one in told["streams"]] == [("door", True)]
    has = await watch(http, "door", order_id)
    assert (has["condition"], has["state"], has["cooldown_s"]) == ("it snows", "paused", 5)
    assert (await http.get(f"/v1/watches/{order_id}")).json()["condition"] == "it snows"
    await make(http, "yard", "outside")
    await becomes(http, "yard", order_id)
    assert (await watch(http, "yard", order_id))["condition"] == "it snows"


async def test_an_order_with_all_that_a_watch_may_have_is_handed_out_once(
    http: httpx.AsyncClient,
) -> None:
    await make(http, "door", "outside")
    wanted = {"trigger": ["interval"], "interval_s": 2, "metadata": {"where": "door"}}
    order_id = (await order(http, **RAIN, **wanted))["id"]
    told = await change(http, order_id, trigger=["change", "yes_no"], metadata={"where": "yard"})
    assert [(one["stream"], one["has_watch"]) for one in told["streams"]] == [("door", True)]


async def test_of_two_changes_at_once_none_is_lost_and_streams_follow_both(tmp_path: Path) -> None:
    async with serving(cache_store__disk__path=tmp_path) as served, served.http() as http:
        await make(http, "door", "outside")
        order_id = (await order(http, **RAIN))["id"]
        changes: list[dict[str, Any]] = [
            {"condition": "it snows"},
            {"cooldown_s": 9},
            {"paused": True},
        ]
        await asyncio.gather(*(change(http, order_id, **one) for one in changes))
        (kept,) = await served.gateway.hub.orders.orders(DEFAULT_TENANT)
        assert (kept.options.condition, kept.options.cooldown_s, kept.options.paused) == (
            "it snows", 9, True,
        )  # fmt: skip
        has = await watch(http, "door", order_id)
        assert (has["condition"], has["cooldown_s"], has["state"]) == ("it snows", 9, "paused")


async def test_a_round_that_is_overtaken_by_a_newer_change_ends_with_that(
    served: Served, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(http, "door", "outside")
    await make(http, "shed", "garden")
    order_id = (await order(http, **RAIN))["id"]
    keep, waits, goes_on = Stream.keep_watches, asyncio.Event(), asyncio.Event()

    async def slow(stream: Stream) -> None:
        if not waits.is_set():
            waits.set()
            await goes_on.wait()
            stream.watches.update(order_id, {"condition": "it snows"})  # as if it came only now
        await keep(stream)

    monkeypatch.setattr(Stream, "keep_watches", slow)
    first = asyncio.create_task(change(http, order_id, condition="it snows"))
    await waits.wait()
    await change(http, order_id, condition="it hails", labels=["garden"])
    await served.gateway.hub.get("door").make_watch(WatchOptions(condition="it snows"), order_id)
    goes_on.set()
    assert (await first)["condition"] == "it hails"
    assert await watches(http, "door") == []
    assert (await watch(http, "shed", order_id))["condition"] == "it hails"


async def test_an_order_that_is_deleted_while_it_is_changed_leaves_no_watch(
    served: Served, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(http, "door", "outside")
    await make(http, "shed", "garden")
    order_id = (await order(http, **RAIN))["id"]
    keep, waits, goes_on = Stream.keep_watches, asyncio.Event(), asyncio.Event()

    async def slow(stream: Stream) -> None:
        if stream.name == "shed" and not waits.is_set():
            waits.set()
            await goes_on.wait()
        await keep(stream)

    monkeypatch.setattr(Stream, "keep_watches", slow)
    changing = asyncio.create_task(
        http.patch(f"/v1/watches/{order_id}", json={"labels": ["garden"]})
    )
    await waits.wait()
    assert (await http.delete(f"/v1/watches/{order_id}")).status_code == 204
    await served.gateway.hub.get("shed").make_watch(WatchOptions(condition="it rains"), order_id)
    goes_on.set()
    assert (await changing).status_code == 404
    assert await watches(http, "door") == await watches(http, "shed") == []


async def test_orders_that_are_made_at_once_are_no_more_than_there_may_be(tmp_path: Path) -> None:
    async with (
        serving(streams__max_orders=1, cache_store__disk__path=tmp_path) as served,
        served.http() as http,
    ):
        made = await asyncio.gather(*(http.post("/v1/watches", json=RAIN) for _ in range(3)))
        assert sorted(one.status_code for one in made) == [201, 413, 413]


async def test_an_order_with_other_labels_moves_to_the_streams_that_have_them(
    http: httpx.AsyncClient,
) -> None:
    await make(http, "door", "outside")
    await make(http, "yard", "outside", "garden")
    await make(http, "shed", "garden")
    order_id = (await order(http, **RAIN))["id"]
    told = await change(http, order_id, labels=["garden"])
    assert {one["stream"] for one in told["streams"]} == {"yard", "shed"}
    assert await watches(http, "door") == []
    assert await watches(http, "yard") == await watches(http, "shed") == [order_id]


async def test_a_watch_changed_for_itself_stays_so_until_its_order_is_changed(
    http: httpx.AsyncClient,
) -> None:
    await make(http, "door", "outside")
    order_id = (await order(http, **RAIN))["id"]
    await http.patch(f"/v1/streams/door/watches/{order_id}", json={"paused": True})
    await http.patch("/v1/streams/door", json={"labels": ["outside", "door"]})
    assert (await watch(http, "door", order_id))["state"] == "paused"
    await change(http, order_id, cooldown_s=9)
    has = await watch(http, "door", order_id)
    assert (has["state"], has["cooldown_s"]) == ("active", 9)


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({"question": "What?"}, 400, "condition"),
        ({"condition": None}, 400, "condition"),
        ({"labels": ["two words"]}, 400, "labels"),
    ],
)
async def test_what_would_make_no_order_changes_none(
    http: httpx.AsyncClient, changes: dict[str, Any], status: int, param: str
) -> None:
    await make(http, "door", "outside")
    order_id = (await order(http, **RAIN))["id"]
    refused = await http.patch(f"/v1/watches/{order_id}", json=changes)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param)
    assert (await watch(http, "door", order_id))["condition"] == "it rains"
    assert (await http.patch("/v1/watches/order_none", json={})).status_code == 404


async def test_a_stream_that_was_closed_meanwhile_follows_when_it_is_opened(
    tmp_path: Path,
) -> None:
    kept: dict[str, Any] = {"cache_store__disk__path": tmp_path}
    async with serving(**kept) as served, served.http() as http:
        await make(http, "door", "outside")
        order_id = (await order(http, **RAIN))["id"]
    async with serving(**kept) as served, served.http() as http:
        await change(http, order_id, condition="it snows")
        await make(http, "door", "outside")
        await becomes(http, "door", order_id)
        for _ in range(500):
            if (await watch(http, "door", order_id))["condition"] == "it snows":
                break
        assert (await watch(http, "door", order_id))["condition"] == "it snows"


async def test_a_watch_that_is_deleted_while_orders_are_followed_ends_nothing(
    served: Served, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(http, "door", "outside")
    first = (await order(http, **RAIN))["id"]
    second = (await order(http, **RAIN))["id"]
    last = max(first, second)
    stream, orders = served.gateway.hub.get("door"), served.gateway.hub.orders
    wall_s = served.gateway.clock.wall_s() + 60.0
    for one in await orders.orders(DEFAULT_TENANT):
        await orders.alter(
            DEFAULT_TENANT, one.order_id, lambda kept: replace(kept, changed_wall_s=wall_s)
        )
    keep = stream.keep_watches

    async def deleted_meanwhile() -> None:
        if last in stream.watches.ids():
            stream.watches.delete(last)
        await keep()

    monkeypatch.setattr(type(stream), "keep_watches", lambda self: deleted_meanwhile())
    await orders.apply(stream)
    assert stream.watches.ids() == [min(first, second)]


@pytest.mark.parametrize(
    ("wanted", "status", "param"),
    [
        ({"labels": ["outside"]}, 400, "condition"),
        ({"labels": ["two words"], "condition": "it rains"}, 400, "labels"),
        ({"condition": "it rains", "question": "What?"}, 400, "condition"),
        ({"condition": "x" * 5000}, 413, "condition"),
    ],
)
async def test_what_makes_no_order_is_refused(
    http: httpx.AsyncClient, wanted: dict[str, Any], status: int, param: str
) -> None:
    refused = await http.post("/v1/watches", json=wanted)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, param)
    assert (await http.get("/v1/watches")).json()["data"] == []


async def test_there_are_so_many_orders_and_the_setting_is_named() -> None:
    async with serving(streams__max_orders=1) as served, served.http() as http:
        await order(http, **RAIN)
        refused = await http.post("/v1/watches", json=RAIN)
        assert refused.status_code == 413
        assert "streams.max_orders" in refused.json()["error"]["message"]


async def test_a_tenants_orders_are_its_own() -> None:
    keys = [f"acme:{KEY}", "other:another-key"]
    async with (
        serving(server__api_keys=keys) as served,
        served.http(headers=AUTH) as ours,
        served.http(headers={"authorization": "Bearer another-key"}) as theirs,
    ):
        order_id = (await order(ours, **RAIN))["id"]
        assert (await theirs.get("/v1/watches")).json()["data"] == []
        assert (await theirs.delete(f"/v1/watches/{order_id}")).status_code == 404
        await make(theirs, "door", "outside")
        await make(ours, "door", "outside")
        await becomes(ours, "door", order_id)
        assert await watches(theirs, "door") == []


async def test_orders_outlive_the_server(tmp_path: Path) -> None:
    async with serving(cache_store__disk__path=tmp_path) as served, served.http() as http:
        order_id = (await order(http, **RAIN))["id"]
    async with serving(cache_store__disk__path=tmp_path) as served, served.http() as http:
        await make(http, "door", "outside")
        await becomes(http, "door", order_id)


async def test_alerts_of_all_streams_are_one_list_newest_first(served: Served) -> None:
    async with served.http() as http:
        await order(http, condition="something is there", trigger=["interval"], interval_s=0.5)
        for name in ("door", "hall"):
            body = {"id": name, "clock": "virtual", "name": name.title(), "labels": [name]}
            await http.post("/v1/streams", json=body)
            await until(lambda name=name: served.gateway.hub.get(name).watches.ids())  # type: ignore[misc]
            for at_s in range(4):
                headers = {"content-type": "image/jpeg", "x-capture-time-s": str(at_s)}
                colour = "red" if at_s % 2 else "blue"
                await http.post(f"/v1/streams/{name}/frames", content=jpeg(colour), headers=headers)
            await http.post(f"/v1/streams/{name}/questions", json={"question": "What?"})
        listed = (await http.get("/v1/alerts")).json()
        assert {one["name"] for one in listed["data"]} == {"Door", "Hall"}
        times = [one["alert"]["decided_at"] for one in listed["data"]]
        assert times == sorted(times, reverse=True)
        assert len((await http.get("/v1/alerts?limit=1")).json()["data"]) == 1
        door = (await http.get("/v1/alerts?label=door")).json()["data"]
        assert {one["stream"] for one in door} == {"door"}


@pytest.mark.redis
async def test_an_order_reaches_all_servers_whose_streams_follow_it_until_it_is_taken_back() -> (
    None
):
    with redis_of_a_fleet() as url:
        async with (
            member(url, "a", **SELDOM) as a,
            member(url, "b", **SELDOM) as b,
            a.http(headers=AUTH) as http,
            b.http(headers=AUTH) as there,
        ):
            await acquaint(a, b)
            await make(there, "yard", "outside")
            told = await order(http, **RAIN)
            assert [(one["stream"], one["has_watch"]) for one in told["streams"]] == [
                ("yard", True)
            ]
            assert await watches(there, "yard") == [told["id"]]
            await make(there, "door", "outside")
            await becomes(there, "door", told["id"])
            await change(http, told["id"], condition="it snows")
            assert (await watch(there, "yard", told["id"]))["condition"] == "it snows"
            await there.delete(f"/v1/streams/yard/watches/{told['id']}")
            await change(http, told["id"], paused=True)
            assert (await watch(there, "yard", told["id"]))["state"] == "paused"
            await asyncio.gather(
                change(http, told["id"], cooldown_s=9), change(there, told["id"], paused=False)
            )
            for name in ("yard", "door"):
                has = await watch(http, name, told["id"])
                assert (has["cooldown_s"], has["state"]) == (9, "active")
            assert (await http.delete(f"/v1/watches/{told['id']}")).status_code == 204
            assert await watches(there, "yard") == []
            assert await watches(there, "door") == []
