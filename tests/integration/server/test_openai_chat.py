"""The official OpenAI SDK asks about streams and pictures with chat completions."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from onlooker.engine.fake import ScriptedEngine
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
