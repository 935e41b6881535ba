from typing import Any, Literal

import pytest

from onlooker.core.errors import Conflict, InvalidRequest, NotFound, TooLarge
from onlooker.core.protocol.client_events import InputItem
from onlooker.core.protocol.conversation_items import (
    ImagePart,
    ItemReference,
    MessageItem,
    TextPart,
)
from onlooker.core.protocol.functions import FunctionCallItem, FunctionResultItem
from onlooker.engine.interface import Question
from onlooker.server.realtime.conversation import Conversation
from onlooker.server.text_limits import TextLimits


def make_conversation(*, follow_ups: bool = True, **limits: int) -> Conversation:
    texts = TextLimits(limits.pop("max_chars", 100), limits.pop("max_tool_chars", 100))
    defaults = {"max_items": 100, "max_bytes": 10**6, "dialogue_turns": 2}
    return Conversation(texts=texts, follow_ups=follow_ups, **{**defaults, **limits})


def message(
    text: str,
    role: Literal["user", "assistant", "system"] = "user",
    *,
    image: str | None = None,
    item_id: str | None = None,
) -> MessageItem:
    content: list[Any] = [
        TextPart(type="output_text" if role == "assistant" else "input_text", text=text)
    ]
    if image is not None:
        content.append(ImagePart(type="input_image", image_url=image))
    return MessageItem(role=role, content=content, id=item_id)


def question(conversation: Conversation, instructions: str | None = None) -> Question:
    return conversation.inquiry(instructions=instructions, override=None).question


def pictures(conversation: Conversation) -> tuple[str, ...]:
    return conversation.inquiry(instructions=None, override=None).images


def test_the_question_is_what_the_user_said_since_the_last_answer() -> None:
    conversation = make_conversation()
    conversation.add(message("One?"))
    conversation.add(message("1", "assistant"))
    conversation.add(message("Look.", image="data:a"))
    conversation.add(message("Two?"))
    found = question(conversation)
    assert found.text == "Look.\nTwo?"
    assert pictures(conversation) == ("data:a",)
    assert [(turn.question, turn.answer) for turn in found.dialogue] == [("One?", "1")]


def test_only_the_last_turns_are_the_dialogue() -> None:
    conversation = make_conversation(dialogue_turns=2)
    for number in range(4):
        conversation.add(message(f"q{number}"))
        conversation.add(message(f"a{number}", "assistant"))
    conversation.add(message("q"))
    assert [turn.question for turn in question(conversation).dialogue] == ["q2", "q3"]
    assert question(make_with(conversation, dialogue_turns=0)).dialogue == ()


def make_with(source: Conversation, *, dialogue_turns: int = 2) -> Conversation:
    conversation = make_conversation(dialogue_turns=dialogue_turns)
    conversation._items = source._items
    return conversation


def test_with_nothing_new_the_last_question_is_asked_again_with_its_picture() -> None:
    conversation = make_conversation()
    conversation.add(message("Now?", image="data:a"))
    conversation.add(message("yes", "assistant"))
    found = question(conversation)
    assert (found.text, found.dialogue) == ("Now?", ())
    assert pictures(conversation) == ("data:a",)


def test_system_messages_join_the_instructions() -> None:
    conversation = make_conversation()
    conversation.add(message("Be brief.", "system"))
    conversation.add(message("What?"))
    assert question(conversation, "Answer.").instructions == "Answer.\nBe brief."
    assert question(make_with(conversation), None).instructions == "Be brief."


def test_without_a_question_it_is_said_what_to_do() -> None:
    conversation = make_conversation()
    with pytest.raises(InvalidRequest, match=r"conversation\.item\.create"):
        question(conversation)
    conversation.add(message("Be brief.", "system"))
    with pytest.raises(InvalidRequest):
        question(conversation)


