"""MCP: a server as tools and resources of agents. The client is the official one."""

import base64
import io
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from mcp import types
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourceUpdated
from PIL import Image
from tokenizers import Tokenizer
from typer.testing import CliRunner

from onlooker import demo_model
from onlooker.core.protocol.base import MAX_TEXT_CHARS
from onlooker.core.protocol.functions import FunctionConfig
from onlooker.core.scopes import Scope
from onlooker.engine.memory.config import MemorySection
from onlooker.server.config import ServerSection
from onlooker.server.doors import TOOLS as ACTIONS
from onlooker.server.mcp import stdio_command
from onlooker.server.mcp.agent_tools import TOOLS
from onlooker.server.mcp.api import ApiRefusal, ServerApi
from onlooker.server.mcp.arguments import NoArguments
from onlooker.server.mcp.resources import MAX_FOLLOWED
from onlooker.server.rights import SCOPE_OF
from onlooker.server.text_limits import TextLimits
from tests.fakes.agents import Era, agent, refusal, told
from tests.fakes.fleet import member, redis_of_a_fleet
from tests.fakes.served import KEY, Served, jpeg, serving
from tests.fakes.waiting import limited, until

RECORDING = Path(__file__).parents[2] / "data" / "hold.mp4"
RED = {"condition": "tell me when it is red"}
FILES: dict[str, Any] = {
    "cache_store__diary__enabled": True,
    "streams__sources__schemes": ("file",),
    "streams__sources__file_dirs": (str(RECORDING.parent),),
}
ONE_CLIP_A_FRAME: dict[str, Any] = {"streams__perception__max_pair_gap_s": 0.02}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A server with the stream `door`, which has seen a blue and a green second."""
    async with serving(server__api_keys=KEY, **ONE_CLIP_A_FRAME) as running:
        await furnish(running)
        yield running


async def furnish(served: Served) -> None:
    async with served.http(headers={"authorization": f"Bearer {KEY}"}) as http:
        (await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})).raise_for_status()
        asked = {"question": "Now?"}
        await show(served, "blue", at_s=0)
        await show(served, "green", at_s=1)
        (await http.post("/v1/streams/door/questions", json=asked)).raise_for_status()


async def show(served: Served, colour: str, *, at_s: float) -> None:
    """Push a picture to `door`."""
    headers = {
        "authorization": f"Bearer {KEY}",
        "content-type": "image/jpeg",
        "x-capture-time-s": str(at_s),
    }
    async with served.http(headers=headers) as http:
        (await http.post("/v1/streams/door/frames", content=jpeg(colour))).raise_for_status()


# ---- tools


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_an_agent_finds_a_stream_and_asks_it(served: Served, era: Era) -> None:
    async with agent(served, era=era) as client:
        assert client.protocol_version == ("2026-07-28" if era == "auto" else "2025-11-25")
        assert "list_streams first" in (client.instructions or "")
        (stream,) = (await told(client, "list_streams"))["streams"]
        assert (stream["id"], stream["seen_until_s"]) == ("door", 1.0)
        assert datetime.fromisoformat(stream["opened_at"]).tzinfo is not None
        answer = await told(client, "ask", stream="door", question="How many clips?")
        assert answer["answer"] == "I have seen 2 clips up to 1.00 s."
        assert answer["evidence"][0]["picture"].startswith("/v1/streams/door/picture?at=")


async def test_an_agent_asks_all_streams_with_a_label_at_once(served: Served) -> None:
    async with agent(served) as client:
        async with served.http(headers={"authorization": f"Bearer {KEY}"}) as http:
            (await http.patch("/v1/streams/door", json={"labels": ["in"]})).raise_for_status()
        (stream,) = (await told(client, "list_streams"))["streams"]
        assert stream["labels"] == ["in"]
        answer = await told(client, "ask", labels=["in"], question="How many clips?")
        assert answer["answer"] == "door: I have seen 2 clips up to 1.00 s."
        assert answer["parts"][0]["status"] == "completed"


async def test_where_no_key_is_asked_for_none_is_needed() -> None:
    async with serving() as served, agent(served, key="any") as client:
        assert (await told(client, "list_streams"))["streams"] == []


async def test_a_question_about_a_moment_knows_nothing_later(served: Served) -> None:
    async with agent(served) as client:
        answer = await told(client, "ask", stream="door", question="How many clips?", at=0.5)
        assert answer["answer"] == "I have seen 1 clips up to 0.00 s."
        assert answer["asked_s"] == 0.5


async def test_a_question_may_name_its_moment_as_a_wall_time() -> None:
    began = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
    async with serving(server__api_keys=KEY, **ONE_CLIP_A_FRAME) as served, agent(served) as client:
        async with served.http(headers={"authorization": f"Bearer {KEY}"}) as http:
            dated = {"id": "door", "clock": "virtual", "starts_at": began.timestamp()}
            (await http.post("/v1/streams", json=dated)).raise_for_status()
        await show(served, "blue", at_s=0)
        await show(served, "green", at_s=1)
        asking = {"stream": "door", "question": "How many clips?"}
        answer = await told(client, "ask", **asking, at="2026-05-01T12:30:00.5Z")
        assert answer["asked_s"] == 0.5
        early = await refusal(client, "ask", **asking, at="2026-05-01T12:29:00Z")
        assert early == "stream 'door' began after 2026-05-01T12:29:00Z"
        async with served.http(headers={"authorization": f"Bearer {KEY}"}) as http:
            both = {"question": "How many?", "at": "2026-05-01T12:30:00Z", "at_s": 0.5}
            reply = await http.post("/v1/streams/door/questions", json=both)
            assert (reply.status_code, reply.json()["error"]["param"]) == (400, "at")
        picture = await told(client, "get_picture", stream="door", at="2026-05-01T12:30:01Z")
        assert picture["taken_at"] == "2026-05-01T12:30:01+00:00"


async def test_moments_are_told_as_candidates(served: Served) -> None:
    async with agent(served) as client:
        found = await told(client, "find_moments", stream="door", what="something blue")
        assert found["answer"]
        assert found["moments"][0]["start_s"] == 0.0
        assert "get_picture" in found["note"]


async def image_of(client: Client, **arguments: Any) -> Image.Image:
    result = await client.call_tool("get_picture", {"stream": "door", **arguments})
    assert isinstance(result, types.CallToolResult)
    picture = result.content[1]
    assert isinstance(picture, types.ImageContent)
    assert picture.mime_type == "image/jpeg"
    return Image.open(io.BytesIO(base64.b64decode(picture.data))).convert("RGB")


async def test_a_picture_comes_as_a_picture(served: Served) -> None:
    async with agent(served) as client:
        assert (await told(client, "get_picture", stream="door", at=0.9))["start_s"] == 0.0
        red, green, blue = (await image_of(client, at=0.9)).resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
        assert blue > max(red, green)
        red, green, blue = (await image_of(client)).resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
        assert green > max(red, blue)


async def test_a_span_comes_as_a_contact_sheet(served: Served) -> None:
    async with agent(served) as client:
        one, both = await image_of(client, at=0), await image_of(client, start=0, end=1)
        assert both.width >= 2 * one.width
        refused = await refusal(client, "get_picture", stream="door", at=0, start=0)
        assert refused == "give 'at', or 'start' and 'end', not both"


async def test_a_watch_that_an_agent_leaves_alerts(served: Served) -> None:
    async with agent(served) as client:
        began = datetime.now(UTC)
        watch = await told(client, "watch", stream="door", **RED)
        assert watch["state"] == "active"
        async with (
            limited("an alert"),
            client.listen(resource_subscriptions=[watch["alerts"]]) as changes,
        ):
            await show(served, "red", at_s=2)
            await anext(changes)
        found = (await told(client, "alerts", stream="door"))["alerts"]
        assert (found[0]["watch"], found[0]["text"]) == (watch["id"], RED["condition"])
        assert found[0]["evidence"]["end_s"] == 2.0
        since = {moment: await told(client, "alerts", stream="door", since=moment)
                 for moment in (2.0, 2.5, began.isoformat(), "2100-01-01")}  # fmt: skip
        assert [len(one["alerts"]) for one in since.values()] == [1, 0, 1, 0]
        assert "ISO 8601" in await refusal(client, "alerts", stream="door", since="yesterday")


async def test_tools_are_described_without_words_that_say_nothing(served: Served) -> None:
    async with agent(served) as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert list(listed) == list(TOOLS)
    for tool in listed.values():
        assert len(tool.description or "") > 100
        assert "title" not in tool.input_schema
        for field in tool.input_schema["properties"].values():
            assert "title" not in field
            assert field.get("maxLength", 0) < MAX_TEXT_CHARS
            assert {"type": "null"} not in field.get("anyOf", [])
            assert field["description"]
    reading = {name for name, tool in listed.items()
               if tool.annotations and tool.annotations.read_only_hint}  # fmt: skip
    assert reading == {"list_streams", "ask", "find_moments", "timeline", "get_picture", "alerts"}


async def test_a_model_of_the_server_may_have_these_tools_and_some_of_its_own(
    served: Served,
) -> None:
    async with agent(served) as client:
        listed = (await client.list_tools()).tools
    functions = [
        FunctionConfig(name=one.name, description=one.description, parameters=one.input_schema)
        for one in listed
    ]
    limits = TextLimits(0, ServerSection().max_tool_chars * 3 // 4)
    limits.check_functions(functions, param="tools")
    # A chat template writes them into the system prompt. Vocabularies of large models take less.
    tokenizer = Tokenizer.from_file(str(Path(demo_model.__path__[0]) / "weights/tokenizer.json"))
    told = "\n".join(json.dumps(one.model_dump(exclude_unset=True)) for one in functions)
    assert len(tokenizer.encode(told).ids) < MemorySection().sink_tokens * 7 // 8


async def test_an_agent_opens_a_source() -> None:
    async with serving(server__api_keys=KEY, **FILES) as served, agent(served) as client:
        opened = await told(client, "open_source", url=RECORDING.as_uri(), stream="film")
        assert (opened["id"], opened["source"]["kind"]) == ("film", "pull")
        refused = await refusal(client, "open_source", url="rtsp://camera.example.org/live")
        assert "rtsp" in refused


# ---- what goes wrong is said


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("ask", {"stream": "gate", "question": "Who?"}, "there is no stream 'gate'"),
        ("alerts", {"stream": "gate"}, "; list_streams tells which there are"),
        ("ask", {"stream": "door"}, "ask: field 'question' is missing"),
        ("ask", {"stream": "../x", "question": "Who?"}, "field 'stream'"),
        ("ask", {"question": "Who?"}, "give 'stream', or 'streams' and 'labels'"),
        ("ask", {"stream": "door", "labels": [], "question": "Who?"}, "give 'stream', or"),
        ("ask", {"labels": [], "question": "Who?", "at": 3}, "give 'at' as ISO 8601"),
        ("ask", {"stream": "door", "question": "Who?", "when": 1}, "unknown field 'when'"),
        ("ask", {"stream": "door", "question": "Who?", "at": "noon"}, "ISO 8601"),
        ("watch", {"stream": "door"}, "condition"),
        ("get_picture", {"stream": "door", "at": 99}, "lies in the future"),
        ("look", {}, "there is no tool 'look'; there is list_streams, ask,"),
    ],
)
async def test_a_refusal_says_what_was_wrong(
    served: Served, tool: str, arguments: dict[str, Any], said: str
) -> None:
    async with agent(served) as client:
        assert said in await refusal(client, tool, **arguments)


async def test_without_a_key_nobody_is_spoken_to(served: Served) -> None:
    async with served.http() as http:
        reply = await http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        assert reply.status_code == 401
        assert reply.json()["error"]["code"] == "unauthorized"


async def test_a_web_page_of_another_origin_is_refused_where_no_key_is_asked_for() -> None:
    foreign = {"origin": "https://elsewhere.example.org"}
    async with serving() as served, served.http(headers=foreign) as http:
        assert (await http.post("/mcp", json={})).status_code == 403


async def test_there_are_no_sessions_to_read_or_to_end(served: Served) -> None:
    async with served.http(headers={"authorization": f"Bearer {KEY}"}) as http:
        for method in ("GET", "DELETE"):
            reply = await http.request(method, "/mcp")
            assert (reply.status_code, reply.headers["allow"]) == (405, "POST")


async def test_without_the_extra_the_reply_says_what_to_install(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    async with served.http(headers={"authorization": f"Bearer {KEY}"}) as http:
        reply = await http.post("/mcp", json={})
        assert reply.status_code == 501
        assert reply.json()["error"]["code"] == "not_installed"
        assert "onlooker[mcp]" in reply.text


# ---- rights


def test_every_tool_is_an_action() -> None:
    assert list(ACTIONS) == list(TOOLS)


@pytest.mark.parametrize("tool", ACTIONS)
async def test_a_tool_works_exactly_with_the_scopes_of_its_action(tool: str) -> None:
    scope = SCOPE_OF[ACTIONS[tool]]
    assert scope is not None
    needed = {scope, Scope.PUSH} if tool == "open_source" else {scope}
    keys = {f"good-for-{'-'.join(sorted(some))}": some
            for some in ({one} for one in Scope if {one} != needed)}  # fmt: skip
    keys["good-for-it"] = needed
    named = [f"+{'+'.join(sorted(some))}:{key}" for key, some in keys.items()]
    arguments: dict[str, Any] = {
        "list_streams": {},
        "ask": {"stream": "door", "question": "Who?"},
        "find_moments": {"stream": "door", "what": "a parcel"},
        "timeline": {"stream": "door", "words": "parcel"},
        "get_picture": {"stream": "door"},
        "watch": {"stream": "door", **RED},
        "alerts": {"stream": "door"},
        "open_source": {"url": RECORDING.as_uri()},
    }[tool]
    async with serving(server__api_keys=",".join([KEY, *named]), **FILES) as served:
        await furnish(served)
        for key, some in keys.items():
            async with agent(served, key=key) as client:
                if some >= needed:
                    await told(client, tool, **arguments)
                else:
                    assert "takes the scope" in await refusal(client, tool, **arguments)


# ---- resources


async def test_streams_are_resources(served: Served) -> None:
    async with agent(served) as client:
        listed = [one.uri for one in (await client.list_resources()).resources]
        assert listed == [
            "onlooker://streams",
            "onlooker://streams/door",
            "onlooker://streams/door/alerts",
        ]
        for uri, word in zip(listed, ('"door"', '"seen_until_s"', '"last_event"'), strict=True):
            (read,) = (await client.read_resource(uri)).contents
            assert isinstance(read, types.TextResourceContents)
            assert word in read.text
        (seen,) = (await client.read_resource("onlooker://streams/door/pictures/0.5")).contents
        assert isinstance(seen, types.BlobResourceContents)
        assert base64.b64decode(seen.blob).startswith(b"\xff\xd8")
        with pytest.raises(MCPError, match="there is no resource"):
            await client.read_resource("onlooker://door")


async def test_a_subscriber_hears_of_an_alert_and_of_the_end(served: Served) -> None:
    uri = "onlooker://streams/door/alerts"
    async with agent(served) as client:
        await told(client, "watch", stream="door", **RED)
        async with limited("changes"), client.listen(resource_subscriptions=[uri]) as changes:
            await show(served, "red", at_s=2)
            assert await anext(changes) == ResourceUpdated(uri=uri)
            assert len((await told(client, "alerts", stream="door"))["alerts"]) == 1
            async with served.http(headers={"authorization": f"Bearer {KEY}"}) as http:
                await http.delete("/v1/streams/door")
            assert [change async for change in changes] == [ResourceUpdated(uri=uri)]


async def test_a_subscriber_who_leaves_leaves_nothing_behind(served: Served) -> None:
    uri = "onlooker://streams/door"
    stream = served.gateway.hub.get("door")
    async with agent(served) as client:
        async with limited("a reader"), client.listen(resource_subscriptions=[uri]):
            assert stream.status().subscribers == 1
        await until(lambda: stream.status().subscribers == 0)
    await until(lambda: served.gateway.requests.taken == 0)


async def test_a_server_that_stops_ends_subscriptions_in_order() -> None:
    async with serving(server__api_keys=KEY) as served:
        await furnish(served)
        async with agent(served) as client, limited("the end"):
            uri = "onlooker://streams/door"
            async with client.listen(resource_subscriptions=[uri]) as changes:
                served.server.should_exit = True
                assert {change async for change in changes} <= {ResourceUpdated(uri=uri)}


async def test_a_subscription_names_a_bounded_number_of_streams(served: Served) -> None:
    uris = [f"onlooker://streams/s{number}" for number in range(MAX_FOLLOWED + 1)]
    async with agent(served) as client:
        with pytest.raises(MCPError, match=f"may name {MAX_FOLLOWED} streams"):
            async with client.listen(resource_subscriptions=uris):
                pass


async def test_who_may_not_read_may_not_listen() -> None:
    keys = f"{KEY},+ask:good-for-asking"
    async with serving(server__api_keys=keys) as served:
        await furnish(served)
        async with agent(served, key="good-for-asking") as client:
            with pytest.raises(MCPError, match="takes the scope 'read'"):
                async with client.listen(resource_subscriptions=["onlooker://streams/door"]):
                    pass


# ---- a fleet


@pytest.mark.redis
async def test_a_tool_reaches_the_stream_of_another_server() -> None:
    with redis_of_a_fleet() as url:
        async with member(url, "a", **ONE_CLIP_A_FRAME) as a, member(url, "b") as b:
            await furnish(a)
            async with agent(b) as client:
                answer = await told(client, "ask", stream="door", question="How many clips?")
                assert answer["answer"] == "I have seen 2 clips up to 1.00 s."
            assert b.metric("onlooker_relays_total", kind="http", outcome="done") == 1


# ---- over stdio


async def test_the_command_speaks_for_a_server_over_stdio(served: Served) -> None:
    started = StdioServerParameters(
        command=sys.executable,
        args=["-m", "onlooker.server", "mcp", "--server", served.base],
        env={"ONLOOKER_API_KEY": KEY, "PYTHONPATH": ":".join(sys.path)},
    )
    uri = "onlooker://streams/door/alerts"
    async with limited("the command"), Client(stdio_client(started)) as client:
        assert len((await client.list_tools()).tools) == len(TOOLS)
        answer = await told(client, "ask", stream="door", question="How many clips?")
        assert answer["answer"] == "I have seen 2 clips up to 1.00 s."
        await told(client, "watch", stream="door", **RED)
        async with client.listen(resource_subscriptions=[uri]) as changes:
            await show(served, "red", at_s=2)
            assert await anext(changes) == ResourceUpdated(uri=uri)


async def test_a_server_that_is_not_there_is_said_to_be_missing() -> None:
    nowhere = "http://127.0.0.1:9"
    async with httpx.AsyncClient(base_url=nowhere, trust_env=False) as http:
        with pytest.raises(ApiRefusal, match=f"the server at {nowhere} cannot be reached: "):
            await TOOLS["list_streams"].call(ServerApi(http), NoArguments())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "pip install 'onlooker[mcp]'"), (["--server", "ftp://x"], "not the address of a server")],
)
def test_a_command_that_cannot_work_says_why(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not arguments:
        monkeypatch.setitem(sys.modules, "mcp", None)
    program = typer.Typer()
    stdio_command.register(program)
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 2
    assert said in result.output
