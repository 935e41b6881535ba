"""Functions as clients describe and name them, and calls of them with what came of each, as items
of a conversation: the same in OpenAI's responses and in realtime sessions."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from onlooker.core.protocol.base import Inbound, Outbound
from onlooker.core.protocol.conversation_items import ConversationItem
from onlooker.core.protocol.foreign_fields import ECHOED, ForeignFields, Lenient

MAX_FUNCTIONS = 128

FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
ItemId = Annotated[str, Field(min_length=1, max_length=256)]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class FunctionConfig(Inbound):
    """A function that the answer may call."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """The JSON Schema of its arguments."""
    strict: bool | None = None


class FunctionTool(FunctionConfig):
    """A function that the answer may call; other tools are OpenAI's own."""

    type: Literal["function"]
    defer_loading: Literal[False] | None = None


class RemoteTool(Inbound):
    """A tool of OpenAI's that somebody else runs. It is read so that it can be refused by name."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["mcp"]


AnyTool = Annotated[FunctionTool | RemoteTool, Field(discriminator="type")]


class ToolNamed(Inbound):
    """The one function that the answer must call."""

    type: Literal["function"]
    name: FunctionName


class InputTextPart(Inbound):
    type: Literal["input_text"]
    text: str


class FunctionCallItem(Lenient):
    """A call that an answer made."""

    foreign: ClassVar[ForeignFields] = {"namespace": ECHOED, "caller": ECHOED, "object": ECHOED}
    forbids_unknown: ClassVar[bool] = True

    type: Literal["function_call"]
    id: ItemId | None = None
    call_id: ItemId
    name: FunctionName
    arguments: str
    status: ItemStatus | None = None


class FunctionResultItem(Lenient):
    """What came of a call."""

    foreign: ClassVar[ForeignFields] = {"name": ECHOED, "caller": ECHOED, "object": ECHOED}
    forbids_unknown: ClassVar[bool] = True

    type: Literal["function_call_output"]
    id: ItemId | None = None
    call_id: ItemId
    output: str | Annotated[list[InputTextPart], Field(max_length=64)]
    status: ItemStatus | None = None

    @property
    def text(self) -> str:
        """What came of the call."""
        if isinstance(self.output, str):
            return self.output
        return "\n".join(part.text for part in self.output)


class CalledItem(Outbound):
    """A function call as an item of a realtime conversation."""

    id: str
    object: Literal["realtime.item"] = "realtime.item"
    type: Literal["function_call"] = "function_call"
    status: ItemStatus = "completed"
    call_id: str
    name: str
    arguments: str = ""
    """A JSON object as text, as the model wrote it."""


class CallResultItem(Outbound):
    """What came of a call, as an item of a realtime conversation."""

    id: str
    object: Literal["realtime.item"] = "realtime.item"
    type: Literal["function_call_output"] = "function_call_output"
    status: ItemStatus = "completed"
    call_id: str
    output: str


AnyItem = Annotated[ConversationItem | CalledItem | CallResultItem, Field(discriminator="type")]
"""An item of a realtime conversation as the server tells it."""
