"""Every call of every door, with each scope alone: let through exactly where the table says."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.routing import Mount
from websockets.exceptions import InvalidStatus

from onlooker.core.ids import DEFAULT_TENANT
from onlooker.core.protocol.client_events import AnyClientEvent
from onlooker.core.protocol.openai_responses import ResponsesReply
from onlooker.core.scopes import ALL_SCOPES, Scope
from onlooker.engine.fake import ScriptedEngine
from onlooker.server.app import create_app
from onlooker.server.doors import EVENTS, FRAME_MESSAGE, PUBLIC_ROUTES, ROUTES
from onlooker.server.rights import SCOPE_OF, Action
from onlooker.server.stored_responses import StoredResponse
from onlooker.server.wiring import make_gateway
from tests.fakes.offers import make_offer
from tests.fakes.served import (
    KEY,
    Served,
    data_url,
    errors_of,
    frame_message,
    jpeg,
    make_settings,
    send,
    serving,
    user_item,
)

ROOT = Path(__file__).parents[3]

WEBHOOK = {"url": "http://127.0.0.1:9/hook"}
RAIN = {"condition": "it rains"}
MASK = {"polygon": [[0, 0], [1, 0], [1, 1]]}

Attempt = Callable[[Served, str], Awaitable[bool]]
"""Makes a call with a key; returns whether it was let through."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one door."""

    name: str
    """As in `doors.py`."""
    attempt: Attempt
    more: frozenset[Scope] = frozenset()
    """Scopes beside that of the call's own action, for what this one carries."""
    carries: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.carries}".strip()

    @property
    def needed(self) -> frozenset[Scope]:
        action = {**ROUTES, **EVENTS, "connect": Action.CONNECT}[self.name]
        scope = SCOPE_OF[action]
        return self.more | (frozenset() if scope is None else {scope})


def is_refused(error: Mapping[str, Any]) -> bool:
    """Whether it is the missing scope that an error tells of."""
    return error["code"] == "forbidden" and "scope" in error["message"]


def http(name: str, path: str, *more: Scope, carries: str = "", **rest: Any) -> Call:
    async def attempt(served: Served, key: str) -> bool:
        method = name.partition(" ")[0]
        async with (
            served.http(headers={"authorization": f"Bearer {key}"}) as client,
            client.stream(method, path, **rest) as reply,
        ):
            if reply.status_code != 403:
                assert reply.status_code < 300, await reply.aread()
                return True
            await reply.aread()
            assert is_refused(reply.json()["error"])
            return False

    return Call(name, attempt, frozenset(more), carries)


def event(name: str, *more: Scope, carries: str = "", **fields: Any) -> Call:
    async def attempt(served: Served, key: str) -> bool:
        async with served.ws(
            "?stream=door", additional_headers={"authorization": f"Bearer {key}"}
        ) as ws:
            if name == FRAME_MESSAGE:
                await ws.send(frame_message(jpeg()))
            else:
                await send(ws, name, **fields)
            return not any(is_refused(error) for error in await errors_of(ws))

    return Call(name, attempt, frozenset(more), carries)


def connect(query: str, *more: Scope, carries: str) -> Call:
    async def attempt(served: Served, key: str) -> bool:
        headers = {"authorization": f"Bearer {key}"}
        try:
            async with served.ws(query, additional_headers=headers) as ws:
                return await errors_of(ws) == []
        except InvalidStatus as refused:
            return refused.response.status_code != 403

    return Call("connect", attempt, frozenset(more), carries)


DOOR = "/v1/streams/door"
CHAT = {
    "model": "fake",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "video_url", "video_url": {"url": "stream://door"}},
                {"type": "text", "text": "How many?"},
            ],
        }
    ],
}
PICTURE_CHAT = {
    "model": "fake",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": data_url(jpeg())}},
                {"type": "text", "text": "How many?"},
            ],
        }
    ],
}


def importing(method: str, *more: Scope, carries: str = "") -> Call:
    """A call about imports; where it is about one of them, that is begun with the server's key."""
    path = "/v1/streams/{stream_id}/imports" + ("" if method == "POST" else "/{import_id}")

    async def attempt(served: Served, key: str) -> bool:
        own = {"authorization": f"Bearer {KEY}"}
        begun = {"url": RECORDING.as_uri(), "starts_at": 0}
        async with (
            served.http(headers={"authorization": f"Bearer {key}"}) as client,
            served.http(headers=own) as owner,
        ):
            await owner.delete("/v1/streams/films")
            if carries == "an address":
                reply = await client.post("/v1/streams/films/imports", json=begun)
            elif method == "POST":
                reply = await client.post(
                    "/v1/streams/films/imports?starts_at=0",
                    content=RECORDING.read_bytes(),
                    headers={"content-type": "video/mp4"},
                )
            else:
                made = await owner.post("/v1/streams/films/imports", json=begun)
                job = made.json()["id"]
                reply = await client.request(method, f"/v1/streams/films/imports/{job}")
        if reply.status_code != 403:
            assert reply.status_code < 300, reply.text
            return True
        assert is_refused(reply.json()["error"])
        return False

    return Call(f"{method} {path}", attempt, frozenset(more), carries)


