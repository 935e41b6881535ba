"""What can go wrong on the client's side, and how a server's error becomes an exception.

Errors that the server reports are the same classes that it raised (`onlooker.core.errors`), found
again by their code. Some kinds exist only here:

    ServerUnreachable    nothing answers at the address
    ConnectionLost       the connection broke while an answer was under way
    AnswerFailed         the server accepted the question, then failed
    AnswerCancelled      the answer was cancelled before its question was sent
"""

from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from onlooker.core.errors import (
    CapacityError,
    ClientError,
    LimitReached,
    OnlookerError,
    Overloaded,
    OwnedElsewhere,
    ServiceError,
    Unauthorized,
)
from onlooker.core.protocol.base import ErrorBody, ErrorReply


class ServerUnreachable(OnlookerError):
    """Nothing answers at the address: not started yet, another port, or no network."""

    code = "server_unreachable"
    retryable = True


class ConnectionLost(OnlookerError):
    """The connection broke before the answer's end. The stream and its memory may still exist."""

    code = "connection_lost"
    retryable = True


class AnswerCancelled(OnlookerError):
    """The answer was cancelled before its question was sent."""

    code = "cancelled"


class AnswerFailed(ServiceError):
    """The server ended an answer with status ``failed``."""

    code = "answer_failed"


def _all_below(root: type[OnlookerError]) -> Iterator[type[OnlookerError]]:
    yield root
    for child in root.__subclasses__():
        yield from _all_below(child)


_KINDS: Mapping[str, type[OnlookerError]] = {
    "server_error": ServiceError,
    "overloaded_error": Overloaded,
}
"""What errors are whose code is unknown here, by their type: some codes are the server's own, and a
server may be newer."""


def error_from(body: ErrorBody) -> OnlookerError:
    """The exception that a server's error stands for; a general one if its code is unknown here."""
    # Of several classes with one code the narrowest wins: it is listed last.
    kinds = {kind.code: kind for kind in _all_below(OnlookerError) if "code" in vars(kind)}
    kind = kinds.get(body.code) or _KINDS.get(body.type, ClientError)
    if issubclass(kind, LimitReached):
        wait_s = body.retry_after_s or 1.0
        return kind(body.message, limit=body.limit or "", retry_after_s=wait_s)
    if issubclass(kind, OwnedElsewhere):
        kind = CapacityError  # which server has the stream is told in words only
    if issubclass(kind, CapacityError):
        refusal = kind(body.message, param=body.param, retry_after_s=body.retry_after_s or 1.0)
        refusal.code = body.code
        return refusal
    error = kind(body.message, param=body.param)
    error.code = body.code
    return error


def error_from_reply(status: int, text: str, retry_after: str | None = None) -> OnlookerError:
    """The exception for an HTTP reply that is not a success, whoever sent it."""
    try:
        return error_from(ErrorReply.model_validate_json(text).error)
    except ValidationError:
        pass  # a proxy replied, or there is no body: only the status tells what is wrong
    if status in (401, 403):
        return Unauthorized("the server wants an API key: pass api_key, or set ONLOOKER_API_KEY")
    if status in (429, 503):
        wait_s = float(retry_after) if retry_after and retry_after.isdigit() else 1.0
        return Overloaded(f"the server takes no more now (status {status})", retry_after_s=wait_s)
    kind = ServiceError if status >= 500 else ClientError
    return kind(f"the server answered with status {status}: {text[:200].strip() or 'no text'}")