def test_an_override_replaces_the_conversation_and_may_refer_to_it() -> None:
    conversation = make_conversation()
    conversation.add(message("Old?", item_id="old"))
    override: list[InputItem] = [ItemReference(type="item_reference", id="old"), message("New?")]
    found = conversation.inquiry(instructions=None, override=override)
    assert found.question.text == "Old?\nNew?"
    unknown = [ItemReference(type="item_reference", id="none")]
    with pytest.raises(NotFound, match="none"):
        conversation.inquiry(instructions=None, override=unknown)


def test_an_item_can_be_put_anywhere() -> None:
    conversation = make_conversation()
    first, before = conversation.add(message("b"))
    assert before is None
    assert conversation.add(message("a"), after="root")[1] is None
    assert conversation.add(message("c"), after=first.id)[1] == first.id
    conversation.add(message("d"))
    assert question(conversation).text == "a\nb\nc\nd"
    with pytest.raises(NotFound):
        conversation.add(message("x"), after="nowhere")


def test_an_id_is_used_once() -> None:
    conversation = make_conversation()
    conversation.add(message("a", item_id="mine"))
    with pytest.raises(Conflict, match="mine"):
        conversation.add(message("b", item_id="mine"))


def test_a_text_over_the_limit_is_refused() -> None:
    conversation = make_conversation(max_chars=10)
    with pytest.raises(TooLarge, match="max_text_chars"):
        conversation.add(message("x" * 11))
    conversation.add(message("x" * 8))
    with pytest.raises(TooLarge):
        question(conversation, "y" * 5)


def test_the_oldest_items_go_when_there_are_too_many_or_they_weigh_too_much() -> None:
    few = make_conversation(max_items=2)
    for text in "abc":
        few.add(message(text))
    assert question(few).text == "b\nc"
    light = make_conversation(max_bytes=3000)
    for text in "abc":
        light.add(message(text, image="x" * 1000))
    assert question(light).text == "c"
    light.add(message("heavy", image="x" * 10**5))  # the newest always stays
    assert question(light).text == "heavy"


def test_an_answer_of_any_length_is_kept() -> None:
    conversation = make_conversation(max_chars=10)
    conversation.add(message("q"))
    conversation.add_answer(
        message("x" * 50, "assistant", item_id="a"), asked_s=3.0, is_whole=False
    )
    conversation.add(message("r"))
    turn = question(conversation).dialogue[0]
    assert (turn.answer, turn.asked_s) == ("x" * 50, 3.0)
    assert conversation.get("a").public().status == "incomplete"


def test_pictures_are_told_of_without_their_bytes() -> None:
    item, _ = make_conversation().add(message("a", image="data:image/jpeg;base64,AAAA"))
    assert "AAAA" not in item.public().model_dump_json()


def call(call_id: str = "c1", arguments: str = "{}") -> FunctionCallItem:
    return FunctionCallItem(type="function_call", call_id=call_id, name="dial", arguments=arguments)


def result(output: str, call_id: str = "c1") -> FunctionResultItem:
    return FunctionResultItem(type="function_call_output", call_id=call_id, output=output)


def made(conversation: Conversation) -> list[tuple[str, str, str]]:
    return [(one.call.name, one.call.id, one.result) for one in question(conversation).made]


def test_a_call_s_result_belongs_to_the_question_for_which_it_was_made() -> None:
    conversation = make_conversation()
    conversation.add(message("Please dial."))
    conversation.add(call())
    conversation.add(result("busy"))
    assert question(conversation).text == "Please dial."
    assert made(conversation) == [("dial", "c1", "busy")]
    conversation.add(message("It is busy.", "assistant"))
    conversation.add(message("And now?"))
    assert made(conversation) == []
    assert [turn.answer for turn in question(conversation).dialogue] == ["It is busy."]


def test_a_question_that_is_asked_again_keeps_the_calls_that_were_made_for_it() -> None:
    conversation = make_conversation()
    conversation.add(message("Please dial."))
    conversation.add(message("I dial.", "assistant"))
    conversation.add(call())
    conversation.add(result("busy"))
    assert question(conversation).text == "Please dial."
    assert made(conversation) == [("dial", "c1", "busy")]
    conversation.add(message("It is busy.", "assistant"))
    assert made(conversation) == [("dial", "c1", "busy")]