def ordered(method: str) -> Call:
    """A call about a standing order, which is made with the server's key."""
    name = f"{method} /v1/watches/{{order_id}}"

    async def attempt(served: Served, key: str) -> bool:
        async with served.http(headers={"authorization": f"Bearer {KEY}"}) as owner:
            made = (await owner.post("/v1/watches", json=RAIN)).json()
        body: dict[str, Any] = {"json": {"paused": True}} if method == "PATCH" else {}
        return await http(name, f"/v1/watches/{made['id']}", **body).attempt(served, key)

    return Call(name, attempt)


def looking(kind: str) -> Call:
    """A call for pictures of a stream that has seen something."""

    async def attempt(served: Served, key: str) -> bool:
        async with served.http(headers={"authorization": f"Bearer {KEY}"}) as owner:
            await owner.post("/v1/streams", json={"id": "seen", "clock": "virtual"})
            for at_s in (1, 2):
                headers = {"content-type": "image/jpeg", "x-capture-time-s": str(at_s)}
                await owner.post("/v1/streams/seen/frames", content=jpeg(), headers=headers)
            await owner.post("/v1/streams/seen/questions", json={"question": "Now?"})
            reference = {"reference": data_url(jpeg())}
            (await owner.patch("/v1/streams/seen", json=reference)).raise_for_status()
        return await http(name, f"/v1/streams/seen/{kind}").attempt(served, key)

    name = f"GET /v1/streams/{{stream_id}}/{kind}"
    return Call(name, attempt)


def whip(method: str) -> Call:
    """A call of WHIP, about a session that is begun for it with the server's own key."""
    path = "/v1/whip/door" if method == "POST" else "/v1/whip/door/{session_id}"

    async def attempt(served: Served, key: str) -> bool:
        own = {"authorization": f"Bearer {KEY}"}
        async with served.http(headers={"authorization": f"Bearer {key}"}) as client:
            begun = await client.post(
                "/v1/whip/door",
                content=make_offer(),
                headers=SDP | ({} if method == "POST" else own),
            )
            if begun.status_code == 403:
                assert is_refused(begun.json()["error"])
                return False
            location, tag = begun.headers["location"], begun.headers["etag"]
            reply = begun
            if method == "PATCH":
                headers = {**FRAGMENT, "if-match": tag}
                fragment = "a=ice-ufrag:abcd\r\n"
                reply = await client.patch(location, content=fragment, headers=headers)
            elif method == "DELETE":
                reply = await client.delete(location)
            await client.delete(location, headers=own)
            assert reply.status_code < 300 or is_refused(reply.json()["error"]), reply.text
            return reply.is_success

    return Call(f"{method} {path}".replace("door", "{stream_id}"), attempt)


SDP = {"content-type": "application/sdp"}
FRAGMENT = {"content-type": "application/trickle-ice-sdpfrag"}

RECORDING = ROOT / "tests" / "data" / "hold.mp4"

FILM = {"url": (ROOT / "README.md").as_uri()}
"""A file that may be opened and is no film; the stream that it was to feed ends by itself."""

