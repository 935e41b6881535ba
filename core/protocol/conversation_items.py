"""Items of a conversation, as clients send them and as they are told."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from onlooker.core.protocol.base import Inbound, Outbound


class TextPart(Inbound):
    """Text in a message."""

    type: Literal["input_text", "output_text"]
    text: str


class ImagePart(Inbound):
    """A picture in a user's message."""

    type: Literal["input_image"]
    image_url: str
    """``data:image/jpeg;base64,…`` (or png, webp). Addresses are not fetched."""
    detail: Literal["auto", "low", "high", "original"] | None = None
    """Accepted for compatibility; every picture is brought to the model's frame size."""


ContentPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class MessageItem(Inbound):
    """One message of a conversation."""

    type: Literal["message"] = "message"
    id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    object: Literal["realtime.item"] | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None
    role: Literal["user", "assistant", "system"]
    content: Annotated[list[ContentPart], Field(min_length=1, max_length=16, fail_fast=True)]

    @model_validator(mode="after")
    def _parts_fit_the_role(self) -> "MessageItem":
        for part in self.content:
            if part.type == "input_image" and self.role != "user":
                raise ValueError("only a user's message can hold an input_image")
            if part.type == "output_text" and self.role != "assistant":
                raise ValueError("output_text belongs in an assistant's message; use input_text")
        return self

    @property
    def text(self) -> str:
        """All text of the message, one part a line."""
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def images(self) -> list[ImagePart]:
        """The pictures of the message."""
        return [part for part in self.content if isinstance(part, ImagePart)]


class ItemReference(Inbound):
    """An item that the conversation already holds."""

    type: Literal["item_reference"]
    id: str


class OutputText(Outbound):
    """A text part of an item."""

    type: Literal["output_text", "input_text"] = "output_text"
    text: str = ""


class OutputImage(Outbound):
    """A picture of an item, told of but not sent back."""

    type: Literal["input_image"] = "input_image"
    detail: str | None = None


class ConversationItem(Outbound):
    """An item as the server tells it. Pictures are mentioned without their bytes."""

    id: str
    object: Literal["realtime.item"] = "realtime.item"
    type: Literal["message"] = "message"
    status: Literal["completed", "incomplete", "in_progress"] = "completed"
    role: Literal["user", "assistant", "system"]
    content: list[OutputText | OutputImage] = []
