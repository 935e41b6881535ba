"""Identity types and how new ids are made.

Ids are opaque text with a prefix that names their kind, as OpenAI's APIs do (``resp_…``), so that a
log line or an error says by itself what an id belongs to.
"""

import re
import secrets
from typing import NewType

StreamId = NewType("StreamId", str)
"""Names a video source and all that is remembered of it. It is made of the tenant and the name that
its owner chose (see `tenant_stream_id`), or by `new_id`."""

ResponseId = NewType("ResponseId", str)
"""Names one answer, from its acceptance to its terminal event."""

ItemId = NewType("ItemId", str)
"""Names one item of a conversation: a question, an image or a reply."""

ConnectionId = NewType("ConnectionId", str)
"""Names the live connection of one viewer."""

STREAM_ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""A stream id is 1-64 of these characters: it appears in URLs, file names and store keys."""

_STREAM_ID = re.compile(STREAM_ID_PATTERN)


def is_stream_id(text: str) -> bool:
    """Whether `text` may name a stream."""
    return _STREAM_ID.fullmatch(text) is not None


DEFAULT_TENANT = "default"
"""The tenant of streams that are opened with a key that names no tenant, or without any key."""


def tenant_stream_id(tenant: str, name: str) -> StreamId:
    """The id under which a server keeps the stream of a tenant: ``tenant/name``, or the name alone
    for the default tenant. No name holds a slash, so the ids of two tenants are never the same."""
    return StreamId(name if tenant == DEFAULT_TENANT else f"{tenant}/{name}")


def split_stream_id(stream_id: StreamId) -> tuple[str, str]:
    """The tenant and the name that `tenant_stream_id` joined."""
    tenant, slash, name = stream_id.rpartition("/")
    return (tenant, name) if slash else (DEFAULT_TENANT, name)


def full_name(stream_id: StreamId) -> str:
    """A stream's ``tenant/name``, also where it is the default tenant's: by that servers that
    share a store know it."""
    return "/".join(split_stream_id(stream_id))


def new_id(prefix: str) -> str:
    """Return a fresh id such as ``resp_1f0c…``. Its 96 random bits are unique and unguessable."""
    return f"{prefix}_{secrets.token_hex(12)}"


def new_response_id() -> ResponseId:
    """Return a fresh id of an answer."""
    return ResponseId(new_id("resp"))
