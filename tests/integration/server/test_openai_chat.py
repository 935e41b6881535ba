"""The official OpenAI SDK asks about streams and pictures with chat completions."""

import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import AnswerDelta, AnswerEvent, Question
from tests.fakes.served import Served, data_url, jpeg, serving

SCRIPT = (
    (r"(?i)colou?r", "The newest clip is mostly {colour}."),
    (r"(?i)picture", "There are {num_images} pictures."),
    (r"(?i)before", "You asked {num_turns} questions before."),
    (r"", "I have seen {num_clips} clips."),
)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(engine=ScriptedEngine(SCRIPT)) as running:
        yield running


@pytest.fixture
async def client(served: Served) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=served.api, api_key="none-needed", max_retries=0) as made:
        yield made


async def open_film(served: Served) -> None:
    async with served.http() as http:
        await http.post("/v1/streams", json={"id": "film", "clock": "virtual"})
        await http.post(
            "/v1/streams/film/frames?t=0",
            content=jpeg((50, 80, 220)),
            headers={"content-type": "image/jpeg"},
        )


def about_film(text: str) -> list[Any]:
    return [
        {
            "role": "user",
            "content": [
                {"type": "video_url", "video_url": {"url": "stream://film"}},
                {"type": "text", "text": text},
            ],
        }
    ]


async def test_a_question_about_a_stream(served: Served, client: AsyncOpenAI) -> None:
    await open_film(served)
    reply = await client.chat.completions.create(model="fake", messages=about_film("Colour?"))
    assert reply.choices[0].message.content == "The newest clip is mostly blue."
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 6


async def test_a_streamed_answer_with_usage(served: Served, client: AsyncOpenAI) -> None:
    await open_film(served)
    chunks = await client.chat.completions.create(
        model="fake",
        messages=about_film("Colour?"),
        stream=True,
        stream_options={"include_usage": True},
        temperature=0.5,
        seed=3,
        max_completion_tokens=3,
    )
    found = [chunk async for chunk in chunks]
    text = "".join(c.choices[0].delta.content or "" for c in found if c.choices)
    assert text == "The newest clip"
    assert [c.choices[0].finish_reason for c in found if c.choices][-1] == "length"
    assert found[-1].choices == []
    assert found[-1].usage is not None
    assert found[-1].usage.completion_tokens == 3


class Meanwhile(ScriptedEngine):
    """Says first what it does."""

    async def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        yield AnswerDelta("Looking. ", is_interim=True)
        async for event in super().answer(question):
            yield event


async def test_a_streamed_answer_is_what_the_client_will_say_was_answered() -> None:
    async with (
        serving(engine=Meanwhile(SCRIPT)) as served,
        AsyncOpenAI(base_url=served.api, api_key="none-needed", max_retries=0) as client,
    ):
        await open_film(served)
        chunks = await client.chat.completions.create(
            model="fake", messages=about_film("Colour?"), stream=True
        )
        deltas = [chunk.choices[0].delta async for chunk in chunks]
    assert "".join(one.content or "" for one in deltas) == "The newest clip is mostly blue."
    assert [one.role for one in deltas[:2]] == ["assistant", None]


async def test_a_question_about_pictures_leaves_no_stream(
    served: Served, client: AsyncOpenAI
) -> None:
    picture = {"type": "image_url", "image_url": {"url": data_url(jpeg())}}
    content: Any = [picture, picture, {"type": "text", "text": "How many pictures?"}]
    reply = await client.chat.completions.create(
        model="fake", messages=[{"role": "user", "content": content}]
    )
    assert reply.choices[0].message.content == "There are 2 pictures."
    assert served.gateway.hub.streams() == []


async def test_earlier_messages_are_the_dialogue(client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(
        model="fake",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "1"},
            {"role": "user", "content": "What was before?"},
        ],
    )
    assert reply.choices[0].message.content == "You asked 1 questions before."


