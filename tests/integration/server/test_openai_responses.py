"""The official OpenAI SDK asks about streams and pictures with responses."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Literal

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from onlooker.engine.fake import ScriptedEngine
from tests.fakes.served import Served, data_url, jpeg, serving

SCRIPT = (
    (r"(?i)colou?r", "The newest clip is mostly {colour}."),
    (r"(?i)picture", "There are {num_images} pictures."),
    (r"(?i)before", "You asked {num_turns} questions before."),
    (r"(?i)told", "I was told: {instructions}"),
    (r"(?i)dial", "The number is {result}."),
    (r"", "I have seen {num_clips} clips."),
)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(engine=ScriptedEngine(SCRIPT), server__max_stored_responses=3) as running:
        yield running


@pytest.fixture
async def client(served: Served) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=served.api, api_key="none-needed", max_retries=0) as made:
        yield made


async def open_stream(served: Served, name: str, colour: Any = (50, 80, 220)) -> None:
    async with served.http() as http:
        await http.post("/v1/streams", json={"id": name, "clock": "virtual"})
        await http.post(
            f"/v1/streams/{name}/frames?t=0",
            content=jpeg(colour),
            headers={"content-type": "image/jpeg"},
        )


def about(stream: str, text: str) -> list[Any]:
    return [
        {
            "role": "user",
            "content": [
                {"type": "input_image", "image_url": f"stream://{stream}", "detail": "auto"},
                {"type": "input_text", "text": text},
            ],
        }
    ]


async def test_a_question_about_a_stream(served: Served, client: AsyncOpenAI) -> None:
    await open_stream(served, "film")
    reply = await client.responses.create(model="fake", input=about("film", "Colour?"))
    assert reply.output_text == "The newest clip is mostly blue."
    assert reply.status == "completed"
    assert reply.usage is not None
    assert reply.usage.output_tokens == 6


async def test_a_stream_can_be_named_as_a_video(served: Served, client: AsyncOpenAI) -> None:
    await open_stream(served, "film")
    content = [
        {"type": "input_video", "video_url": "stream://film"},
        {"type": "input_text", "text": "Colour?"},
    ]
    asked: Any = [{"role": "user", "content": content}]
    reply = await client.responses.create(model="fake", input=asked)
    assert reply.output_text == "The newest clip is mostly blue."


async def test_a_streamed_answer_comes_as_openai_s_sequence_of_events(
    client: AsyncOpenAI,
) -> None:
    events = [e async for e in await client.responses.create(model="fake", input="?", stream=True)]
    types = [event.type for event in events]
    deltas = types.count("response.output_text.delta")
    assert deltas >= 2
    assert types == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * deltas,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "I have seen 0 clips."


async def test_an_answer_that_was_cut_is_incomplete(client: AsyncOpenAI) -> None:
    reply = await client.responses.create(model="fake", input="?", max_output_tokens=2)
    assert reply.status == "incomplete"
    assert reply.incomplete_details is not None
    assert reply.incomplete_details.reason == "max_output_tokens"
    assert reply.output_text == "I have"
    asked: Any = {"model": "fake", "input": "?", "max_output_tokens": 2, "stream": True}
    events = [event async for event in await client.responses.create(**asked)]
    assert events[-1].type == "response.incomplete"


async def test_pictures_are_asked_about_and_leave_no_stream(
    served: Served, client: AsyncOpenAI
) -> None:
    picture = {"type": "input_image", "image_url": data_url(jpeg()), "detail": "low"}
    content: Any = [picture, picture, {"type": "input_text", "text": "How many pictures?"}]
    reply = await client.responses.create(
        model="fake", input=[{"role": "user", "content": content}]
    )
    assert reply.output_text == "There are 2 pictures."
    assert served.gateway.hub.streams() == []


async def test_a_conversation_goes_on_about_the_same_stream(
    served: Served, client: AsyncOpenAI
) -> None:
    await open_stream(served, "film")
    first = await client.responses.create(model="fake", input=about("film", "Colour?"))
    second = await client.responses.create(
        model="fake", input="And before?", previous_response_id=first.id, instructions="Be brief."
    )
    assert second.output_text == "You asked 1 questions before."
    third = await client.responses.create(
        model="fake", input="Colour?", previous_response_id=second.id
    )
    assert third.output_text == "The newest clip is mostly blue."
    await open_stream(served, "door", (220, 40, 40))
    other = await client.responses.create(
        model="fake", input=about("door", "Colour?"), previous_response_id=third.id
    )
    assert other.output_text == "The newest clip is mostly red."


async def test_how_many_turns_a_response_brings_along_follows_from_the_model() -> None:
    """Unless its client says how many, for all of a conversation."""
    info = replace(ScriptedEngine(SCRIPT).info, dialogue_turns=0)
    async with (
        serving(engine=ScriptedEngine(SCRIPT, info=info)) as served,
        AsyncOpenAI(base_url=served.api, api_key="none-needed") as client,
    ):
        for told, expected in ((None, [0, 0, 0, 0]), (2, [0, 1, 2, 2])):
            before: str | None = None
            for number in expected:
                reply = await client.responses.create(
                    model="fake",
                    input="What was before?",
                    previous_response_id=before,
                    extra_body={"dialogue_turns": told},
                )
                assert reply.output_text == f"You asked {number} questions before."
                assert reply.to_dict()["onlooker"]["dialogue_turns"] == number  # type: ignore[index]
                before = reply.id


async def test_a_header_names_the_stream_also_of_later_questions(
    served: Served, client: AsyncOpenAI
) -> None:
    await open_stream(served, "film")
    first = await client.responses.create(
        model="fake", input="Colour?", extra_headers={"Onlooker-Stream": "film"}
    )
    assert first.output_text == "The newest clip is mostly blue."
    second = await client.responses.create(
        model="fake", input="Colour?", previous_response_id=first.id
    )
    assert second.output_text == "The newest clip is mostly blue."


async def test_instructions_hold_for_one_response(client: AsyncOpenAI) -> None:
    first = await client.responses.create(
        model="fake",
        input=[
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": "What were you told?"},
        ],
        instructions="Be brief.",
    )
    assert first.output_text == "I was told: Be brief.\nBe kind."
    second = await client.responses.create(
        model="fake", input="What were you told?", previous_response_id=first.id
    )
    assert second.output_text == "I was told: Be kind."


async def test_kept_responses_are_read_and_deleted(client: AsyncOpenAI) -> None:
    made = await client.responses.create(model="fake", input="?", metadata={"a": "b"})
    found = await client.responses.retrieve(made.id)
    assert (found.output_text, found.metadata) == (made.output_text, {"a": "b"})
    await client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError, match="was deleted"):
        await client.responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError, match="Send the earlier messages"):
        await client.responses.create(model="fake", input="?", previous_response_id=made.id)


async def test_what_is_not_to_be_stored_is_not(served: Served, client: AsyncOpenAI) -> None:
    made = await client.responses.create(model="fake", input="?", store=False)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)
    events = await client.responses.create(model="fake", input="?", stream=True)
    ids = [event.response.id async for event in events if event.type == "response.completed"]
    assert (await client.responses.retrieve(ids[0])).id == ids[0]


async def test_the_oldest_make_room(served: Served, client: AsyncOpenAI) -> None:
    made = [await client.responses.create(model="fake", input="?") for _ in range(4)]
    with pytest.raises(openai.NotFoundError, match="max_stored_responses"):
        await client.responses.retrieve(made[0].id)
    assert (await client.responses.retrieve(made[1].id)).id == made[1].id
    assert served.metric("onlooker_responses_forgotten_total") == 1


async def test_a_response_belongs_to_its_tenant() -> None:
    async with serving(server__api_keys="acme:key-of-acme,umbra:key-of-umbra") as served:
        clients = {
            name: AsyncOpenAI(base_url=served.api, api_key=f"key-of-{name}", max_retries=0)
            for name in ("acme", "umbra")
        }
        async with clients["acme"], clients["umbra"]:
            made = await clients["acme"].responses.create(model="fake", input="?")
            assert (await clients["acme"].responses.retrieve(made.id)).id == made.id
            with pytest.raises(openai.NotFoundError):
                await clients["umbra"].responses.retrieve(made.id)


class Seen(BaseModel):
    colour: Literal["red", "blue"]
    count: int


async def test_an_answer_is_read_as_an_object(client: AsyncOpenAI) -> None:
    reply = await client.responses.parse(model="fake", input="?", text_format=Seen)
    assert reply.output_parsed == Seen(colour="red", count=0)


DIAL: Any = {
    "type": "function",
    "name": "dial",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"number": {"type": "string"}},
        "required": ["number"],
        "additionalProperties": False,
    },
}


async def test_functions_are_called_and_their_results_are_taken(client: AsyncOpenAI) -> None:
    reply = await client.responses.create(model="fake", input="Please dial.", tools=[DIAL])
    (call,) = reply.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"number": "Please dial."}
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "busy"}
    reply = await client.responses.create(
        model="fake", input=[result], previous_response_id=reply.id, tools=[DIAL]
    )
    assert reply.output_text == "The number is busy."


async def test_a_conversation_can_be_sent_along_whole(client: AsyncOpenAI) -> None:
    said: list[Any] = [{"role": "user", "content": "Please dial."}]
    reply = await client.responses.create(model="fake", input=said, tools=[DIAL], store=False)
    said += reply.output
    (call,) = reply.output
    assert call.type == "function_call"
    said.append({"type": "function_call_output", "call_id": call.call_id, "output": "busy"})
    reply = await client.responses.create(model="fake", input=said, tools=[DIAL], store=False)
    assert reply.output_text == "The number is busy."
    said += [*reply.output, {"role": "user", "content": "What was before?"}]
    reply = await client.responses.create(model="fake", input=said, store=False)
    assert reply.output_text == "You asked 1 questions before."


async def test_functions_are_called_in_a_streamed_answer(client: AsyncOpenAI) -> None:
    asked: Any = {"model": "fake", "input": "Please dial.", "tools": [DIAL]}
    async with client.responses.stream(**asked) as stream:
        reply = await stream.get_final_response()
    (call,) = reply.output
    assert call.type == "function_call"
    assert call.status == "completed"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("background", True),
        ("conversation", "conv_1"),
        ("prompt", {"id": "p"}),
        ("tools", [{"type": "web_search"}]),
        ("top_k", 4),
    ],
)
async def test_what_would_mislead_is_refused_by_name(
    client: AsyncOpenAI, field: str, value: Any
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="fake", input="?", extra_body={field: value})
    assert str(refused.value.param).startswith(field)


async def test_what_changes_nothing_is_taken(client: AsyncOpenAI) -> None:
    reply = await client.responses.create(
        model="fake",
        input="?",
        include=["reasoning.encrypted_content", "message.output_text.logprobs"],
        reasoning={"effort": "low"},
        truncation="auto",
        tools=[],
        tool_choice="auto",
        parallel_tool_calls=True,
        text={"format": {"type": "text"}, "verbosity": "low"},
        user="me",
        background=False,
        service_tier="auto",
        prompt_cache_key="k",
    )
    (message,) = reply.output
    assert message.type == "message"
    (part,) = message.content
    assert part.type == "output_text"
    assert "".join(token.token for token in part.logprobs or []) == reply.output_text


async def test_a_failure_before_the_first_word_is_an_http_error(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no stream 'film'"):
        await client.responses.create(model="fake", input=about("film", "?"))
    broken: Any = {"type": "input_image", "image_url": data_url(b"no picture"), "detail": "low"}
    content: Any = [broken, {"type": "input_text", "text": "?"}]
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError, match="cannot be decoded"):
            await client.responses.create(
                model="fake", input=[{"role": "user", "content": content}], stream=stream
            )


async def test_a_path_that_there_is_not_says_what_there_is(served: Served) -> None:
    async with served.http() as http:
        for method, path in (("POST", "/v1/embeddings"), ("GET", "/v1/files"), ("PUT", "/v1/x/y")):
            reply = await http.request(method, path)
            assert reply.status_code == 404
            error = reply.json()["error"]
            assert error["type"] == "not_found_error"
            assert f"there is nothing at {path}; there is" in error["message"]
            assert "POST /v1/chat/completions" in error["message"]


async def test_a_method_that_a_path_does_not_have_says_which_it_has(served: Served) -> None:
    async with served.http() as http:
        reply = await http.put("/v1/streams")
        assert (reply.status_code, reply.headers["allow"]) == (405, "GET, POST")
        assert "it takes GET, POST" in reply.json()["error"]["message"]
        reply = await http.post("/v1/whip/door/of-no-use")
        assert (reply.status_code, reply.headers["allow"]) == (405, "DELETE, OPTIONS, PATCH")
