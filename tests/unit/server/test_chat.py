from dataclasses import replace
from typing import Any

import pytest

from onlooker.core.errors import InvalidRequest, TooLarge
from onlooker.core.protocol.completions import ChatRequest
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.functions import Function
from onlooker.engine.interface import EngineInfo
from onlooker.engine.sampling import Sampling
from onlooker.scheduler.slo import Tier
from onlooker.server.chat import read_chat
from onlooker.server.pictures import Inquiry
from tests.fakes.served import make_settings

INFO = ScriptedEngine().info
PLAIN = replace(INFO, writes_json=False, calls_functions=False)
"""A model that says words and no more."""


def read(
    *messages: dict[str, Any], info: EngineInfo = INFO, **options: Any
) -> tuple[Inquiry, str | None]:
    request = ChatRequest.model_validate({"model": "m", "messages": messages, **options})
    settings = make_settings(server__max_text_chars=90, server__max_tool_chars=180)
    return read_chat(request, info, settings, max_tokens=7, dialogue_turns=2)


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
    assert question.max_tokens == 7
    assert question.sampling == Sampling(temperature=0.5, seed=3)
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
        read(user("x" * 91))
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


def test_a_stream_can_be_named_where_a_picture_could() -> None:
    image = {"type": "image_url", "image_url": {"url": "stream://door"}}
    text = {"type": "text", "text": "What?"}
    found, name = read({"role": "user", "content": [image, text]})
    assert (name, found.images) == ("door", ())


def test_all_ways_of_choosing_words_are_taken() -> None:
    asked: dict[str, Any] = {
        "top_p": 0.5,
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "logprobs": True,
    }
    question = read(user("What?"), **asked, top_logprobs=3, stop="a")[0].question
    assert question.sampling == Sampling(
        top_p=0.5, presence_penalty=1, frequency_penalty=-1, stop=("a",), num_alternatives=3
    )
    assert read(user("What?"), stop=["a", ""])[0].question.sampling.stop == ("a",)
    assert read(user("What?"), logprobs=True)[0].question.sampling.num_alternatives == 0


NEUTRAL: dict[str, Any] = {
    "store": True, "user": "me", "n": 1, "audio": None, "modalities": ["text"], "logit_bias": {},
    "reasoning_effort": "low", "verbosity": "low", "prompt_cache_key": "k", "metadata": {"a": "b"},
    "parallel_tool_calls": True, "safety_identifier": "s", "prediction": None, "functions": None,
    "stream": None, "stream_options": None, "stop": None, "logprobs": False, "top_logprobs": None,
    "response_format": {"type": "text"}, "tools": [], "tool_choice": "auto",
}  # fmt: skip


def test_what_changes_nothing_is_taken() -> None:
    assert read(user("What?"), **NEUTRAL)[0].question.sampling == Sampling()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("modalities", ["audio"]),
        ("logit_bias", {"1": 2}),
        ("functions", [{"name": "dial"}]),
        ("web_search_options", {}),
        ("prompt", {"id": "p"}),
        ("top_logprobs", 2),
        ("tool_choice", "required"),
    ],
)
def test_what_would_mislead_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(user("What?"), **{name: value})
    assert refused.value.param == name


PERSON = {
    "type": "object",
    "$defs": {"Hat": {"title": "Hat", "enum": ["red", "blue"]}},
    "properties": {"hat": {"$ref": "#/$defs/Hat"}, "name": {"type": "string", "format": "email"}},
    "required": ["hat"],
}
"""A schema as pydantic writes one for a class that holds another."""


def schema_format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}


def test_an_answer_is_held_to_json() -> None:
    held = read(user("What?"), response_format={"type": "json_object"})[0].question.json_schema
    assert held == {"type": "object", "additionalProperties": True}
    held = read(user("What?"), response_format=schema_format(PERSON))[0].question.json_schema
    assert held == {
        "type": "object",
        "properties": {"hat": {"enum": ["red", "blue"]}, "name": {"type": "string"}},
        "required": ["hat"],
    }


