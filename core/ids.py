"""Identity types and how new ids are made.

Ids are opaque text with a prefix that names their kind, as OpenAI's APIs do (``resp_…``), so that a
log line or an error says by itself what an id belongs to.
"""

import re
import secrets
from typing import NewType

StreamId = NewType("StreamId", str)
"""A video source and all that is remembered of it. Chosen by the client or made by `new_id`."""

ResponseId = NewType("ResponseId", str)
"""One answer, from its acceptance to its terminal event."""

ItemId = NewType("ItemId", str)
"""One item of a conversation: a question, an image, a reply."""

ConnectionId = NewType("ConnectionId", str)
"""One viewer's live connection."""

STREAM_ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""A stream id is 1-64 of these characters: it appears in URLs, file names and store keys."""

_STREAM_ID = re.compile(STREAM_ID_PATTERN)


def is_stream_id(text: str) -> bool:
    """Whether `text` may name a stream."""
    return _STREAM_ID.fullmatch(text) is not None


def new_id(prefix: str) -> str:
    """Return a fresh id such as ``resp_1f0c…`` (96 random bits: unguessable, unique for ever)."""
    return f"{prefix}_{secrets.token_hex(12)}"
