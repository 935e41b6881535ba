"""Any text in any field that takes text: a refusal or a success, and nothing is left behind."""

import asyncio
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.served import Served, frame_message, jpeg, next_event, send, serving
from tests.fakes.waiting import limited, until

_odd = st.sampled_from(
    [
        "",
        " ",
        "\x00",
        "a\x00b",
        "\ud800",
        "\udfff\ud800",
        "\u202eabc",
        "\u0627\u0644\u0639",
        "\ufeff",
        "\r\nX-Injected: 1",
        "a" * 2000,
        "\U0001f600" * 300,
        "..",
        "../..",
        "%00",
        "a/b",
        "\\",
        "\x7f",
        "{}",
        "[",
        "null",
        "NaN",
        "1e999",
        "-0",
        "\u2028",
        "<script>",
        "data:,",
        "data:image/png;base64,",
    ]
)
_hosts = st.sampled_from(
    [
        "",
        "a..b",
        ".",
        "..",
        "a" * 64,
        "a." * 130,
        "[",
        "[::1",
        "[::1]",
        "[fe80::1%25lo]",
        "[v1.x]",
        "127.0.0.1",
        "0",
        "0x7f.1",
        "localhost",
        "\u2488",
        "\u3002",
        "xn--",
        "xn--a",
        "a\x00b",
        "a b",
        "user:pw@",
        "@",
        "\ud800",
        "\u202e",
        "-",
        "_",
        "*",
    ]
)
_urls = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(
        ["http://", "https://", "rtsp://", "file://", "file:", "/", "", "gopher://", "HTTP:", "//"]
    ),
    _hosts,
    st.sampled_from(["", ":", ":0", ":99999", ":-1", ":\u0661", ":80"]),
    st.sampled_from(["", "/", "/\ud800", "/\x00", "/%", "?a=\r\n", "#", "/" + "a" * 1000]),
)
_text = st.one_of(_odd, _urls, st.text(max_size=20))

_WATCHES: list[dict[str, Any]] = [
    {"condition": "a"},
    {"instruction": "a"},
    {"question": "a"},
    {"condition": "a", "answer_prompt": "a"},
    {"condition": "a", "webhook": {"url": "a", "secret": "a"}},
    {"condition": "a", "id": "a"},
    {"condition": "a", "json_schema": {"type": "a"}},
    {"condition": "a", "json_schema": {"title": "a", "properties": {"a": {"const": "a"}}}},
    {"condition": "a", "json_schema": {"type": "string", "pattern": "a"}},
    {"condition": "a", "metadata": {"a": "a"}},
    {"condition": "a", "trigger": ["a"]},
]
_MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]}
_PICTURE = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_image", "image_url": "a"}],
}

CALLS: list[tuple[str, str, Any]] = [
    ("POST", "/v1/streams", {"id": "a"}),
    ("POST", "/v1/streams", {"source": {"url": "a"}}),
    ("POST", "/v1/streams", {"metadata": {"a": "a"}}),
    ("POST", "/v1/streams", {"clock": "a", "service_tier": "a"}),
    ("GET", "/v1/streams/{a}", None),
    ("GET", "/v1/streams?after={a}", None),
    ("DELETE", "/v1/streams/{a}", None),
    ("POST", "/v1/streams/here/questions", {"question": "a"}),
    ("POST", "/v1/streams/here/questions", {"question": "b", "instructions": "a"}),
    ("GET", "/v1/streams/here/watches/{a}", None),
    ("DELETE", "/v1/streams/here/watches/{a}", None),
    ("GET", "/v1/streams/here/alerts?after={a}", None),
    *(("POST", "/v1/streams/here/watches", watch) for watch in _WATCHES),
    *(("PATCH", "/v1/streams/here/watches/there", watch) for watch in _WATCHES),
    (
        "POST",
        "/v1/chat/completions",
        {"model": "a", "messages": [{"role": "user", "content": "a"}]},
    ),
    ("POST", "/v1/chat/completions", {"messages": [{"role": "a", "content": "b", "name": "a"}]}),
    (
        "POST",
        "/v1/chat/completions",
        {
            "model": "fake",
            "messages": [
                {"role": "system", "content": "a"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "video_url", "video_url": {"url": "a"}},
                    ],
                },
            ],
        },
    ),
    (
        "POST",
        "/v1/chat/completions",
        {
            "model": "fake",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "b"},
                        {"type": "image_url", "image_url": {"url": "a"}},
                    ],
                }
            ],
        },
    ),
    ("POST", "/v1/realtime/client_secrets", {"session": {"type": "a"}, "a": "a"}),
]

