"""What `GET /v1/usage` tells of tenants."""

from typing import Literal

from onlooker.core.protocol.base import Outbound


class FrameUsage(Outbound):
    taken: int
    """Frame messages that were looked at, or lay between those that were."""
    left_out: int
    """Frame messages that were dropped, for whatever reason."""


class TokenUsage(Outbound):
    """Tokens of answers to questions; checks of watches are not among them."""

    input: int
    """Tokens of prompts: questions, and what they were shown."""
    cached: int
    """Those of them that need not be computed."""
    output: int


class TenantLimitsObject(Outbound):
    """What a tenant may have and do, on all servers together; null: as much as they take."""

    max_streams: int | None
    max_fps: float | None
    max_questions_per_minute: int | None
    max_memory_bytes: int | None
    max_watches: int | None


class RefusedUsage(Outbound):
    """What was refused at the tenant's limits."""

    streams: int
    fps: int
    """Frame messages over the limit a second."""
    questions_per_minute: int
    memory_bytes: int
    """Frame messages that came while the tenant's memory was full."""
    watches: int


class UsageObject(Outbound):
    """One tenant: what it has now, and its totals."""

    object: Literal["usage"] = "usage"
    tenant: str
    since: float
    """When the totals began, in seconds since the Unix epoch: in a fleet with the first that the
    tenant ever did, else with the start of the server."""
    streams: int
    """Streams that are open."""
    watches: int
    fps: float
    """Frame messages a second that came in of late."""
    memory_bytes: int
    """Bytes of keys and values that are remembered of the open streams, one copy counted."""
    frames: FrameUsage
    questions: int
    """Questions that were let in."""
    tokens: TokenUsage
    alerts: int
    refused: RefusedUsage
    limits: TenantLimitsObject


class UsageList(Outbound):
    object: Literal["list"] = "list"
    data: list[UsageObject]
    servers: list[str]
    """The servers that were counted."""
    is_whole: bool
    """False while Redis is away: then all figures are those of one server, since it was started."""
