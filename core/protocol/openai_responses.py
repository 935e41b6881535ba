"""OpenAI's responses: a question in, an answer out, whole or as events, kept for a while."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from onlooker.core.protocol.answer_facts import (
    AnswerFacts,
    DialogueTurns,
    InputTokenDetails,
    TokenLogprob,
)
from onlooker.core.protocol.base import Inbound, Metadata, Outbound
from onlooker.core.protocol.completions import (
    JsonObjectFormat,
    JsonSchemaConfig,
    ServiceTier,
    TextFormat,
)
from onlooker.core.protocol.foreign_fields import (
    ECHOED,
    RESPONSES_FIELDS,
    ForeignFields,
    Lenient,
)
from onlooker.core.protocol.functions import (
    MAX_FUNCTIONS,
    FunctionCallItem,
    FunctionResultItem,
    FunctionTool,
    InputTextPart,
    ItemId,
    ItemStatus,
    ToolNamed,
)

# ---- what is asked ----


class InputImagePart(Inbound):
    type: Literal["input_image"]
    image_url: str
    """The picture as a ``data:`` URL, or a stream as ``stream://ID``; addresses are not fetched."""
    detail: Literal["auto", "low", "high", "original"] | None = None
    file_id: None = None


class InputVideoPart(Inbound):
    """A stream. OpenAI has no such part."""

    type: Literal["input_video"]
    video_url: str
    """The stream that the question is about, as ``stream://ID``."""


class OutputTextPart(Inbound):
    type: Literal["output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class RefusalPart(Inbound):
    type: Literal["refusal"]
    refusal: str


ResponsePart = Annotated[
    InputTextPart | InputImagePart | InputVideoPart | OutputTextPart | RefusalPart,
    Field(discriminator="type"),
]


class ResponseMessage(Lenient):
    foreign: ClassVar[ForeignFields] = {"phase": ECHOED}
    forbids_unknown: ClassVar[bool] = True

    type: Literal["message"] = "message"
    id: ItemId | None = None
    status: ItemStatus | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Annotated[list[ResponsePart], Field(max_length=64, fail_fast=True)]

    @property
    def parts(
        self,
    ) -> list[InputTextPart | InputImagePart | InputVideoPart | OutputTextPart | RefusalPart]:
        """The content as parts."""
        if isinstance(self.content, str):
            return [InputTextPart(type="input_text", text=self.content)]
        return list(self.content)

    @property
    def text(self) -> str:
        """All text of the message, one part a line."""
        return "\n".join(
            p.text for p in self.parts if isinstance(p, InputTextPart | OutputTextPart)
        )


class ReasoningItem(Lenient):
    """Thoughts of another model, which are passed over."""

    foreign: ClassVar[ForeignFields] = {
        "summary": ECHOED, "content": ECHOED, "encrypted_content": ECHOED, "status": ECHOED,
    }  # fmt: skip
    forbids_unknown: ClassVar[bool] = True

    type: Literal["reasoning"]
    id: ItemId | None = None


def _kind(item: Any) -> str | None:
    """An item without a type is a message."""
    kind = item.get("type", "message") if isinstance(item, dict) else getattr(item, "type", None)
    return kind if isinstance(kind, str) else None


ResponseItem = Annotated[
    Annotated[ResponseMessage, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionResultItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
]


class ResponseJsonSchemaFormat(JsonSchemaConfig):
    type: Literal["json_schema"]


class ResponseText(Inbound):
    format: (
        Annotated[
            TextFormat | JsonObjectFormat | ResponseJsonSchemaFormat, Field(discriminator="type")
        ]
        | None
    ) = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponseStreamOptions(Inbound):
    include_obfuscation: bool | None = None


class ResponsesRequest(Lenient):
    """OpenAI's response. What would mislead is refused, not ignored."""

    foreign: ClassVar[ForeignFields] = RESPONSES_FIELDS
    forbids_unknown: ClassVar[bool] = True

    model: str
    input: str | Annotated[list[ResponseItem], Field(min_length=1, max_length=256, fail_fast=True)]
    instructions: str | None = None
    previous_response_id: ItemId | None = None
    """The response that this one goes on from; it must still be kept (see `store`)."""
    store: bool | None = None
    """Whether the response is kept, so that others can go on from it; default: yes."""
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """Sampling temperature; default: 0, which takes the likeliest words."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: list[str] | None = None
    """``message.output_text.logprobs`` is understood; the rest is passed over."""
    text: ResponseText | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_FUNCTIONS)] | None = None
    tool_choice: Literal["auto", "none", "required"] | ToolNamed | None = None
    parallel_tool_calls: bool | None = None
    service_tier: ServiceTier | None = None
    metadata: Metadata | None = None
    dialogue_turns: DialogueTurns | None = None
    """How many earlier questions and answers the model is given, the newest first; default: as many
    as suit it. As many are kept for responses that go on from this one. Not a field of OpenAI's:
    ``extra_body`` of its SDK."""


# ---- what is answered ----


class OutputTextReply(Outbound):
    type: Literal["output_text"] = "output_text"
    text: str = ""
    annotations: list[Any] = []
    logprobs: list[TokenLogprob] = []


class MessageReply(Outbound):
    id: str
    type: Literal["message"] = "message"
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: list[OutputTextReply] = []


class FunctionCallReply(Outbound):
    id: str
    type: Literal["function_call"] = "function_call"
    status: ItemStatus = "completed"
    call_id: str
    name: str
    arguments: str


class OutputTokensDetails(Outbound):
    reasoning_tokens: int = 0


class ResponsesUsage(Outbound):
    input_tokens: int
    input_tokens_details: InputTokenDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int


class IncompleteDetails(Outbound):
    reason: str


class ResponsesError(Outbound):
    code: str
    message: str


class ReasoningReply(Outbound):
    effort: None = None
    summary: None = None


class TextReply(Outbound):
    format: dict[str, Any] = {"type": "text"}


class ResponsesReply(Outbound):
    """One response."""

    id: str
    object: Literal["response"] = "response"
    created_at: float
    completed_at: float | None = None
    status: Literal["in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool = False
    error: ResponsesError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    model: str
    output: list[MessageReply | FunctionCallReply] = []
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    reasoning: ReasoningReply = ReasoningReply()
    service_tier: str | None = None
    store: bool = True
    temperature: float = 0.0
    text: TextReply = TextReply()
    tool_choice: str | dict[str, Any] = "auto"
    tools: list[dict[str, Any]] = []
    top_logprobs: int = 0
    top_p: float = 1.0
    truncation: str = "auto"
    usage: ResponsesUsage | None = None
    user: str | None = None
    metadata: dict[str, str] = {}
    onlooker: AnswerFacts = AnswerFacts()


class ResponseDeleted(Outbound):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True