CALLS = [
    connect("", carries="a stream of its own"),
    connect("?stream=door", carries="a stream that is open"),
    connect("?stream=fresh", Scope.PUSH, carries="a stream that is not open"),
    http("GET /v1/models", "/v1/models"),
    http("GET /v1/models/{model}", "/v1/models/fake"),
    http("GET /v1/streams", "/v1/streams"),
    http("GET /v1/streams/{stream_id}", DOOR),
    http("GET /v1/streams/{stream_id}/events", f"{DOOR}/events"),
    http("GET /v1/streams/{stream_id}/alerts", f"{DOOR}/alerts"),
    http("GET /v1/streams/{stream_id}/watches", f"{DOOR}/watches"),
    http("GET /v1/streams/{stream_id}/watches/{watch_id}", f"{DOOR}/watches/mine"),
    http("GET /metrics", "/metrics"),
    http("GET /v1/usage", "/v1/usage"),
    http("GET /v1/usage", "/v1/usage?tenant=acme", Scope.ADMIN, carries="another tenant"),
    http("GET /v1/servers", "/v1/servers"),
    http("POST /v1/servers/self/drain", "/v1/servers/self/drain"),
    http("DELETE /v1/servers/self/drain", "/v1/servers/self/drain"),
    http("POST /v1/streams", "/v1/streams", json={}),
    http("POST /v1/streams", "/v1/streams", Scope.ADMIN, carries="source", json={"source": FILM}),
    http(
        "POST /v1/streams/{stream_id}/frames",
        f"{DOOR}/frames?t=0",
        content=jpeg(),
        headers={"content-type": "image/jpeg"},
    ),
    importing("POST", carries="a recording"),
    importing("POST", Scope.ADMIN, carries="an address"),
    importing("GET"),
    importing("DELETE"),
    http("GET /v1/streams/{stream_id}/imports", "/v1/streams/films/imports"),
    http("POST /v1/streams/{stream_id}/questions", f"{DOOR}/questions", json={"question": "Why?"}),
    whip("POST"),
    whip("PATCH"),
    whip("DELETE"),
    http("POST /v1/chat/completions", "/v1/chat/completions", json=CHAT),
    http("POST /v1/chat/completions", "/v1/chat/completions", carries="picture", json=PICTURE_CHAT),
    http("POST /v1/responses", "/v1/responses", json={"model": "fake", "input": "Why?"}),
    http("GET /v1/responses/{response_id}", "/v1/responses/resp_kept"),
    http("DELETE /v1/responses/{response_id}", "/v1/responses/resp_kept"),
    http("POST /v1/streams/{stream_id}/watches", f"{DOOR}/watches", json=RAIN),
    http(
        "POST /v1/streams/{stream_id}/watches",
        f"{DOOR}/watches",
        Scope.ADMIN,
        carries="webhook",
        json={**RAIN, "webhook": WEBHOOK},
    ),
    http(
        "PATCH /v1/streams/{stream_id}/watches/{watch_id}",
        f"{DOOR}/watches/mine",
        json={"cooldown_s": 5},
    ),
    http(
        "PATCH /v1/streams/{stream_id}/watches/{watch_id}",
        f"{DOOR}/watches/mine",
        Scope.ADMIN,
        carries="webhook",
        json={"webhook": WEBHOOK},
    ),
    http(
        "PATCH /v1/streams/{stream_id}/watches/{watch_id}",
        f"{DOOR}/watches/hooked",
        Scope.ADMIN,
        carries="of a watch with a webhook",
        json={"condition": "it snows"},
    ),
    http("DELETE /v1/streams/{stream_id}/watches/{watch_id}", f"{DOOR}/watches/mine"),
    http(
        "DELETE /v1/streams/{stream_id}/watches/{watch_id}",
        f"{DOOR}/watches/hooked",
        Scope.ADMIN,
        carries="of a watch with a webhook",
    ),
    http("GET /v1/streams/{stream_id}/timeline", f"{DOOR}/timeline"),
    http("GET /v1/streams/{stream_id}/pictures", f"{DOOR}/pictures"),
    looking("picture"),
    looking("strip"),
    looking("clips"),
    looking("reference"),
    http("DELETE /v1/streams/{stream_id}", DOOR),
    http("PATCH /v1/streams/{stream_id}", DOOR, json={"labels": ["outside"]}),
    http(
        "PATCH /v1/streams/{stream_id}",
        DOOR,
        Scope.ADMIN,
        carries="masks and retention",
        json={"masks": [MASK], "keep_for_s": 60},
    ),
    http("DELETE /v1/streams/{stream_id}/memory", f"{DOOR}/memory?from=0"),
    *(
        http(
            "POST /v1/realtime/client_secrets",
            "/v1/realtime/client_secrets",
            scope,
            carries=scope,
            json={"scopes": [scope]},
        )
        for scope in (Scope.READ, Scope.PUSH)
    ),
    http(
        "POST /mcp",
        "/mcp",
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        headers={"accept": "application/json, text/event-stream"},
    ),
    event(FRAME_MESSAGE),
    event("session.update", session={"type": "realtime", "instructions": "Be brief."}),
    event(
        "session.update",
        Scope.PUSH,
        carries="masks",
        session={"type": "realtime", "input_video": {"masks": [MASK]}},
    ),
    event(
        "session.update",
        Scope.PUSH,
        carries="labels",
        session={"type": "realtime", "input_video": {"labels": ["outside"]}},
    ),
    http("GET /v1/alerts", "/v1/alerts"),
    http("POST /v1/watches", "/v1/watches", json=RAIN),
    http(
        "POST /v1/watches",
        "/v1/watches",
        Scope.ADMIN,
        carries="a webhook",
        json={**RAIN, "webhook": WEBHOOK},
    ),
    http("GET /v1/watches", "/v1/watches"),
    ordered("GET"),
    ordered("PATCH"),
    ordered("DELETE"),
    http("POST /v1/questions", "/v1/questions", json={"question": "What is there?"}),
    event("ping"),
    event(
        "input_video.frame.append",
        frame=data_url(jpeg()).partition(",")[2],
        codec="jpeg",
        timestamp_ms=0,
    ),
    event("input_video.attach", slot=1, stream="door"),
    event("input_video.attach", slot=1, stream="fresh", carries="a stream that is not open"),
    event("input_video.detach", slot=1),
    event("conversation.item.create", item=user_item("Why?")),
    event("conversation.item.retrieve", item_id="item_1"),
    event("conversation.item.delete", item_id="item_1"),
    event("conversation.item.truncate", item_id="item_1"),
    event("input_audio_buffer.append", audio=""),
    event("input_audio_buffer.commit"),
    event("input_audio_buffer.clear"),
    event("output_audio_buffer.clear"),
    event("response.create", response={"input": [user_item("Why?")]}),
    event("response.cancel"),
    event("stream.watch.create", watch=RAIN),
    event(
        "stream.watch.create", Scope.ADMIN, carries="webhook", watch={**RAIN, "webhook": WEBHOOK}
    ),
    event("stream.watch.update", watch_id="mine", watch={"cooldown_s": 5}),
    event(
        "stream.watch.update",
        Scope.ADMIN,
        carries="webhook",
        watch_id="mine",
        watch={"webhook": WEBHOOK},
    ),
    event(
        "stream.watch.update",
        Scope.ADMIN,
        carries="of a watch with a webhook",
        watch_id="hooked",
        watch={"webhook": None},
    ),
    event("stream.watch.delete", watch_id="mine"),
    event(
        "stream.watch.delete",
        Scope.ADMIN,
        carries="of a watch with a webhook",
        watch_id="hooked",
    ),
    event("stream.watch.list"),
]


