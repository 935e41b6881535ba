"""OpenAI's chat completions: a question in, an answer out, whole or in chunks."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from onlooker.core.protocol.answer_facts import AnswerFacts, DialogueTurns, TokenLogprob
from onlooker.core.protocol.base import Inbound, Metadata, Outbound
from onlooker.core.protocol.foreign_fields import (
    CHAT_FIELDS,
    MESSAGE_FIELDS,
    ForeignFields,
    Lenient,
)
from onlooker.core.protocol.functions import MAX_FUNCTIONS, FunctionConfig, FunctionName

ServiceTier = Literal["auto", "default", "flex", "scale", "priority"]
MAX_CALLS = 64

# ---- what is asked ----


class UrlObject(Inbound):
    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ChatTextPart(Inbound):
    type: Literal["text"]
    text: str


class ChatImagePart(Inbound):
    type: Literal["image_url"]
    image_url: UrlObject
    """The picture as a ``data:`` URL, or a stream as ``stream://ID``; addresses are not fetched."""


class ChatVideoPart(Inbound):
    type: Literal["video_url"]
    video_url: UrlObject
    """The stream that the question is about, as ``stream://ID``."""


class ChatRefusalPart(Inbound):
    type: Literal["refusal"]
    refusal: str


ChatPart = Annotated[
    ChatTextPart | ChatImagePart | ChatVideoPart | ChatRefusalPart, Field(discriminator="type")
]


class CalledFunction(Inbound):
    name: FunctionName
    arguments: str
    """A JSON object as text."""


class ChatToolCall(Inbound):
    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None


class ChatMessage(Lenient):
    """One message. An assistant's may hold calls, whose results follow in messages of ``tool``."""

    foreign: ClassVar[ForeignFields] = MESSAGE_FIELDS
    forbids_unknown: ClassVar[bool] = True

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[ChatPart], Field(max_length=64, fail_fast=True)] | None = None
    name: str | None = None
    tool_calls: Annotated[list[ChatToolCall], Field(max_length=MAX_CALLS)] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """All text of the message, one part a line."""
        return "\n".join(part.text for part in self.parts if isinstance(part, ChatTextPart))

    @property
    def parts(self) -> list[ChatTextPart | ChatImagePart | ChatVideoPart | ChatRefusalPart]:
        """The content as parts."""
        if isinstance(self.content, str):
            return [ChatTextPart(type="text", text=self.content)]
        return list(self.content or ())


class ChatStreamOptions(Inbound):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatTool(Inbound):
    type: Literal["function"]
    function: FunctionConfig


class FunctionNamed(Inbound):
    name: FunctionName


class ChatToolNamed(Inbound):
    type: Literal["function"]
    function: FunctionNamed


class JsonSchemaConfig(Inbound):
    name: Annotated[str, Field(max_length=64)] = ""
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")] = {}
    strict: bool | None = None


class TextFormat(Inbound):
    type: Literal["text"]


class JsonObjectFormat(Inbound):
    type: Literal["json_object"]


class ChatJsonSchemaFormat(Inbound):
    type: Literal["json_schema"]
    json_schema: JsonSchemaConfig


ChatFormat = Annotated[
    TextFormat | JsonObjectFormat | ChatJsonSchemaFormat, Field(discriminator="type")
]


class ChatRequest(Lenient):
    """OpenAI's chat completion. What would mislead is refused, not ignored."""

    foreign: ClassVar[ForeignFields] = CHAT_FIELDS
    forbids_unknown: ClassVar[bool] = True

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=256, fail_fast=True)]
    stream: bool | None = None
    stream_options: ChatStreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """Sampling temperature; default: 0, which takes the likeliest words."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    """Texts before which the answer ends."""
    ignore_eos: bool | None = None
    """vLLM's own: whether the answer goes on to its limit of tokens; for benchmarks."""
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    n: Literal[1] | None = None
    response_format: ChatFormat | None = None
    tools: Annotated[list[ChatTool], Field(max_length=MAX_FUNCTIONS)] | None = None
    tool_choice: Literal["auto", "none", "required"] | ChatToolNamed | None = None
    parallel_tool_calls: bool | None = None
    service_tier: ServiceTier | None = None
    """The service tier by OpenAI's names: ``priority`` is our ``interactive``, ``flex`` our
    ``background``."""
    metadata: Metadata | None = None
    dialogue_turns: DialogueTurns | None = None
    """How many earlier questions and answers among the messages the model is given, the newest
    first; default: as many as suit it. Not a field of OpenAI's: ``extra_body`` of its SDK."""


# ---- what is answered ----


class PromptTokensDetails(Outbound):
    cached_tokens: int = 0


class ChatUsage(Outbound):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()


class CalledFunctionReply(Outbound):
    name: str
    arguments: str


class ChatToolCallReply(Outbound):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunctionReply


class ChatReplyMessage(Outbound):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: Annotated[
        list[ChatToolCallReply] | None, Field(exclude_if=lambda calls: calls is None)
    ] = None


ChatFinish = Literal["stop", "length", "tool_calls"]


class ChatLogprobs(Outbound):
    content: list[TokenLogprob]
    refusal: None = None


class ChatChoice(Outbound):
    index: int = 0
    message: ChatReplyMessage
    finish_reason: ChatFinish
    logprobs: ChatLogprobs | None = None


class ChatReply(Outbound):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage
    onlooker: AnswerFacts = AnswerFacts()


class ChatToolCallDelta(ChatToolCallReply):
    index: int


class ChatDelta(Outbound):
    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: Annotated[
        list[ChatToolCallDelta] | None, Field(exclude_if=lambda calls: calls is None)
    ] = None


class ChatChunkChoice(Outbound):
    index: int = 0
    delta: ChatDelta
    finish_reason: ChatFinish | None = None
    logprobs: ChatLogprobs | None = None


class ChatChunk(Outbound):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: ChatUsage | None = None
