"""What routes depend on: the gateway, a checked caller, and a server that takes work."""

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from onlooker.core.errors import Forbidden
from onlooker.core.protocol.base import ErrorReply
from onlooker.server.auth import Grant
from onlooker.server.gateway import Gateway
from onlooker.streams.tenants import TenantStreams

_bearer = HTTPBearer(
    auto_error=False,
    description="An API key of this server. Needed when keys are configured.",
)


def the_gateway(request: Request) -> Gateway:
    """The gateway of the app that serves `request`."""
    gateway = request.app.state.gateway
    assert isinstance(gateway, Gateway)
    return gateway


AnyGateway = Annotated[Gateway, Depends(the_gateway)]
"""The gateway, for routes that answer everyone, at any time."""

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def shown_credential(shown: Credentials) -> str | None:
    """The key or token of the ``Authorization`` header."""
    return shown.credentials if shown is not None else None


def check_caller(request: Request, gateway: AnyGateway, shown: Credentials) -> Grant:
    """Check the caller's key or, on reading calls, a short-lived token, also as ``?token=``.

    Raises:
        Unauthorized: no key, or a wrong one.
        Forbidden: a token on a call that changes something.
    """
    is_reading = request.method in ("GET", "HEAD")
    credential = shown_credential(shown)
    if credential is None and is_reading:
        credential = request.query_params.get("token")
    grant = gateway.auth.check(credential)
    if grant.is_token and not is_reading:
        raise Forbidden("a short-lived token opens realtime connections and reads; use an API key")
    return grant


def ready_gateway(gateway: AnyGateway, grant: Annotated[Grant, Depends(check_caller)]) -> Gateway:
    """The gateway, for a caller who may in, when work is taken.

    Raises: what `Gateway.check_ready` does.
    """
    gateway.check_ready()
    return gateway


ReadyGateway = Annotated[Gateway, Depends(ready_gateway)]


def caller_streams(
    gateway: ReadyGateway, grant: Annotated[Grant, Depends(check_caller)]
) -> TenantStreams:
    """The streams that the caller may see."""
    return gateway.streams_of(grant.tenant)


CallerStreams = Annotated[TenantStreams, Depends(caller_streams)]


def error_docs(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for its documentation."""
    words = {
        400: "Something in the request is wrong; `param` names it.",
        401: "No API key, or a wrong one.",
        403: "Not allowed by the operator.",
        404: "There is no such thing.",
        408: "The body did not come in time.",
        409: "It exists already, or somebody else holds it.",
        413: "Over a size limit.",
        415: "A media type or a picture that is not taken.",
        503: "Starting, full or shutting down; `Retry-After` says when to try again.",
    }
    return {
        status: {"model": ErrorReply, "description": words[status]}
        for status in sorted({401, 503, *statuses})
    }
