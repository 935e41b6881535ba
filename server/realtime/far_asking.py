"""A question about a stream that another server owns, as its owner is to hear it.

The owner knows neither the session nor its conversation. So a question takes along what it would
have had from them here, and what came of it is remembered here.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from onlooker.core.protocol.answer_events import ResponseObject
from onlooker.core.protocol.bounded_json import JsonLimits, num_marks
from onlooker.core.protocol.client_events import ResponseConfig, SaidItem, SessionConfig
from onlooker.core.protocol.conversation_items import (
    ConversationItem,
    ItemReference,
    MessageItem,
    TextPart,
)
from onlooker.core.protocol.functions import CalledItem, FunctionCallItem
from onlooker.server.realtime.conversation import Conversation

MAX_FAR_MESSAGES = 16
"""Messages of the conversation that a question brings along."""

_EVENT_MARKS = 1024
"""Room for the event that a question is in."""

_FROM_SESSION = ("instructions", "max_output_tokens", "service_tier", "parallel_tool_calls")


def question_for_owner(
    asked: ResponseConfig, session: SessionConfig, conversation: Conversation, *, limits: JsonLimits
) -> ResponseConfig:
    """The question with all that it has from its session: what holds for all answers, the functions
    that they may call, and what was said before, as many turns as the session says. Of that the
    oldest is left out that the owner would not read: servers of a fleet have the same `limits`.

    Raises:
        NotFound: it refers to an item that the conversation does not have.
    """
    changed: dict[str, Any] = {
        name: getattr(session, name) for name in _FROM_SESSION if getattr(asked, name) is None
    }
    if asked.tools is None:
        changed["tools"] = session.tools
    if asked.tool_choice is None and asked.tools != []:
        changed["tool_choice"] = session.tool_choice
    changed |= {"stream": None, "conversation": "none"}
    if asked.input is not None:  # all of it, or none: whoever asked has chosen it
        return asked.model_copy(update={**changed, "input": _said(asked, conversation)})
    bare = asked.model_copy(update=changed)
    room = limits.max_marks - _EVENT_MARKS - _marks(bare)
    num_brought = _num_brought(conversation.newest(len(conversation)), room, session.dialogue_turns)
    return bare.model_copy(
        update={"input": conversation.newest(num_brought) if num_brought else []}
    )


def _num_brought(said: Sequence[SaidItem], room: int, max_turns: int | None) -> int:
    """How many of the newest items go along: the newest question with all that came after it,
    which is refused if it is too long, and of what was said before no more than there is room for,
    nor more than the session's turns."""
    num_asked = next(
        (len(said) - at for at in reversed(range(len(said))) if _is(said[at], "user")), 1
    )
    num_turns = 0
    for number, one in enumerate(reversed(said), 1):
        room -= _marks(one)
        if number <= num_asked:
            continue
        num_turns += _is(one, "assistant")
        has_turns = max_turns is not None and num_turns > max_turns
        if room < 0 or number > MAX_FAR_MESSAGES or has_turns:
            return number - 1
    return len(said)


def _is(said: SaidItem, role: str) -> bool:
    return isinstance(said, MessageItem) and said.role == role


def _marks(part: BaseModel) -> int:
    return 1 + num_marks(part.model_dump_json(exclude_none=True))  # with the comma behind it


def _said(asked: ResponseConfig, conversation: Conversation) -> list[SaidItem]:
    return [
        conversation.get(entry.id).said if isinstance(entry, ItemReference) else entry
        for entry in asked.input or ()
    ]


def remember(answer: ResponseObject, conversation: Conversation) -> None:
    """Take an answer that the owner gave into the conversation, with the calls that it made."""
    asked_s, is_whole = answer.onlooker.asked_s or 0.0, answer.status == "completed"
    for item in answer.output:
        said: MessageItem | FunctionCallItem
        if isinstance(item, CalledItem):
            said = FunctionCallItem(
                type="function_call",
                id=item.id,
                call_id=item.call_id,
                name=item.name,
                arguments=item.arguments,
            )
        elif isinstance(item, ConversationItem):
            text = "".join(part.text for part in item.content if part.type == "output_text")
            part = TextPart(type="output_text", text=text)
            said = MessageItem(id=item.id, role="assistant", content=[part])
        else:
            continue
        conversation.add_answer(said, asked_s=asked_s, is_whole=is_whole)
