"""What vLLM writes, as text and as calls."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.engine.functions import Function, Toolbox
from onlooker.engine.interface import MisreadTime, Question
from onlooker.engine.memory.said_times import TimesInView, UnsettledTime
from onlooker.engine.memory.shown import ShownClip
from onlooker.engine.sampling import Sampling
from onlooker.engine.vllm_adapter.gateway.answer_reader import AnswerReader
from onlooker.engine.vllm_adapter.seams import ExtractedCalls

DIAL, OPEN = Function("dial"), Function("open")
CALL = '<call>{"name": "dial", "arguments": {"number": 1}}</call>'


@dataclass
class Finder:
    """Finds calls as Qwen's models write them."""

    start: str | None = "<call>"

    def find(self, text: str, functions: list[dict[str, Any]]) -> ExtractedCalls:
        calls = [json.loads(found) for found in re.findall(r"<call>(.*?)</call>", text)]
        named = [(call["name"], json.dumps(call["arguments"])) for call in calls]
        return ExtractedCalls(text.partition("<call>")[0], named)


@dataclass
class Logprob:
    logprob: float
    decoded_token: str | None


@dataclass
class Completion:
    text: str
    token_ids: list[int] = field(default_factory=lambda: [1])
    logprobs: list[dict[int, Logprob]] | None = None


@dataclass
class Output:
    outputs: list[Completion]


def read(
    *pieces: str, tools: Toolbox | None = None, finder: Finder | None = None
) -> tuple[list[str], AnswerReader]:
    """The pieces that are given out, and the reader at the end."""
    reader = AnswerReader(Question(text="?", tools=tools or Toolbox()), lambda: finder or Finder())
    found = [reader.take(Output([Completion(piece)])) for piece in pieces]
    found.append(reader.end())
    return [delta.text for delta in found if delta is not None], reader


def test_text_comes_as_it_is_written() -> None:
    found, reader = read("a", "", " b")
    assert found == ["a", " b"]
    assert (reader.num_tokens, reader.text, reader.calls) == (3, "a b", ())


def test_a_call_is_no_text() -> None:
    found, reader = read("I dial. ", CALL, tools=Toolbox((DIAL,)))
    assert found == ["I dial."]
    (call,) = reader.calls
    assert (call.name, json.loads(call.arguments)) == ("dial", {"number": 1})


def test_text_that_only_began_like_a_call_is_given_out() -> None:
    found, reader = read("a <ca", "b>", " c", tools=Toolbox((DIAL,)))
    assert "".join(found) == "a <cab> c"
    assert found[0] == "a"
    assert reader.calls == ()


def test_a_call_of_a_function_that_was_not_offered_is_text() -> None:
    found, reader = read(CALL, tools=Toolbox((OPEN,)))
    assert "".join(found) == CALL
    assert reader.calls == ()


def test_at_most_one_call_is_taken_where_more_are_unwelcome() -> None:
    assert len(read(CALL, CALL, tools=Toolbox((DIAL,)))[1].calls) == 2
    assert len(read(CALL, CALL, tools=Toolbox((DIAL,), at_most_one=True))[1].calls) == 1


def test_everything_is_held_back_where_the_parser_does_not_tell_how_calls_begin() -> None:
    reader = AnswerReader(Question(text="?", tools=Toolbox((DIAL,))), lambda: Finder(None))
    assert reader.take(Output([Completion("a")])) is None
    assert not reader.has_sent
    end = reader.end()
    assert end is not None
    assert end.text == "a"


FORCED = Toolbox((DIAL,), choice="required")


def test_a_forced_call_is_read_as_json() -> None:
    found, reader = read('{"call": {"name": "dial", ', '"arguments": {"a": 1}}}', tools=FORCED)
    assert found == []
    (call,) = reader.calls
    assert (call.name, call.arguments) == ("dial", '{"a": 1}')


@pytest.mark.parametrize("text", ['{"call": {"na', "[]", '{"call": null}'])
def test_a_forced_call_that_was_cut_off_is_text(text: str) -> None:
    found, reader = read(text, tools=FORCED)
    assert (found, reader.calls) == ([text], ())


@given(st.lists(st.sampled_from(["a", " ", "<", "<call>", "<ca", "\n", "b"]), max_size=12))
def test_no_text_is_lost(pieces: list[str]) -> None:
    found, _ = read(*pieces, tools=Toolbox((DIAL,)))
    assert "".join(found) == "".join(pieces)


IN_VIEW = TimesInView([ShownClip(1813.0, 1814.0, 1813.0)])


def test_a_misread_time_is_told_once_it_is_settled() -> None:
    reader = AnswerReader(Question(text="?"), Finder)
    reader.hold_to(IN_VIEW)
    pieces = [reader.take(Output([Completion(piece)])) for piece in ("At", " 35", "13", " seconds")]
    assert [None if piece is None else piece.text for piece in pieces] == ["At", " ", None, None]
    assert reader.unsettled == UnsettledTime(3513.0, "At ")
    settled = reader.settle(1813.0)
    assert settled is not None
    assert (settled.text, reader.text) == ("1813 seconds", "At 1813 seconds")
    assert reader.end() is None
    assert reader.misread_times == (MisreadTime(3513.0, 1813.0),)
    assert (reader.num_seen_times, reader.num_tokens) == (0, 4)


def test_digits_that_were_held_back_come_at_the_end() -> None:
    reader = AnswerReader(Question(text="?"), Finder)
    reader.hold_to(IN_VIEW)
    assert reader.take(Output([Completion("At 3513")])) is not None
    end = reader.end()
    assert end is not None
    assert (end.text, reader.text) == ("3513", "At 3513")


@pytest.mark.parametrize(
    "question",
    [
        Question(text="?", json_schema={"type": "object"}),
        Question(text="?", tools=Toolbox((DIAL,))),
        Question(text="?", tools=FORCED),
    ],
    ids=["JSON", "functions", "a forced call"],
)
def test_what_is_for_programs_says_what_the_model_says(question: Question) -> None:
    reader = AnswerReader(question, Finder)
    reader.hold_to(IN_VIEW)
    reader.take(Output([Completion("At 3513 seconds")]))
    assert reader.unsettled is None
    reader.end()
    assert (reader.text, reader.misread_times) == ("At 3513 seconds", ())


def test_probabilities_come_with_the_text_that_they_are_of() -> None:
    question = Question(text="?", sampling=Sampling(num_alternatives=1))
    reader = AnswerReader(question, Finder)
    likely, chosen = Logprob(-0.1, "a"), Logprob(-2.0, "b")
    half = Completion("", [7], [{7: chosen, 8: likely}])
    assert reader.take(Output([half])) is None
    delta = reader.take(Output([Completion("b", [9], [{9: Logprob(-1.0, None)}])]))
    assert delta is not None
    assert [(c.text, c.logprob, c.alternatives) for c in delta.chances] == [
        ("b", -2.0, (("a", -0.1),)),
        ("", -1.0, (("", -1.0),)),
    ]
