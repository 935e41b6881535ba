"""Alerts with a schema: asked for in words, held to it where the engine can, compared with it."""

import dataclasses
from typing import Any

import pytest

from onlooker.engine.interface import Question
from onlooker.watches.options import WatchOptions
from tests.unit.watches.test_keeper import INFO, RED, alerts_about

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red"]}, "at": {"type": "number"}},
    "required": ["colour"],
}


@pytest.mark.parametrize(
    ("reply", "data", "problem"),
    [
        ('{{"colour": "red", "at": 2}}', {"colour": "red", "at": 2}, None),
        ('Sure! {{"colour": "red"}}.', {"colour": "red"}, None),
        ('{{"colour": "pink"}}', None, "data.colour: 'pink' is not one of ['red']"),
        ('{{"at": 1}}', None, "data: 'colour' is a required property"),
        ("no idea", None, "the reply holds no JSON object"),
    ],
)
async def test_a_structured_alert_fits_its_schema_or_says_why_not(
    reply: str, data: Any, problem: str | None
) -> None:
    options = dataclasses.replace(RED, json_schema=SCHEMA)
    (alert,) = await alerts_about(["blue", "red"], options, script=[("JSON", reply)])
    assert (alert.data, alert.problem, alert.text) == (data, problem, RED.condition)


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "1e999", "1" + "0" * 5000, "[" * 5000 + "]" * 5000]
)
async def test_a_reply_that_json_could_not_tell_on_is_no_data(number: str) -> None:
    options = dataclasses.replace(RED, json_schema={"type": "object"})
    reply = '{{"at": ' + number + "}}"
    (alert,) = await alerts_about(["blue", "red"], options, script=[("JSON", reply)])
    assert (alert.data, alert.problem) == (None, "the reply holds no JSON object")


async def test_the_answer_to_a_deferred_question_brings_data_along() -> None:
    options = WatchOptions(question="Is it red?", json_schema=SCHEMA)
    script = [("JSON", '{{"colour": "red"}}'), ("", "Yes.")]
    (alert,) = await alerts_about(["red"], options, script=script)
    assert (alert.text, alert.data) == ("Yes.", {"colour": "red"})


class Questions:
    """Notes what the engine is asked, and fails what it is told to hold to a schema if need be."""

    def __init__(self, *, can_compile: bool = True) -> None:
        self.asked: list[Question] = []
        self._can_compile = can_compile

    def fails(self, question: Question) -> bool:
        if "JSON" in question.text:
            self.asked.append(question)
        return question.json_schema is not None and not self._can_compile


async def structured_alert(questions: Questions, *, writes_json: bool) -> Any:
    schema = {**SCHEMA, "properties": {"colour": {"type": "string", "maxLength": 9}}}
    (alert,) = await alerts_about(
        ["blue", "red"],
        dataclasses.replace(RED, json_schema=schema),
        script=[("JSON", '{{"colour": "red"}}')],
        info=dataclasses.replace(INFO, writes_json=writes_json),
        fail_answer=questions.fails,
    )
    return alert


async def test_an_engine_that_writes_json_is_held_to_all_but_the_lengths_of_strings() -> None:
    questions = Questions()
    alert = await structured_alert(questions, writes_json=True)
    assert alert.data == {"colour": "red"}
    (question,) = questions.asked
    assert question.json_schema == {**SCHEMA, "properties": {"colour": {"type": "string"}}}
    assert "maxLength" in question.text, "the words say all"


async def test_an_engine_that_cannot_write_json_is_asked_in_words_alone() -> None:
    questions = Questions()
    alert = await structured_alert(questions, writes_json=False)
    assert alert.data == {"colour": "red"}
    assert [question.json_schema for question in questions.asked] == [None]


async def test_a_schema_that_an_engine_cannot_compile_costs_no_alert(
    caplog: pytest.LogCaptureFixture,
) -> None:
    questions = Questions(can_compile=False)
    alert = await structured_alert(questions, writes_json=True)
    assert (alert.data, alert.problem) == ({"colour": "red"}, None)
    assert [question.json_schema is None for question in questions.asked] == [False, True]
    assert len({question.response_id for question in questions.asked}) == 2
    assert "could not be held to its JSON schema" in caplog.text
