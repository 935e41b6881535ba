"""The one table: what an error looks like over HTTP and over a WebSocket."""

import logging
import math
from dataclasses import dataclass

from onlooker.core.errors import (
    CapacityError,
    ClientError,
    ConfigError,
    Conflict,
    EngineDead,
    Forbidden,
    InvalidRequest,
    LimitReached,
    NotFound,
    OnlookerError,
    OwnedElsewhere,
    ServiceError,
    ShuttingDown,
    TooLarge,
    Unauthorized,
    UnsupportedMedia,
)
from onlooker.core.protocol.base import ErrorBody, ErrorReply

_log = logging.getLogger("onlooker.server.errors")

CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_NO_FRAME = 1003
CLOSE_REFUSED = 1008
CLOSE_TOO_LARGE = 1009
CLOSE_OUR_FAULT = 1011
CLOSE_TRY_LATER = 1013


@dataclass(frozen=True, slots=True)
class Face:
    """How one branch of the error tree shows itself."""

    http_status: int
    close_code: int
    kind: str
    """The error's kind, as `ErrorBody.type` tells it."""


_TABLE: dict[type[OnlookerError], Face] = {
    InvalidRequest: Face(400, CLOSE_REFUSED, "invalid_request_error"),
    UnsupportedMedia: Face(415, CLOSE_NO_FRAME, "invalid_request_error"),
    TooLarge: Face(413, CLOSE_TOO_LARGE, "invalid_request_error"),
    Unauthorized: Face(401, CLOSE_REFUSED, "authentication_error"),
    Forbidden: Face(403, CLOSE_REFUSED, "permission_error"),
    NotFound: Face(404, CLOSE_REFUSED, "not_found_error"),
    Conflict: Face(409, CLOSE_REFUSED, "conflict_error"),
    ClientError: Face(400, CLOSE_REFUSED, "invalid_request_error"),
    LimitReached: Face(429, CLOSE_TRY_LATER, "rate_limit_error"),
    OwnedElsewhere: Face(421, CLOSE_TRY_LATER, "overloaded_error"),
    ShuttingDown: Face(503, CLOSE_GOING_AWAY, "overloaded_error"),
    CapacityError: Face(503, CLOSE_TRY_LATER, "overloaded_error"),
    EngineDead: Face(503, CLOSE_OUR_FAULT, "server_error"),
    ServiceError: Face(500, CLOSE_OUR_FAULT, "server_error"),
    ConfigError: Face(500, CLOSE_OUR_FAULT, "server_error"),
    OnlookerError: Face(500, CLOSE_OUR_FAULT, "server_error"),
}


class SlowBody(ClientError):
    """A request body that did not come in time."""

    code = "request_timeout"


class ActiveResponse(Conflict):
    """A second answer was asked for in one conversation; its code is OpenAI's word."""

    code = "conversation_already_has_active_response"


class NothingToCancel(ClientError):
    """A cancel came without an answer under way; its code is OpenAI's word."""

    code = "response_cancel_not_active"


class NotReady(CapacityError):
    """The model is still being loaded."""

    code = "starting"


class OwnerLost(CapacityError):
    """The server that has the stream went away, or fell silent, in the midst of a relayed call."""

    code = "owner_lost"


class NotInstalled(ServiceError):
    """What was asked for takes an optional part that is not installed."""

    code = "not_installed"
    retryable = False


class Unprocessable(ClientError):
    """A request that is well formed, and asks for what is not done here."""

    code = "unprocessable"


class WrongMethod(ClientError):
    """A call that its address does not take."""

    code = "method_not_allowed"


class StaleTag(ClientError):
    """The request is about a state that is over (``If-Match``)."""

    code = "precondition_failed"


class MissingTag(ClientError):
    """The request does not say which state it is about (``If-Match``)."""

    code = "precondition_required"


_TABLE[SlowBody] = Face(408, CLOSE_REFUSED, "invalid_request_error")
_TABLE[NotInstalled] = Face(501, CLOSE_OUR_FAULT, "server_error")
_TABLE[Unprocessable] = Face(422, CLOSE_REFUSED, "invalid_request_error")
_TABLE[WrongMethod] = Face(405, CLOSE_REFUSED, "invalid_request_error")
_TABLE[StaleTag] = Face(412, CLOSE_REFUSED, "invalid_request_error")
_TABLE[MissingTag] = Face(428, CLOSE_REFUSED, "invalid_request_error")


def face_of(error: OnlookerError) -> Face:
    """Return how `error` shows itself: the entry of its nearest base in the table."""
    for cls in type(error).__mro__:
        if cls in _TABLE:
            return _TABLE[cls]
    raise AssertionError("OnlookerError itself is in the table")


def body_of(error: OnlookerError, *, event_id: str | None = None) -> ErrorBody:
    """Return what a client is told of `error`."""
    return ErrorBody(
        type=face_of(error).kind,
        code=error.code,
        message=_writable(error.message),
        param=None if error.param is None else _writable(error.param),
        event_id=event_id,
        retryable=error.retryable,
        retry_after_s=error.retry_after_s if isinstance(error, CapacityError) else None,
        limit=error.limit if isinstance(error, LimitReached) else None,
    )


def _writable(text: str) -> str:
    """`text`, which may repeat a client's words, without what has no bytes in UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def reply_of(error: OnlookerError) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and JSON body of an HTTP error."""
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    if isinstance(error, CapacityError):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    body = ErrorReply(error=body_of(error)).model_dump_json(exclude_none=False)
    return face_of(error).http_status, headers, body.encode()


def hide(error: BaseException, *, where: str) -> ServiceError:
    """Log a fault of ours once and return what may be told of it."""
    _log.error("unexpected failure", exc_info=error, extra={"where": where})
    return ServiceError(
        "something went wrong inside the server; the log has the details", param=None
    )