def test_the_result_of_an_unknown_call_is_refused() -> None:
    conversation = make_conversation()
    conversation.add(message("Please dial."))
    with pytest.raises(NotFound, match="no call 'c1'") as caught:
        conversation.add(result("busy"))
    assert caught.value.param == "item.call_id"
    with pytest.raises(NotFound, match="no call 'c1'"):
        conversation.inquiry(instructions=None, override=[message("Dial."), result("busy")])


def test_a_result_whose_call_has_been_deleted_is_passed_over() -> None:
    conversation = make_conversation()
    conversation.add(message("Please dial."))
    item, _ = conversation.add(call())
    conversation.add(result("busy"))
    conversation.delete(item.id)
    assert made(conversation) == []


def test_what_came_of_calls_has_a_limit_of_its_own() -> None:
    conversation = make_conversation(max_chars=20, max_tool_chars=100)
    with pytest.raises(TooLarge, match="max_tool_chars") as caught:
        conversation.add(call(arguments="x" * 101))
    assert caught.value.param == "item.arguments"
    conversation.add(message("Please dial."))
    conversation.add(call())
    conversation.add(result("x" * 60))
    conversation.add(call("c2"))
    conversation.add(result("x" * 60, "c2"))
    with pytest.raises(TooLarge, match=r"2 calls .* let the functions return less"):
        question(conversation)


@pytest.mark.parametrize(("num_turns", "follow_ups"), [(0, True), (2, True), (0, False)])
def test_a_question_is_read_by_the_turn_before_it(num_turns: int, follow_ups: bool) -> None:
    conversation = make_conversation(dialogue_turns=num_turns, follow_ups=follow_ups)
    conversation.add(message("What is on the left?"))
    conversation.add(message("A purple star", "assistant"))
    conversation.add(message("When did it appear?"))
    found, alone = question(conversation), "When did the purple star appear?"
    assert found.text == (alone if follow_ups and not num_turns else "When did it appear?")
    assert found.understood == (alone if follow_ups else None)
    assert len(found.dialogue) == min(num_turns, 1)


@pytest.mark.parametrize("brings_turns", [True, False])
def test_a_question_beside_the_conversation_is_asked_so_that_it_stands_alone(
    brings_turns: bool,
) -> None:
    conversation = make_conversation(dialogue_turns=2)
    for said in (message("What is on the left?"), message("A purple star", "assistant")):
        conversation.add(said)
    conversation.add(message("When did it appear?"))
    asked = conversation.inquiry(instructions=None, override=None, brings_turns=brings_turns)
    alone = "When did the purple star appear?"
    assert asked.question.text == ("When did it appear?" if brings_turns else alone)
    assert (len(asked.question.dialogue), asked.question.understood) == (brings_turns, alone)


def test_a_question_with_a_picture_leans_on_that() -> None:
    conversation = make_conversation(dialogue_turns=0)
    conversation.add(message("What is on the left?"))
    conversation.add(message("A purple star", "assistant"))
    conversation.add(message("What is it?", image="data:"))
    assert question(conversation).understood is None


def test_an_answer_without_words_ends_its_question_and_is_no_turn() -> None:
    conversation = make_conversation()
    conversation.add(message("What colour is the circle?"))
    conversation.add(message("", "assistant"))  # it was cancelled while the diary was looked at
    assert question(conversation).text == "What colour is the circle?", "it is asked again"
    conversation.add(message("And the star?"))
    asked = question(conversation)
    assert (asked.text, asked.dialogue) == ("What colour is the star?", ())


def test_an_answer_that_followed_one_without_words_is_the_answer() -> None:
    conversation = make_conversation()
    for said in (message("One?"), message("", "assistant"), message("1", "assistant")):
        conversation.add(said)
    conversation.add(message("Two?"))
    assert [turn.answer for turn in question(conversation).dialogue] == ["1"]