def key_of(scopes: frozenset[Scope]) -> str:
    return "a-key-to-" + ("-".join(sorted(scopes)) or "nothing")


ALONE = [frozenset({scope}) for scope in Scope]
KEYS = {key_of(scopes): scopes for scopes in [*ALONE, *(call.needed for call in CALLS)] if scopes}


async def prepare(served: Served) -> None:
    """Have a stream `door` with a watch `mine` and one with a webhook, a kept response, and no
    stream `fresh`."""
    reply = ResponsesReply(id="resp_kept", created_at=0.0, status="completed", model="fake")
    served.gateway.responses.keep(DEFAULT_TENANT, StoredResponse(reply, ()))
    async with served.http(headers={"authorization": f"Bearer {KEY}"}) as client:
        replies: list[httpx.Response] = [
            await client.delete("/v1/servers/self/drain"),
            await client.delete("/v1/streams/fresh"),
            await client.post("/v1/streams", json={"id": "door"}),
            await client.post(f"{DOOR}/watches", json={"id": "mine", "condition": "it opens"}),
            await client.delete(f"{DOOR}/watches/hooked"),
            await client.post(f"{DOOR}/watches", json={"id": "hooked", "webhook": WEBHOOK, **RAIN}),
        ]
        assert [reply.status_code < 500 for reply in replies] == [True] * 6


@pytest.mark.parametrize("call", CALLS, ids=str)
async def test_a_call_is_let_through_exactly_where_the_table_says(call: Call) -> None:
    named = [f"+{'+'.join(scopes)}:{key}" for key, scopes in KEYS.items()]
    async with serving(
        server__api_keys=",".join([KEY, *named]),
        server__metrics_need_key=True,
        watches__webhooks__allow_private=True,
        cache_store__diary__enabled=True,
        streams__sources__schemes=("file",),
        streams__sources__file_dirs=(str(ROOT),),
    ) as served:
        for scopes in {*ALONE, call.needed or ALONE[0], ALL_SCOPES}:
            await prepare(served)
            key = KEY if scopes == ALL_SCOPES else key_of(scopes)
            assert await call.attempt(served, key) is (call.needed <= scopes), sorted(scopes)


