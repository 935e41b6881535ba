"""What a later question needs of what was said before it."""

import pytest

from onlooker.engine.functions import FunctionCall
from onlooker.engine.interface import Question
from onlooker.server.transcript import Line, read_lines, worth_keeping
from tests.fakes.served import make_settings

SETTINGS = make_settings()


def user(text: str, *images: str, stream: str | None = None) -> Line:
    return Line(role="user", text=text, images=images, streams=() if stream is None else (stream,))


def said(text: str) -> Line:
    return Line(role="assistant", text=text)


def texts(lines: tuple[Line, ...]) -> list[str]:
    return [line.text for line in lines]


def test_the_last_turns_are_kept_and_what_the_system_says() -> None:
    lines = [Line(role="system", text="s")]
    lines += [line for n in range(4) for line in (user(f"q{n}"), said(f"a{n}"))]
    assert texts(worth_keeping(lines, max_turns=2)) == ["s", "q2", "a2", "q3", "a3"]
    assert texts(worth_keeping(lines, max_turns=9)) == texts(tuple(lines))


def test_pictures_that_were_asked_about_are_not_kept() -> None:
    kept = worth_keeping([user("q", "data:x"), said("a")], max_turns=1)
    assert [line.images for line in kept] == [(), ()]


def test_pictures_of_a_question_that_waits_for_a_result_are_kept() -> None:
    call = Line(role="assistant", calls=(FunctionCall("dial", "{}", "call_1"),))
    kept = worth_keeping([user("q", "data:x"), said("a"), user("p", "data:y"), call], max_turns=1)
    assert [line.images for line in kept] == [(), (), ("data:y",), ()]


def test_the_stream_is_kept_when_its_turn_goes() -> None:
    lines = [user("q0", stream="door"), said("a0"), user("q1"), said("a1")]
    kept = worth_keeping(lines, max_turns=1)
    assert texts(kept) == ["", "q1", "a1"]
    inquiry, name = read_lines(
        [*kept, user("q2")],
        Question(text=""),
        SETTINGS,
        dialogue_turns=1,
        follow_ups=True,
        param="input",
    )
    assert (inquiry.question.text, name) == ("q2", "door")


def test_a_line_weighs_what_it_holds() -> None:
    call = FunctionCall("dial", "x" * 100)
    assert said("").num_bytes > 0
    assert said("x" * 50).num_bytes == said("").num_bytes + 50
    assert user("", "x" * 70).num_bytes == user("").num_bytes + 70
    assert Line(role="assistant", calls=(call,)).num_bytes == said("").num_bytes + 104


@pytest.mark.parametrize(
    ("num_turns", "follow_ups", "text", "alone"),
    [
        (0, True, "When did the purple star appear?", "When did the purple star appear?"),
        (1, True, "When did it appear?", "When did the purple star appear?"),
        (0, False, "When did it appear?", None),
    ],
)
def test_a_question_is_read_by_the_turn_before_it(
    num_turns: int, follow_ups: bool, text: str, alone: str | None
) -> None:
    inquiry, _ = read_lines(
        [user("What is on the left?"), said("A purple star"), user("When did it appear?")],
        Question(text=""),
        SETTINGS,
        dialogue_turns=num_turns,
        follow_ups=follow_ups,
        param="messages",
    )
    assert (inquiry.question.text, inquiry.question.understood) == (text, alone)


def test_a_question_with_a_picture_leans_on_that_and_no_turn_is_without_words() -> None:
    inquiry, _ = read_lines(
        [
            user("What is on the left?"),
            said("A purple star"),
            user("Why?"),
            said(""),
            user("What is it?", "data:"),
        ],
        Question(text=""),
        SETTINGS,
        dialogue_turns=2,
        follow_ups=True,
        param="messages",
    )
    assert inquiry.question.understood is None
    assert [turn.question for turn in inquiry.question.dialogue] == ["What is on the left?"]