CIRCLE = {"type": "object", "$defs": {"A": {"items": {"$ref": "#/$defs/A"}}},
          "properties": {"a": {"$ref": "#/$defs/A"}}}  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "object", "properties": {"a": {"$ref": "https://x"}}}, "not among its defin"),
        (CIRCLE, "refers to itself"),
        ({"type": "array"}, "object"),
        ({"type": "object", "patternProperties": {}}, "patternProperties"),
    ],
)
def test_a_schema_that_is_not_understood_is_refused(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        read(user("What?"), response_format=schema_format(schema))


def test_a_schema_that_doubles_at_every_reference_is_refused() -> None:
    parts = {f"D{n}": {"anyOf": [{"$ref": f"#/$defs/D{n + 1}"}] * 2} for n in range(9)}
    schema = {"type": "object", "$defs": {**parts, "D9": {"type": "null"}},
              "properties": {"a": {"$ref": "#/$defs/D0"}}}  # fmt: skip
    with pytest.raises(TooLarge, match="too many parts"):
        read(user("What?"), response_format=schema_format(schema))


DIAL = {"type": "function", "function": {"name": "dial", "description": "Dials."}}
OPEN = {"type": "function", "function": {"name": "open"}}


def test_functions_are_told_to_the_model() -> None:
    tools = read(user("What?"), tools=[DIAL, OPEN], parallel_tool_calls=False)[0].question.tools
    assert tools.functions == (Function("dial", "Dials."), Function("open"))
    assert tools.at_most_one
    assert not tools.is_forced
    assert not read(user("What?"), tools=[DIAL], tool_choice="none")[0].question.tools


def test_a_call_can_be_forced() -> None:
    choice = {"type": "function", "function": {"name": "open"}}
    tools = read(user("What?"), tools=[DIAL, OPEN], tool_choice=choice)[0].question.tools
    assert tools.is_forced
    assert [function.name for function in tools.functions] == ["open"]
    with pytest.raises(InvalidRequest, match="no tool 'open'"):
        read(user("What?"), tools=[DIAL], tool_choice=choice)


def test_what_the_model_cannot_do_is_refused_in_plain_words() -> None:
    with pytest.raises(InvalidRequest, match="'fake' cannot call functions"):
        read(user("What?"), tools=[DIAL], info=PLAIN)
    with pytest.raises(InvalidRequest, match="'fake' cannot write JSON"):
        read(user("What?"), response_format={"type": "json_object"}, info=PLAIN)
    with pytest.raises(InvalidRequest, match="held to JSON cannot call"):
        read(user("What?"), tools=[DIAL], response_format={"type": "json_object"})


CALLED = {
    "role": "assistant",
    "content": None,
    "refusal": None,
    "annotations": [],
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "dial", "arguments": "{}"}}
    ],
}
"""An assistant's message as clients send it back."""


def test_results_of_calls_stand_behind_their_question() -> None:
    result = {"role": "tool", "tool_call_id": "call_1", "content": "busy"}
    question = read(user("Dial."), CALLED, result)[0].question
    assert question.text == "Dial."
    (made,) = question.made
    assert (made.call.name, made.call.id, made.result) == ("dial", "call_1", "busy")


def test_an_answered_call_is_not_made_again() -> None:
    result = {"role": "tool", "tool_call_id": "call_1", "content": "busy"}
    said = {"role": "assistant", "content": "It is busy."}
    question = read(user("Dial."), CALLED, result, said, user("And now?"))[0].question
    assert question.made == ()
    assert [(turn.question, turn.answer) for turn in question.dialogue] == [
        ("Dial.", "It is busy.")
    ]


def test_a_result_needs_its_call() -> None:
    with pytest.raises(InvalidRequest, match="no call 'call_2'"):
        read(user("Dial."), CALLED, {"role": "tool", "tool_call_id": "call_2", "content": "busy"})


def test_results_have_a_limit_of_their_own() -> None:
    result = {"role": "tool", "tool_call_id": "call_1", "content": "x" * 120}
    read(user("Dial."), CALLED, result)
    with pytest.raises(TooLarge, match="max_tool_chars"):
        read(user("Dial."), CALLED, {**result, "content": "x" * 180})
