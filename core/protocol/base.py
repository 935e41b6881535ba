"""What messages share: their bases, errors, and words that many of them use."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from onlooker.core.ids import STREAM_ID_PATTERN
from onlooker.core.media import Codec

CODEC_NAMES = tuple(codec.name.lower() for codec in Codec)
"""``jpeg``, ``png``, …: codecs by name, in JSON."""

CodecName = Literal["jpeg", "png", "webp", "h264", "vp8", "vp9", "webm", "fmp4"]
ClockName = Literal["live", "virtual"]
TierName = Literal["interactive", "standard", "background"]
"""How much somebody minds waiting, which decides whose targets hold."""
TokenDropName = Literal["off", "filled", "shown_again", "dtd", "stc", "curvestream"]
"""Methods by which places of a picture that hardly changed are not computed again."""
CompactionName = Literal["off", "value_norm", "vsb", "carriers", "merge"]
"""Methods by which what is remembered of a clip gets smaller once it is no longer recent."""
FinalStatus = Literal["completed", "cancelled", "incomplete", "failed"]
"""How an answer ended."""
StreamIdText = Annotated[str, Field(pattern=f"^{STREAM_ID_PATTERN}$")]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]
"""The client's own key-value pairs, kept and given back: at most 16, as OpenAI's."""


LabelText = Annotated[str, Field(min_length=1, max_length=200)]
Labels = Annotated[list[LabelText], Field(max_length=1000)]
"""Words by which streams are picked, such as ``outside``."""

MAX_TEXT_CHARS = 64 << 20
"""No text that a client sends is longer, whatever the settings."""


class Inbound(BaseModel):
    """Something a client sends: unknown fields are refused, so that a typing error is told.

    Text is Unicode text. Half of a surrogate pair, which JSON can spell but nobody can write out
    again, is refused; pydantic looks for it only in texts that have a limit.
    """

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, str_max_length=MAX_TEXT_CHARS
    )


class Outbound(BaseModel):
    """Something the server sends: a reader ignores fields it does not know."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)


class ErrorBody(Outbound):
    """What was wrong and what to do about it; the same over HTTP and the WebSocket."""

    type: str
    """The kind: ``invalid_request_error``, ``authentication_error``, ``permission_error``,
    ``not_found_error``, ``conflict_error``, ``rate_limit_error`` (a limit of the caller's tenant),
    ``overloaded_error`` or ``server_error``."""
    code: str
    """Stable text for programs, such as ``unsupported_media``."""
    message: str
    """Text for people: what was expected, what was found, what to do."""
    param: str | None = None
    """The field that was wrong, where there is one."""
    event_id: str | None = None
    """The client event that caused it (WebSocket only)."""
    retryable: bool = False
    """Whether the same call may succeed later, unchanged."""
    retry_after_s: float | None = None
    """Seconds after which it makes sense to try again."""
    limit: str | None = None
    """Which limit of the caller's tenant is reached: ``streams``, ``fps``,
    ``questions_per_minute``, ``memory_bytes`` or ``watches``; null for all other errors."""


class ErrorReply(Outbound):
    """The body of every HTTP error."""

    error: ErrorBody
