"""What a question about another server's stream takes along is what that server will read."""

from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.protocol.bounded_json import JsonLimits, read_json
from onlooker.core.protocol.client_events import ResponseConfig, ResponseCreate, SessionConfig
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
