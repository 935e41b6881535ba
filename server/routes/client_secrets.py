"""Short-lived tokens, so that a browser need not know a key."""

from typing import Annotated

from fastapi import APIRouter, Body

from onlooker.core.errors import InvalidRequest
from onlooker.core.protocol.http import (
    ClientSecretReply,
    ClientSecretRequest,
    ClientSecretSession,
)
from onlooker.core.scopes import DEFAULT_TOKEN_SCOPES, Scope
from onlooker.server.access import CallerCredential, ReadyGateway, error_docs
from onlooker.server.bodies import JsonRoute

router = APIRouter(prefix="/v1/realtime", tags=["realtime"], route_class=JsonRoute)


@router.post("/client_secrets", summary="Make a short-lived token", responses=error_docs(400, 403))
async def make_client_secret(
    gateway: ReadyGateway,
    credential: CallerCredential,
    request: Annotated[ClientSecretRequest | None, Body()] = None,
) -> ClientSecretReply:
    """Make a token that stands for your key for 10 to 7200 seconds, with some of its scopes.

    Your server calls this with its key and gives the token to the browser, which connects with the
    subprotocols `realtime` and `openai-insecure-api-key.TOKEN`.
    """
    request = request or ClientSecretRequest()
    session = request.session or {}
    for name in session:
        if name not in ("type", "model"):
            raise InvalidRequest(
                f"'{name[:80]}' cannot be fixed in a token; send session.update when connected",
                param=f"session.{name[:80]}",
            )
    model = session.get("model")
    gateway.check_model(str(model) if model is not None else None)
    value, grant = gateway.auth.mint(
        request.expires_after.seconds,
        credential=credential,
        scopes=DEFAULT_TOKEN_SCOPES if request.scopes is None else frozenset(request.scopes),
    )
    assert grant.expires_at is not None
    return ClientSecretReply(
        value=value,
        expires_at=grant.expires_at,
        scopes=[scope for scope in Scope if scope in grant.scopes],
        session=ClientSecretSession(model=gateway.hub.info.model),
    )
