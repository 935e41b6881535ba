"""What a question about another server's stream takes along is what that server will read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.protocol.bounded_json import JsonLimits, read_json
from onlooker.core.protocol.client_events import ResponseConfig, ResponseCreate, SessionConfig
from onlooker.core.protocol.functions import FunctionCallItem, FunctionResultItem
from onlooker.server.realtime.conversation import Conversation
from onlooker.server.realtime.far_asking import MAX_FAR_MESSAGES, question_for_owner
from tests.unit.server.realtime.test_conversation import make_conversation, message

LIMITS = JsonLimits(max_marks=4096)
SESSION = SessionConfig(instructions="Be brief.")


def sent(question: ResponseConfig) -> str:
    event = ResponseCreate(type="response.create", response=question, event_id="far_1")
    return event.model_dump_json(exclude_none=True)


def of_texts(texts: list[str]) -> Conversation:
    conversation = make_conversation(max_chars=5000)
    for text in texts:
        conversation.add(message(text))
    return conversation


@given(st.lists(st.integers(1, 900), min_size=1, max_size=24))
def test_the_owner_can_read_what_is_asked_and_hears_as_much_as_fits(sizes: list[int]) -> None:
    conversation = of_texts(["\N{GREEK SMALL LETTER PI}" * size for size in sizes])
    question = question_for_owner(ResponseConfig(), SESSION, conversation, limits=LIMITS)
    read_json(sent(question), LIMITS)
    brought = list(question.input or ())
    assert brought == conversation.newest(len(brought))
    if len(brought) < min(len(sizes), MAX_FAR_MESSAGES):
        more = question.model_copy(update={"input": conversation.newest(len(brought) + 1)})
        least = sent(more).encode()
        assert len(least) > LIMITS.max_marks - 1024, "one more would have had room"


def test_a_short_conversation_comes_along_whole() -> None:
    conversation = of_texts(["One?", "Two?"])
    question = question_for_owner(ResponseConfig(), SESSION, conversation, limits=LIMITS)
    assert question.input == conversation.newest(2)
    assert question.instructions == "Be brief."


def test_the_newest_comes_along_however_long_it_is() -> None:
    conversation = of_texts(["One?", "?" * 5000])
    question = question_for_owner(ResponseConfig(), SESSION, conversation, limits=LIMITS)
    assert question.input == conversation.newest(1)


def test_a_session_in_which_nothing_was_said_brings_nothing() -> None:
    question = question_for_owner(ResponseConfig(), SESSION, of_texts([]), limits=LIMITS)
    assert question.input == []


@pytest.mark.parametrize(("num_turns", "num_brought"), [(None, 7), (2, 5), (1, 3), (0, 1)])
def test_no_more_turns_come_along_than_the_session_says(
    num_turns: int | None, num_brought: int
) -> None:
    conversation = of_texts([])
    for number in range(3):
        conversation.add(message(f"Question {number}?"))
        conversation.add(message(f"Answer {number}", "assistant"))
    conversation.add(message("And now?"))
    session = SessionConfig(dialogue_turns=num_turns)
    question = question_for_owner(ResponseConfig(), session, conversation, limits=LIMITS)
    assert question.input == conversation.newest(num_brought)


@pytest.mark.parametrize("num_calls", [1, MAX_FAR_MESSAGES])
@pytest.mark.parametrize("size", [1, 4096])
def test_what_came_of_calls_comes_along_with_its_question(num_calls: int, size: int) -> None:
    conversation = make_conversation(max_chars=5000, max_tool_chars=5000)
    conversation.add(message("Before?"))
    conversation.add(message("Yes.", "assistant"))
    conversation.add(message("Who is it?"))
    for number in range(num_calls):
        call_id, arguments = f"c{number}", "?" * size
        conversation.add(
            FunctionCallItem(
                type="function_call", call_id=call_id, name="look_up", arguments=arguments
            )
        )
        conversation.add(
            FunctionResultItem(type="function_call_output", call_id=call_id, output="Ada")
        )
    question = question_for_owner(ResponseConfig(), SESSION, conversation, limits=LIMITS)
    brought = list(question.input or ())
    assert message("Who is it?").content in [getattr(one, "content", None) for one in brought]
    assert len([one for one in brought if isinstance(one, FunctionResultItem)]) == num_calls
