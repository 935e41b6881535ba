from typing import Any

import pytest

from onlooker.core.errors import InvalidRequest, TooLarge
from onlooker.core.protocol.http import ChatRequest
from onlooker.scheduler.slo import Tier
from onlooker.server.chat import read_chat
from onlooker.server.pictures import Inquiry
from tests.fakes.served import make_settings


def read(*messages: dict[str, Any], **options: Any) -> tuple[Inquiry, str | None]:
    request = ChatRequest.model_validate({"model": "m", "messages": messages, **options})
    settings = make_settings(server__max_text_chars=50)
    return read_chat(request, settings, max_tokens=7, dialogue_turns=2)


def user(*parts: str) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    for part in parts:
        if part.startswith("stream:"):
            content.append({"type": "video_url", "video_url": {"url": part}})
        elif part.startswith("data:"):
            content.append({"type": "image_url", "image_url": {"url": part}})
        else:
            content.append({"type": "text", "text": part})
    return {"role": "user", "content": content}


def test_messages_become_dialogue_question_and_instructions() -> None:
    found, name = read(
        {"role": "system", "content": "Be brief."},
        user("stream://door", "One?"),
        {"role": "assistant", "content": "1"},
        user("Two?", "data:x"),
    )
    question = found.question
    assert (question.text, name, question.instructions) == ("Two?", "door", "Be brief.")
    assert [(turn.question, turn.answer) for turn in question.dialogue] == [("One?", "1")]
    assert found.images == ("data:x",)


def test_how_it_is_to_be_answered_goes_with_the_question() -> None:
    question = read(user("What?"), temperature=0.5, seed=3, service_tier="flex")[0].question
    assert (question.max_tokens, question.temperature, question.seed) == (7, 0.5, 3)
    assert question.tier is Tier.BACKGROUND
    assert read(user("What?"), service_tier="auto")[0].question.tier is None


def test_pictures_of_answered_questions_are_not_asked_again() -> None:
    found, _ = read(user("data:x", "One?"), {"role": "assistant", "content": "1"}, user("Two?"))
    assert found.images == ()


def test_only_the_last_turns_stay() -> None:
    turns = [m for n in range(4) for m in (user(f"q{n}"), {"role": "assistant", "content": "a"})]
    found, _ = read(*turns, user("q"))
    assert [turn.question for turn in found.question.dialogue] == ["q2", "q3"]


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "x"}],
        [user("stream://door")],
        [user("Hm?"), {"role": "assistant", "content": "1"}],
    ],
)
def test_without_a_question_it_is_said_what_to_do(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidRequest, match="question as text"):
        read(*messages)


@pytest.mark.parametrize("url", ["stream:door", "stream://", "stream://a/b", "stream://../x"])
def test_a_stream_address_must_name_a_stream(url: str) -> None:
    with pytest.raises(InvalidRequest, match="stream://ID") as refused:
        read(user(url, "What?"))
    assert refused.value.param == "messages.0.content.0.video_url.url"


def test_one_question_is_about_one_stream() -> None:
    assert read(user("stream://a", "stream://a", "What?"))[1] == "a"
    with pytest.raises(InvalidRequest, match="one stream"):
        read(user("stream://a", "stream://b", "What?"))


def test_too_much_is_refused() -> None:
    with pytest.raises(TooLarge, match="max_text_chars"):
        read(user("x" * 51))
    with pytest.raises(TooLarge, match="pictures"):
        read(user("What?", *["data:x"] * 9))


def test_a_request_may_say_how_many_earlier_turns_count() -> None:
    said = [
        one
        for number in range(4)
        for one in (user(f"q{number}"), {"role": "assistant", "content": f"a{number}"})
    ]
    for turns in (0, 1, 3):
        found, _ = read(*said, user("q"), dialogue_turns=turns)
        assert len(found.question.dialogue) == turns
