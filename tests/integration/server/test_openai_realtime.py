"""The official OpenAI SDK's realtime client, unpatched, drives the server."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from openai import AsyncOpenAI

from onlooker.engine.fake import ScriptedEngine
from tests.fakes.served import KEY, Served, data_url, frame_message, jpeg, serving
from tests.fakes.waiting import limited

SCRIPT = (
    (r"(?i)colou?r", "The newest clip is mostly {colour}."),
    (r"(?i)picture", "There are {num_images} pictures."),
    (r"(?i)before", "You asked {num_turns} questions before."),
    (r"(?i)dial", "The number is {result}."),
    (r"(?i)slow", "one two three four five six seven eight nine ten"),
    (r"", "I have seen {num_clips} clips."),
)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(
        engine=ScriptedEngine(SCRIPT), server__api_keys=KEY, server__dialogue_turns=4
    ) as running:
        yield running


@pytest.fixture
async def client(served: Served) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=served.api, api_key=KEY) as made:
        yield made


async def read_until(connection: Any, event_type: str) -> list[Any]:
    """All events up to the first of `event_type`."""
    events = []
    async with limited(event_type):
        async for event in connection:
            events.append(event)
            if event.type == event_type:
                return events
    raise AssertionError(f"the connection ended before {event_type}")


async def ask(connection: Any, text: str, *images: str) -> list[Any]:
    """Ask in the conversation; the events of the answer."""
    content: list[dict[str, str]] = [{"type": "input_text", "text": text}]
    content += [{"type": "input_image", "image_url": image} for image in images]
    await connection.conversation.item.create(
        item={"type": "message", "role": "user", "content": content}
    )
    await read_until(connection, "conversation.item.done")
    await connection.response.create()
    return await read_until(connection, "response.done")


async def test_the_sdk_connects_and_updates_the_session(client: AsyncOpenAI) -> None:
    async with client.realtime.connect(model="fake") as connection:
        created = (await read_until(connection, "session.created"))[0]
        assert created.session.model == "fake"
        assert created.session.capabilities["engine_mode"] == "fake"
        await connection.session.update(
            session={
                "type": "realtime",
                "instructions": "Be brief.",
                "max_output_tokens": 50,
                "output_modalities": ["text"],
            }
        )
        updated = (await read_until(connection, "session.updated"))[-1]
        assert updated.session.instructions == "Be brief."
        assert updated.session.max_output_tokens == 50


async def test_an_answer_comes_as_openai_s_sequence_of_events(client: AsyncOpenAI) -> None:
    async with client.realtime.connect(model="fake") as connection:
        events = await ask(connection, "How many?")
    types = [event.type for event in events if not event.type.startswith("input_video")]
    deltas = types.count("response.output_text.delta")
    assert deltas >= 2
    assert types == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * deltas,
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    done = events[-1].response
    assert text == "I have seen 0 clips."
    assert done.status == "completed"
    assert done.output[0].content[0].text == text
    assert done.usage.output_tokens == deltas
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens


async def test_the_answer_is_about_the_frames_that_were_sent(
    served: Served, client: AsyncOpenAI
) -> None:
    async with client.realtime.connect(model="fake") as connection:
        await read_until(connection, "session.created")
        for index in range(4):  # a binary message goes through the SDK's own connection
            message = frame_message(jpeg((220, 40, 40)), sequence=index, at_s=index * 0.5)
            await connection._connection.send(message)
        done = (await ask(connection, "Which colour?"))[-1].response
    assert done.output[0].content[0].text == "The newest clip is mostly red."
    assert done.onlooker["asked_s"] == 1.5


async def test_a_picture_comes_with_the_question(client: AsyncOpenAI) -> None:
    async with client.realtime.connect(model="fake") as connection:
        url = data_url(jpeg((1, 2, 3)))
        done = (await ask(connection, "How many pictures?", url))[-1].response
        assert done.output[0].content[0].text == "There are 1 pictures."
        again = (await ask(connection, "And how many pictures now?"))[-1].response
        assert again.output[0].content[0].text == "There are 0 pictures."


async def test_earlier_turns_are_the_dialogue(client: AsyncOpenAI) -> None:
    async with client.realtime.connect(model="fake") as connection:
        for number in range(3):
            done = (await ask(connection, "What was before?"))[-1].response
            assert done.output[0].content[0].text == f"You asked {number} questions before."
        await connection.response.create(response={"conversation": "none"})
        beside = (await read_until(connection, "response.done"))[-1].response
        assert beside.output[0].content[0].text == "You asked 0 questions before."


async def test_how_many_turns_a_question_brings_along_follows_from_the_model() -> None:
    """Unless the client says how many."""
    info = replace(ScriptedEngine(SCRIPT).info, dialogue_turns=0)
    async with (
        serving(engine=ScriptedEngine(SCRIPT, info=info), server__api_keys=KEY) as served,
        AsyncOpenAI(base_url=served.api, api_key=KEY) as client,
    ):
        model = (await client.models.list()).data[0].to_dict()
        assert model["dialogue_turns"] == 0
        async with client.realtime.connect(model="fake") as connection:
            created = (await read_until(connection, "session.created"))[-1]
            assert created.session.dialogue_turns == 0
            for _ in range(2):
                done = (await ask(connection, "What was before?"))[-1].response
                assert done.output[0].content[0].text == "You asked 0 questions before."
                assert done.onlooker["dialogue_turns"] == 0
            more: Any = {"type": "realtime", "dialogue_turns": 4}
            await connection.session.update(session=more)
            updated = (await read_until(connection, "session.updated"))[-1]
            assert updated.session.dialogue_turns == 4
            done = (await ask(connection, "What was before?"))[-1].response
            assert done.output[0].content[0].text == "You asked 2 questions before."
            assert done.onlooker["dialogue_turns"] == 2


async def test_the_instructions_and_metadata_of_one_response_are_its_own(
    client: AsyncOpenAI,
) -> None:
    async with client.realtime.connect(model="fake") as connection:
        await connection.response.create(
            response={
                "conversation": "none",
                "metadata": {"topic": "count"},
                "instructions": "Count.",
                "max_output_tokens": 2,
                "input": [
                    {
                        "type": "message",
                        "role": "user",
                        "content": [{"type": "input_text", "text": "How many?"}],
                    }
                ],
            }
        )
        done = (await read_until(connection, "response.done"))[-1].response
    assert done.metadata == {"topic": "count"}
    assert done.status == "incomplete"
    assert done.status_details.reason == "max_output_tokens"
    assert done.usage.output_tokens == 2


async def test_a_running_answer_can_be_cancelled(served: Served) -> None:
    engine = ScriptedEngine(SCRIPT, tpot_s=30.0)
    async with (
        serving(engine=engine) as slow,
        AsyncOpenAI(base_url=slow.api, api_key="none-needed") as client,
        client.realtime.connect(model="fake") as connection,
    ):
        await connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "slow"}],
            }
        )
        await connection.response.create()
        await read_until(connection, "response.output_text.delta")
        await connection.response.create()
        error = (await read_until(connection, "error"))[-1].error
        assert error.code == "conversation_already_has_active_response"
        await connection.response.cancel()
        done = (await read_until(connection, "response.done"))[-1].response
        assert done.status == "cancelled"
        assert done.status_details.reason == "client_cancelled"
        assert done.output[0].status == "incomplete"
        assert done.output[0].content[0].text == "one"
        await connection.response.cancel()
        error = (await read_until(connection, "error"))[-1].error
        assert error.code == "response_cancel_not_active"
    assert engine.num_answering == 0


async def test_an_answer_cancelled_in_the_same_breath_still_ends(client: AsyncOpenAI) -> None:
    async with client.realtime.connect(model="fake") as connection:
        await ask(connection, "How many?")
        await asyncio.gather(connection.response.create(), connection.response.cancel())
        events = await read_until(connection, "response.done")
    types = [event.type for event in events]
    assert types.count("response.created") == 1


async def test_errors_name_the_event_and_the_connection_stays(client: AsyncOpenAI) -> None:
    async with client.realtime.connect(model="fake") as connection:
        smell: Any = {"type": "input_smell.append", "event_id": "mine-1"}
        await connection.send(smell)
        error = (await read_until(connection, "error"))[-1].error
        assert (error.code, error.event_id) == ("unknown_event", "mine-1")
        assert "input_smell.append" in error.message
        unknown: Any = {"type": "realtime", "smell": "alloy"}
        await connection.session.update(session=unknown, event_id="mine-2")
        error = (await read_until(connection, "error"))[-1].error
        assert (error.code, error.param, error.event_id) == (
            "invalid_request",
            "session.smell",
            "mine-2",
        )
        assert (await ask(connection, "How many?"))[-1].response.status == "completed"


async def test_items_can_be_read_and_deleted(client: AsyncOpenAI) -> None:
    async with client.realtime.connect(model="fake") as connection:
        await connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "id": "item-1",
                "content": [{"type": "input_text", "text": "Hello"}],
            }
        )
        await read_until(connection, "conversation.item.done")
        await connection.conversation.item.retrieve(item_id="item-1")
        found = (await read_until(connection, "conversation.item.retrieved"))[-1]
        assert found.item.content[0].text == "Hello"
        await connection.conversation.item.delete(item_id="item-1")
        await read_until(connection, "conversation.item.deleted")
        await connection.conversation.item.retrieve(item_id="item-1")
        error = (await read_until(connection, "error"))[-1].error
        assert error.code == "not_found"


async def test_a_failed_answer_ends_with_response_done() -> None:
    engine = ScriptedEngine(SCRIPT, fail_answer=lambda question: True)
    async with (
        serving(engine=engine) as served,
        AsyncOpenAI(base_url=served.api, api_key="none-needed") as client,
        client.realtime.connect(model="fake") as connection,
    ):
        done = (await ask(connection, "How many?"))[-1].response
        assert done.status == "failed"
        assert done.status_details.error.code == "engine_failed"
        assert done.output == []


async def test_a_short_lived_token_of_the_sdk_opens_a_connection(
    served: Served, client: AsyncOpenAI
) -> None:
    secret = await client.realtime.client_secrets.create(
        expires_after={"anchor": "created_at", "seconds": 60},
        session={"type": "realtime", "model": "fake"},
    )
    assert secret.session.to_dict()["model"] == "fake"
    async with (
        AsyncOpenAI(base_url=served.api, api_key=secret.value) as browser,
        browser.realtime.connect(model="fake") as connection,
    ):
        assert (await read_until(connection, "session.created"))[0].session.type == "realtime"


DIAL: Any = {
    "type": "function",
    "name": "dial",
    "description": "Dials a number.",
    "parameters": {"type": "object", "properties": {"number": {"type": "string"}}},
}


async def test_a_function_is_called_and_its_result_is_answered(client: AsyncOpenAI) -> None:
    async with client.realtime.connect(model="fake") as connection:
        await connection.session.update(session={"type": "realtime", "tools": [DIAL]})
        session = (await read_until(connection, "session.updated"))[-1].session
        assert [tool.name for tool in session.tools] == ["dial"]
        events = await ask(connection, "Please dial.")
        assert [event.type for event in events] == [
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        (call,) = events[-1].response.output
        assert (call.type, call.name, call.status) == ("function_call", "dial", "completed")
        assert events[4].arguments == call.arguments == '{"number": "Please dial."}'
        assert (events[4].call_id, events[4].item_id) == (call.call_id, call.id)
        # Sent without waiting, as soon as the call is known.
        await connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": "busy"}
        )
        await connection.response.create()
        events = await read_until(connection, "response.done")
        assert events[-1].response.output[0].content[0].text == "The number is busy."


async def test_a_call_and_its_result_can_be_read_back_and_deleted(client: AsyncOpenAI) -> None:
    async with client.realtime.connect(model="fake") as connection:
        items: list[Any] = [
            {"type": "function_call", "call_id": "c1", "name": "dial", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "busy", "id": "said"},
        ]
        for item in items:
            await connection.conversation.item.create(item=item)
            await read_until(connection, "conversation.item.done")
        await connection.conversation.item.retrieve(item_id="said")
        item = (await read_until(connection, "conversation.item.retrieved"))[-1].item
        assert (item.type, item.call_id, item.output) == ("function_call_output", "c1", "busy")
        await connection.conversation.item.delete(item_id="said")
        await read_until(connection, "conversation.item.deleted")


async def test_an_answer_s_own_functions_come_before_the_session_s(client: AsyncOpenAI) -> None:
    async with client.realtime.connect(model="fake") as connection:
        await connection.session.update(
            session={"type": "realtime", "tools": [DIAL], "tool_choice": "required"}
        )
        await read_until(connection, "session.updated")
        forced = (await ask(connection, "Hello?"))[-1].response.output
        assert [(item.type, item.name) for item in forced] == [("function_call", "dial")]
        await connection.response.create(response={"tools": []})
        said = (await read_until(connection, "response.done"))[-1].response.output
        assert [item.type for item in said] == ["message"]