def test_every_call_of_every_door_is_in_the_table_and_tried_here() -> None:
    app = create_app(make_gateway(make_settings(), engine=ScriptedEngine()))
    routes = {
        f"{method} {route.path_format}"
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert routes == {*ROUTES, *PUBLIC_ROUTES}
    events = {
        kind
        for member in get_args(get_args(AnyClientEvent)[0])
        for kind in get_args(member.model_fields["type"].annotation)
    }
    assert {*events, FRAME_MESSAGE} == set(EVENTS)
    assert {call.name for call in CALLS} == {"connect", *ROUTES, *EVENTS}
    others = [route for route in app.routes if not isinstance(route, APIRoute)]
    assert [route.path for route in others if isinstance(route, APIWebSocketRoute)] == [
        "/v1/realtime"
    ]
    rest = [route for route in others if not isinstance(route, APIWebSocketRoute)]
    assert {getattr(route, "path", "") for route in rest if not isinstance(route, Mount)} == {
        "/openapi.json", "/docs", "/docs/oauth2-redirect",
    }  # fmt: skip
    assert [route.name for route in rest if isinstance(route, Mount)] == ["page"]


def test_every_action_has_a_scope_and_a_door() -> None:
    beside = {
        Action.CHANGE_PRIVACY,
        Action.CONNECT,
        Action.HAVE_WEBHOOK,
        Action.MASK_OWN,
        Action.PULL_SOURCE,
        Action.READ_ALL_USAGE,
    }
    assert set(SCOPE_OF) == set(Action) == {*ROUTES.values(), *EVENTS.values(), *beside}


def test_the_protocol_s_table_of_rights_is_the_one_that_is_kept() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text().partition("\n## Rights\n")[2]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    table = {action: (scope, doors) for action, scope, doors in rows[1 : len(Action) + 1]}
    assert list(table) == [str(action) for action in Action]
    for action in Action:
        scope, doors = table[action]
        assert scope == (SCOPE_OF[action] or "any")
        calls = [call for call, done in {**ROUTES, **EVENTS}.items() if done is action]
        assert doors.replace("`", "").startswith(", ".join(calls))


async def test_a_token_is_good_for_what_was_asked_for() -> None:
    async with serving(server__api_keys=KEY) as served:
        async with served.http(headers={"authorization": f"Bearer {KEY}"}) as client:
            made = await client.post(
                "/v1/realtime/client_secrets", json={"scopes": ["watch", "push"]}
            )
            assert made.json()["scopes"] == ["push", "watch"]
        headers = {"authorization": f"Bearer {made.json()['value']}"}
        async with served.http(headers=headers) as client:
            assert (await client.post("/v1/streams", json={"id": "door"})).status_code == 201
            refused = await client.post("/v1/streams/door/questions", json={"question": "Why?"})
            assert refused.status_code == 403
            assert refused.json()["error"]["message"] == (
                "to ask takes the scope 'ask'; this key or token has push, watch"
            )


@pytest.mark.parametrize("scopes", [["admin"], ["read", "admin"], [], ["nose"]])
async def test_a_token_that_cannot_be_had_is_refused(scopes: list[str]) -> None:
    async with (
        serving(server__api_keys=KEY) as served,
        served.http(headers={"authorization": f"Bearer {KEY}"}) as client,
    ):
        made = await client.post("/v1/realtime/client_secrets", json={"scopes": scopes})
        assert made.status_code in (400, 403)
        assert "scopes" in made.json()["error"]["param"]


@pytest.mark.parametrize("keys", ["", KEY])
async def test_the_openapi_document_declares_what_callers_must_show(keys: str) -> None:
    async with serving(server__api_keys=keys) as served, served.http() as client:
        document = (await client.get("/openapi.json")).json()
    found = {
        f"{method.upper()} {path}": call.get("security", [])
        for path, calls in document["paths"].items()
        for method, call in calls.items()
    }
    free: list[dict[str, list[str]]] = [] if keys else [{}]
    assert found["GET /healthz"] == found["GET /metrics"] == []
    assert found["POST /v1/streams"] == [*free, {"KeyOrToken": ["push"]}]
    assert found["GET /v1/streams"] == [*free, {"KeyOrToken": ["read"]}, {"TokenInQuery": ["read"]}]
    assert found["GET /v1/models"] == [*free, {"KeyOrToken": []}, {"TokenInQuery": []}]
    assert set(document["components"]["securitySchemes"]) == {"KeyOrToken", "TokenInQuery"}
