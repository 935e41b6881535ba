"""What routes depend on: the gateway, a checked caller, and a server that takes work.

What routes depend on is asynchronous, though none of it waits: FastAPI runs each dependency that is
not in a thread, which costs more than all that is done here.
"""

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from onlooker.core.protocol.base import ErrorReply
from onlooker.server.auth import bearer
from onlooker.server.doors import ROUTES
from onlooker.server.gateway import Gateway
from onlooker.server.rights import Grant
from onlooker.streams.tenants import TenantStreams

_bearer = HTTPBearer(auto_error=False)  # what the documentation says of it: `openapi.py`


def the_gateway(request: Request) -> Gateway:
    """The gateway of the app that serves `request`."""
    gateway = request.app.state.gateway
    assert isinstance(gateway, Gateway)
    return gateway


async def _gateway_of(request: Request) -> Gateway:
    return the_gateway(request)


AnyGateway = Annotated[Gateway, Depends(_gateway_of)]
"""The gateway, for routes that answer everyone, at any time."""

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def shown_credential(shown: HTTPAuthorizationCredentials | None) -> str | None:
    """The key or token of the ``Authorization`` header."""
    return shown.credentials if shown is not None else None


async def _caller_credential(shown: Credentials) -> str | None:
    return shown_credential(shown)


CallerCredential = Annotated[str | None, Depends(_caller_credential)]


def check_caller(
    request: Request, gateway: Gateway, shown: HTTPAuthorizationCredentials | None
) -> Grant:
    """Check the caller's key or token, and what it is good for; reading calls may show it as
    ``?token=``.

    Raises:
        Unauthorized: no key, or a wrong one.
        Forbidden: it lacks the scope of what the route does.
    """
    return _checked(request, gateway, shown_credential(shown))


def grant_of(request: Request, gateway: Gateway) -> Grant:
    """As `check_caller`, for what comes before a route's dependencies."""
    return _checked(request, gateway, bearer(request.headers.get("authorization")))


def _checked(request: Request, gateway: Gateway, credential: str | None) -> Grant:
    if credential is None and request.method in ("GET", "HEAD"):
        credential = request.query_params.get("token")
    grant = gateway.auth.check(credential)
    grant.require(ROUTES[f"{request.method} {request.scope['route'].path_format}"])
    return grant


async def _caller_grant(request: Request, gateway: AnyGateway, shown: Credentials) -> Grant:
    return check_caller(request, gateway, shown)


CallerGrant = Annotated[Grant, Depends(_caller_grant)]


async def ready_gateway(gateway: AnyGateway, grant: CallerGrant) -> Gateway:
    """The gateway, for a caller who may in, when there is work that is taken.

    Raises: what `Gateway.check_open` does.
    """
    gateway.check_open()
    return gateway


ReadyGateway = Annotated[Gateway, Depends(ready_gateway)]


async def caller_streams(gateway: ReadyGateway, grant: CallerGrant) -> TenantStreams:
    """The streams that the caller may see."""
    return gateway.streams_of(grant.tenant)


CallerStreams = Annotated[TenantStreams, Depends(caller_streams)]


EVENT_STREAM: dict[str, Any] = {
    "text/event-stream": {
        "itemSchema": {
            "type": "object",
            "properties": {
                "event": {"type": "string", "description": "The event's type."},
                "id": {"type": "string", "description": "Its number, to resume from."},
                "data": {"type": "string", "contentMediaType": "application/json"},
            },
            "required": ["data"],
        }
    }
}
"""The content of server-sent events, for a route's documentation."""


def error_docs(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for its documentation."""
    words = {
        400: "Something in the request is wrong; `param` names it.",
        401: "No API key, or a wrong one.",
        403: "The key or token lacks the scope, or the operator does not allow it.",
        404: "There is no such thing.",
        408: "The body did not come in time.",
        409: "It exists already, or somebody else holds it.",
        412: "The call is about a state that is over (`If-Match`).",
        413: "Over a size limit.",
        415: "A media type or a picture that is not taken.",
        422: "Well formed, and not done here.",
        429: "A limit of the caller's tenant is reached; `limit` says which, `Retry-After` when to "
        "try again.",
        428: "The call should say with `If-Match` which state it is about.",
        500: "Something went wrong inside the server or its engine; its log has the details.",
        501: "It takes an optional part that is not installed; the message says which.",
        503: "Starting, full or shutting down; `Retry-After` says when to try again.",
    }
    return {
        status: {"model": ErrorReply, "description": words[status]}
        for status in sorted({401, 403, 500, 503, *statuses})
    }
