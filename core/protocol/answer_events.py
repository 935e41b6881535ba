"""Events of answers and of the conversation that they are part of, as OpenAI's API has them."""

from typing import Annotated, Literal

from pydantic import Field

from onlooker.core.protocol.answer_facts import AnswerFacts, TokenLogprob, Usage
from onlooker.core.protocol.base import FinalStatus, Outbound
from onlooker.core.protocol.conversation_items import ConversationItem
from onlooker.core.protocol.functions import AnyItem
from onlooker.core.protocol.server_event import ServerEvent

# ---- conversation ----


class ItemAdded(ServerEvent):
    type: Literal["conversation.item.added"] = "conversation.item.added"
    item: AnyItem
    previous_item_id: str | None = None


class ItemDone(ServerEvent):
    type: Literal["conversation.item.done"] = "conversation.item.done"
    item: AnyItem
    previous_item_id: str | None = None


class ItemRetrieved(ServerEvent):
    type: Literal["conversation.item.retrieved"] = "conversation.item.retrieved"
    item: AnyItem


class ItemDeleted(ServerEvent):
    type: Literal["conversation.item.deleted"] = "conversation.item.deleted"
    item_id: str


# ---- sound, which is neither taken nor given ----


class InputAudioCleared(ServerEvent):
    type: Literal["input_audio_buffer.cleared"] = "input_audio_buffer.cleared"


class OutputAudioCleared(ServerEvent):
    type: Literal["output_audio_buffer.cleared"] = "output_audio_buffer.cleared"
    response_id: str = ""
    """The answer whose sound was cut short: none."""


# ---- answers ----


class ResponseError(Outbound):
    type: str
    code: str
    message: str
    retry_after_s: float | None = None
    """Seconds after which it makes sense to ask again."""
    limit: str | None = None
    """Which limit of the caller's tenant is reached."""


class ResponseStatusDetails(Outbound):
    type: FinalStatus
    reason: str | None = None
    """Why the answer ended so: ``client_cancelled``, ``max_output_tokens`` …"""
    error: ResponseError | None = None


class ResponseObject(Outbound):
    """One answer."""

    object: Literal["realtime.response"] = "realtime.response"
    id: str
    status: Literal["in_progress", FinalStatus]
    status_details: ResponseStatusDetails | None = None
    output: list[AnyItem] = []
    output_modalities: list[str] = ["text"]
    max_output_tokens: int | Literal["inf"] = "inf"
    conversation_id: str | None = None
    metadata: dict[str, str] | None = None
    usage: Usage | None = None
    onlooker: AnswerFacts = AnswerFacts()
    """What the answer was based on."""

    @property
    def text(self) -> str:
        """All text of the answer."""
        return "".join(
            part.text
            for item in self.output
            if isinstance(item, ConversationItem)
            for part in item.content
            if part.type == "output_text"
        )


class ResponseCreated(ServerEvent):
    type: Literal["response.created"] = "response.created"
    response: ResponseObject


class OutputItemAdded(ServerEvent):
    type: Literal["response.output_item.added"] = "response.output_item.added"
    response_id: str
    output_index: int = 0
    item: AnyItem


class Part(Outbound):
    type: Literal["text"] = "text"
    text: str = ""


class ContentPartAdded(ServerEvent):
    type: Literal["response.content_part.added"] = "response.content_part.added"
    response_id: str
    item_id: str
    output_index: int = 0
    content_index: int = 0
    part: Part = Part()


class TextDelta(ServerEvent):
    type: Literal["response.output_text.delta"] = "response.output_text.delta"
    response_id: str
    item_id: str
    output_index: int = 0
    content_index: int = 0
    delta: str
    logprobs: Annotated[
        list[TokenLogprob] | None, Field(exclude_if=lambda tokens: tokens is None)
    ] = None
    """The tokens of the piece with their probabilities, where they were asked for."""
    interim: Annotated[bool, Field(exclude_if=lambda is_so: not is_so)] = False
    """Whether it only says what is being done meanwhile, and is no part of the final text."""


class TextDone(ServerEvent):
    type: Literal["response.output_text.done"] = "response.output_text.done"
    response_id: str
    item_id: str
    output_index: int = 0
    content_index: int = 0
    text: str


class ContentPartDone(ServerEvent):
    type: Literal["response.content_part.done"] = "response.content_part.done"
    response_id: str
    item_id: str
    output_index: int = 0
    content_index: int = 0
    part: Part


class CallArgumentsDelta(ServerEvent):
    """The arguments of a function call, whole: what follows is their end."""

    type: Literal["response.function_call_arguments.delta"] = (
        "response.function_call_arguments.delta"
    )
    response_id: str
    item_id: str
    output_index: int = 0
    call_id: str
    delta: str


class CallArgumentsDone(ServerEvent):
    type: Literal["response.function_call_arguments.done"] = "response.function_call_arguments.done"
    response_id: str
    item_id: str
    output_index: int = 0
    call_id: str
    name: str
    arguments: str


class OutputItemDone(ServerEvent):
    type: Literal["response.output_item.done"] = "response.output_item.done"
    response_id: str
    output_index: int = 0
    item: AnyItem


class ResponseDone(ServerEvent):
    """The terminal event of an answer: it always comes."""

    type: Literal["response.done"] = "response.done"
    response: ResponseObject