async def test_models_are_listed(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["fake"]
    assert (await client.models.retrieve("fake")).id == "fake"


async def test_what_cannot_be_honoured_is_refused(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no stream 'film'"):
        await client.chat.completions.create(model="fake", messages=about_film("Colour?"))
    with pytest.raises(openai.NotFoundError, match="this server has 'fake'"):
        await client.chat.completions.create(model="gpt-9", messages=about_film("Colour?"))
    with pytest.raises(openai.BadRequestError, match="unknown field 'top_k'"):
        await client.chat.completions.create(
            model="fake", messages=about_film("Colour?"), extra_body={"top_k": 4}
        )
    video: Any = {"type": "video_url", "video_url": {"url": "https://example.org/film.mp4"}}
    with pytest.raises(openai.BadRequestError, match="stream://ID"):
        await client.chat.completions.create(
            model="fake", messages=[{"role": "user", "content": [video]}]
        )
    broken: Any = {"type": "image_url", "image_url": {"url": data_url(b"no picture")}}
    text: Any = {"type": "text", "text": "What?"}
    with pytest.raises(openai.APIStatusError, match="cannot be decoded") as refused:
        await client.chat.completions.create(
            model="fake", messages=[{"role": "user", "content": [broken, text]}]
        )
    assert refused.value.status_code == 415
    with pytest.raises(openai.APIStatusError, match="cannot be decoded"):
        await client.chat.completions.create(
            model="fake", messages=[{"role": "user", "content": [broken, text]}], stream=True
        )


async def test_an_answer_ends_before_a_stop(client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(
        model="fake", messages=[{"role": "user", "content": "Hm?"}], stop=["seen", "clips"]
    )
    assert reply.choices[0].message.content == "I have "
    assert reply.choices[0].finish_reason == "stop"


async def test_tokens_are_told_with_their_probabilities(client: AsyncOpenAI) -> None:
    asked: Any = {
        "model": "fake",
        "messages": [{"role": "user", "content": "Hm?"}],
        "logprobs": True,
        "top_logprobs": 1,
    }
    reply = await client.chat.completions.create(**asked)
    told = reply.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    assert "".join(token.token for token in told.content) == reply.choices[0].message.content
    assert told.content[0].bytes == [ord("I")]
    assert [top.token for top in told.content[0].top_logprobs] == ["I"]
    chunks = [chunk async for chunk in await client.chat.completions.create(**asked, stream=True)]
    pieces = [c.choices[0].logprobs.content for c in chunks if c.choices[0].logprobs]
    assert "".join(piece[0].token for piece in pieces if piece) == "I have seen 0 clips."


class Seen(BaseModel):
    colour: Literal["red", "blue"]
    count: int


async def test_an_answer_is_read_as_an_object(client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.parse(
        model="fake", messages=[{"role": "user", "content": "Hm?"}], response_format=Seen
    )
    assert reply.choices[0].message.parsed == Seen(colour="red", count=0)


DIAL: Any = {
    "type": "function",
    "function": {
        "name": "dial",
        "parameters": {"type": "object", "properties": {"number": {"type": "string"}}},
    },
}


async def test_functions_are_called_and_their_results_are_taken(client: AsyncOpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "Please dial a number."}]
    reply = await client.chat.completions.create(model="fake", messages=messages, tools=[DIAL])
    assert reply.choices[0].finish_reason == "tool_calls"
    said = reply.choices[0].message
    assert said.content is None
    (call,) = said.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "dial"
    assert json.loads(call.function.arguments) == {"number": "Please dial a number."}
    messages += [said, {"role": "tool", "tool_call_id": call.id, "content": "busy"}]
    reply = await client.chat.completions.create(model="fake", messages=messages, tools=[DIAL])
    assert reply.choices[0].message.content == "I have seen 0 clips."
    assert reply.choices[0].message.tool_calls is None


async def test_functions_are_called_in_a_streamed_answer(client: AsyncOpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "Please dial a number."}]
    async with client.chat.completions.stream(
        model="fake", messages=messages, tools=[DIAL]
    ) as stream:
        reply = await stream.get_final_completion()
    assert reply.choices[0].finish_reason == "tool_calls"
    (call,) = reply.choices[0].message.tool_calls or []
    assert (call.function.name, call.id[:5]) == ("dial", "call_")


async def test_a_header_names_the_stream(served: Served, client: AsyncOpenAI) -> None:
    await open_film(served)
    asked: Any = {"model": "fake", "messages": [{"role": "user", "content": "Colour?"}]}
    reply = await client.chat.completions.create(**asked, extra_headers={"Onlooker-Stream": "film"})
    assert reply.choices[0].message.content == "The newest clip is mostly blue."
    with pytest.raises(openai.BadRequestError, match="another stream"):
        await client.chat.completions.create(
            model="fake",
            messages=about_film("Colour?"),
            extra_headers={"Onlooker-Stream": "door"},
        )