EVENTS: list[dict[str, Any]] = [
    {"type": "a"},
    {"type": "conversation.item.delete", "item_id": "b", "event_id": "a"},
    {"type": "session.update", "session": {"instructions": "a"}},
    {"type": "session.update", "session": {"model": "a"}},
    {"type": "session.update", "session": {"input_video": {"clock": "a"}}},
    {"type": "input_video.frame.append", "frame": "a", "codec": "jpeg", "timestamp_ms": 1},
    {"type": "input_video.frame.append", "frame": "a", "codec": "a", "timestamp_ms": 1},
    {"type": "conversation.item.create", "item": _MESSAGE, "previous_item_id": "a"},
    {"type": "conversation.item.create", "item": _PICTURE},
    {"type": "conversation.item.retrieve", "item_id": "a"},
    {"type": "conversation.item.delete", "item_id": "a"},
    {"type": "response.create", "response": {"input": [_MESSAGE], "conversation": "none"}},
    {"type": "response.create", "response": {"input": [_PICTURE], "conversation": "none"}},
    {
        "type": "response.create",
        "response": {
            "input": [_MESSAGE],
            "conversation": "none",
            "instructions": "a",
            "metadata": {"a": "a"},
        },
    },
    {"type": "response.create", "response": {"stream": "a"}},
    {"type": "response.cancel", "response_id": "a"},
    {"type": "stream.watch.list", "stream": "a"},
    {"type": "stream.watch.delete", "watch_id": "a"},
    *({"type": "stream.watch.create", "watch": watch} for watch in _WATCHES),
    *({"type": "stream.watch.update", "watch_id": "a", "watch": watch} for watch in _WATCHES),
]


def filled(value: Any, text: str) -> Any:
    """`value` with `text` wherever it says "a", also as the name of a field."""
    if isinstance(value, dict):
        return {text if k == "a" else k: filled(v, text) for k, v in value.items()}
    if isinstance(value, list):
        return [filled(entry, text) for entry in value]
    return text if value == "a" else value


def as_json(value: Any, *, escaped: bool) -> bytes:
    """JSON, with what is not ASCII escaped or as it is; half of a pair has no bytes of its own."""
    return json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")


def hostile(runner: asyncio.Runner, served: Served) -> None:
    """Any text in any call and event."""

    @settings(max_examples=250, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.sampled_from(CALLS), _text, st.booleans())
    def call(call: tuple[str, str, Any], text: str, escaped: bool) -> None:
        runner.run(one_call(served, call, text, escaped=escaped))

    @settings(max_examples=40, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.lists(st.tuples(st.sampled_from(EVENTS), _text), min_size=1, max_size=12))
    def events(events: list[tuple[dict[str, Any], str]]) -> None:
        runner.run(some_events(served, events))

    call()
    events()


def test_hostile_text_is_refused_or_taken_and_leaves_nothing_behind() -> None:
    with asyncio.Runner() as runner:
        stack = serving(server__errors_per_s=1e6, streams__sources__open_timeout_s=0.2)
        served = runner.run(stack.__aenter__())
        try:
            hostile(runner, served)
        finally:
            runner.run(stack.__aexit__(None, None, None))
        assert not asyncio.all_tasks(runner.get_loop())


async def one_call(served: Served, call: tuple[str, str, Any], text: str, *, escaped: bool) -> None:
    method, path, body = call
    async with limited(f"{method} {path} with {text!r}"):
        async with served.http() as http:
            await http.post("/v1/streams", json={"id": "here"})
            await http.post(
                "/v1/streams/here/watches", json={"id": "there", "condition": "it is red"}
            )
            quoted = "".join(f"%{b:02x}" for b in text.encode("utf-8", "surrogatepass")[:600])
            reply = await http.request(
                method,
                path.replace("{a}", quoted),
                content=None if body is None else as_json(filled(body, text), escaped=escaped),
                headers={"content-type": "application/json"},
            )
            assert 200 <= reply.status_code < 500, (call, text, reply.text)
        hub = served.gateway.hub
        names = {stream.name for stream in hub.streams()}
        told = set()
        if reply.status_code == 201 and path == "/v1/streams":
            told = {reply.json()["id"]}
        assert names <= {"here"} | told, (call, text)
        for stream in hub.streams():
            await hub.close_stream(stream.id, "the example is over")


async def some_events(served: Served, events: list[tuple[dict[str, Any], str]]) -> None:
    """The connection answers to the end, none of it is a fault of the server, and what it opened
    goes with it."""
    async with served.ws() as ws:
        await ws.send(frame_message(jpeg()))
        for event, text in events:
            await ws.send(as_json(filled(event, text), escaped=True).decode())
        await send(ws, "ping", event_id="last one")
        while True:
            told = await next_event(ws)
            assert told["type"] != "session.closing", (told, events)
            if told["type"] == "error":
                assert told["error"]["code"] != "internal_error", (told, events)
            if told["type"] == "response.done" and told["response"].get("status_details"):
                error = told["response"]["status_details"].get("error") or {}
                assert error.get("code") != "internal_error", (told, events)
            if told["type"] == "pong":
                break
    await until(lambda: not served.gateway.hub.streams())
