"""What OpenAI's realtime clients send whole: taken as far as it can be, and told what is not."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from onlooker.core.protocol.server_events import is_openai
from onlooker.engine.fake import ScriptedEngine
from tests.fakes.served import (
    Served,
    errors_of,
    frame_message,
    jpeg,
    next_event,
    send,
    serving,
    user_item,
)

AGENTS_FORM = {
    "type": "realtime",
    "object": "realtime.session",
    "model": "fake",
    "instructions": "Answer in one word.",
    "output_modalities": ["audio", "text"],
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "noise_reduction": None,
            "transcription": {"model": "gpt-4o-mini-transcribe"},
            "turn_detection": {"type": "semantic_vad", "interrupt_response": True},
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "ash", "speed": 1.0},
    },
    "include": [],
    "max_output_tokens": "inf",
    "parallel_tool_calls": None,
    "prompt": None,
    "tool_choice": "auto",
    "tools": [],
    "tracing": "auto",
    "truncation": "auto",
}
"""What the OpenAI Agents SDKs send, with every field that they have."""


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as running:
        yield running


async def updated(ws: Any, session: dict[str, Any]) -> dict[str, Any]:
    """The session after an update."""
    await send(ws, "session.update", session=session)
    found: dict[str, Any] = (await next_event(ws, "session.updated"))["session"]
    return found


async def test_a_whole_form_is_taken_and_what_was_passed_over_is_named(served: Served) -> None:
    async with served.ws() as ws:
        session = await updated(ws, AGENTS_FORM)
        assert session["instructions"] == "Answer in one word."
        assert session["output_modalities"] == ["text"]
        assert session["ignored"] == ["tracing", "output_modalities"]
        warning = await next_event(ws, "session.warning", "error")
        assert warning["params"] == ["session.tracing", "session.output_modalities"]
        assert await errors_of(ws) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "mcp", "server_label": "dmcp", "server_url": "https://dmcp.example"}]),
        ("tool_choice", "required"),
        ("prompt", {"id": "pmpt_1"}),
        ("output_modalities", ["audio"]),
        ("modalities", ["audio"]),
        ("instrctions", "Be brief."),
    ],
)
async def test_what_would_mislead_is_refused_by_name_and_the_rest_is_in_force(
    served: Served, field: str, value: Any
) -> None:
    async with served.ws() as ws:
        session = await updated(ws, {"instructions": "Be kind.", field: value})
        assert session["instructions"] == "Be kind."
        (error,) = await errors_of(ws)
        named = {"modalities": "output_modalities"}.get(field, field)
        assert (error["code"], error["param"]) == ("invalid_request", f"session.{named}")
        assert "is in force" in error["message"]


async def test_a_session_that_is_sent_back_whole_is_taken(served: Served) -> None:
    async with served.ws() as ws:
        session = await updated(ws, {"dialogue_turns": 3})
        session["instructions"] = "Be kind."
        again = await updated(ws, session)
        assert again == session
        assert again["dialogue_turns"] == 3
        assert (await updated(ws, {"dialogue_turns": None}))["dialogue_turns"] == 1
        assert await errors_of(ws) == []


async def test_the_older_names_of_fields_are_taken(served: Served) -> None:
    async with served.ws() as ws:
        session = await updated(
            ws, {"modalities": ["text", "audio"], "max_response_output_tokens": 7, "voice": "ash"}
        )
        assert session["max_output_tokens"] == 7


async def test_an_answer_that_would_mislead_is_not_given(served: Served) -> None:
    async with served.ws() as ws:
        asked = {"input": [user_item("Why?")], "tools": [{"type": "mcp", "server_label": "x"}]}
        await send(ws, "response.create", response=asked)
        event = await next_event(ws, "error", "response.created")
        assert event["error"]["param"] == "response.tools"
        await send(ws, "response.create", response={**asked, "tools": [], "audio": {}})
        assert (await next_event(ws, "response.done"))["response"]["status"] == "completed"


async def test_sound_is_refused_once_and_does_not_end_the_connection(served: Served) -> None:
    async with served.ws() as ws:
        for _ in range(200):
            await send(ws, "input_audio_buffer.append", audio="AAAA")
        (error,) = await errors_of(ws)
        assert (error["code"], error["param"]) == ("audio_not_supported", "audio")
        await send(ws, "input_audio_buffer.commit")
        (error,) = await errors_of(ws)
        assert error["code"] == "audio_not_supported"


async def test_buffers_of_sound_are_empty_when_they_are_cleared(served: Served) -> None:
    async with served.ws() as ws:
        await send(ws, "input_audio_buffer.clear")
        await next_event(ws, "input_audio_buffer.cleared")
        await send(ws, "output_audio_buffer.clear")
        await next_event(ws, "output_audio_buffer.cleared")
        assert await errors_of(ws) == []


async def test_an_answer_that_is_to_be_cut_short_is_told_of_as_text(served: Served) -> None:
    async with served.ws() as ws:
        await send(ws, "conversation.item.create", item={**user_item("Why?"), "id": "mine"})
        for item_id, code in (("mine", "audio_not_supported"), ("other", "not_found")):
            cut = {"item_id": item_id, "content_index": 0, "audio_end_ms": 12}
            await send(ws, "conversation.item.truncate", **cut)
            (error,) = await errors_of(ws)
            assert (error["code"], error["param"]) == (code, "item_id")


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "function_call_output", "call_id": "call_1", "output": "12"}, "item.call_id"),
        ({"type": "mcp_approval_response", "approve": True}, "item.type"),
        ({"type": "function_call", "call_id": "call_1", "name": "dial"}, "item.arguments"),
    ],
)
async def test_an_item_that_cannot_be_taken_is_refused_by_its_field(
    served: Served, item: dict[str, Any], param: str
) -> None:
    async with served.ws() as ws:
        await send(ws, "conversation.item.create", item=item)
        (error,) = await errors_of(ws)
        assert error["param"] == param


async def test_functions_are_refused_where_the_model_cannot_call_and_the_rest_is_in_force() -> None:
    info = replace(ScriptedEngine().info, calls_functions=False)
    dial = [{"type": "function", "name": "dial"}]
    async with serving(engine=ScriptedEngine(info=info)) as served, served.ws() as ws:
        session = await updated(ws, {"instructions": "Be kind.", "tools": dial})
        assert (session["instructions"], session["tools"]) == ("Be kind.", [])
        (error,) = await errors_of(ws)
        assert (error["code"], error["param"]) == ("invalid_request", "session.tools")
        assert "cannot call functions" in error["message"]
        await send(ws, "response.create", response={"input": [user_item("Why?")]})
        assert (await next_event(ws, "response.done"))["response"]["status"] == "completed"


async def told(served: Served, *, events: str | None, until: str) -> set[str]:
    """Types of the events that come to a peer who asks for `events` and asks one question."""
    found = set()
    async with served.ws("?stream=door", events=events) as ws:
        await send(ws, "session.update", session=AGENTS_FORM)
        await send(ws, "response.create", response={"input": [user_item("Why?")]})
        while until not in found:
            found.add((await next_event(ws))["type"])
    return found


@pytest.mark.parametrize("events", [None, "openai"])
async def test_a_client_of_openai_s_sees_no_event_that_openai_does_not_have(
    served: Served, events: str | None
) -> None:
    async with served.http() as http:
        await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
        headers = {"content-type": "image/jpeg"}
        await http.post("/v1/streams/door/frames?t=0", content=jpeg(), headers=headers)
        found = await told(served, events=events, until="response.done")
    assert "session.updated" in found
    assert [event for event in found if not is_openai(event)] == []


async def test_who_asks_for_all_events_is_told_them(served: Served) -> None:
    assert "input_video.pace" in await told(served, events="all", until="response.done")


@pytest.mark.parametrize("speaks", ["frame", "ping", "session.update"])
async def test_who_speaks_of_video_is_told_of_it(served: Served, speaks: str) -> None:
    async with served.ws(events=None) as ws:
        await next_event(ws, "session.created")
        if speaks == "frame":
            await ws.send(frame_message(jpeg()))
        elif speaks == "ping":
            await send(ws, "ping")
        else:
            await send(ws, "session.update", session={"input_video": {"ack": "problems"}})
        assert (await next_event(ws))["type"] == "input_video.pace"


async def test_events_of_an_unknown_kind_are_not_asked_for(served: Served) -> None:
    with pytest.raises(InvalidStatus, match="400"):
        async with served.ws(events="some"):
            pass
