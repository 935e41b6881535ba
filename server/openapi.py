"""The OpenAPI document's words on security, from the table of rights.

FastAPI writes down that a route reads a key; it does not know when one is asked for, nor what a key
must be good for.
"""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from onlooker.server.config import ServerSection
from onlooker.server.doors import ROUTES
from onlooker.server.rights import SCOPE_OF

BEARER, QUERY_TOKEN = "KeyOrToken", "TokenInQuery"
"""Names of the two ways to show who one is."""

_SCHEMES = {
    BEARER: {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key of this server, or a short-lived token. Requirements list the "
        "scope that it must have.",
    },
    QUERY_TOKEN: {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "A short-lived token, for browsers' event readers, which set no headers.",
    },
}


def describe_security(app: FastAPI, settings: ServerSection) -> None:
    """Have `app` declare, call by call, what it asks callers to show."""
    written: Callable[[], dict[str, Any]] = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = written()
            document["components"]["securitySchemes"] = _SCHEMES
            for path, calls in document["paths"].items():
                for method, call in calls.items():
                    call.pop("security", None)
                    if needed := _requirements(f"{method.upper()} {path}", settings):
                        call["security"] = needed
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to change the document


def _requirements(call: str, settings: ServerSection) -> list[dict[str, list[str]]]:
    """What a call asks for, one of which is enough; empty: nothing."""
    action = ROUTES.get(call)
    if action is None or (call == "GET /metrics" and not settings.metrics_need_key):
        return []
    scope = SCOPE_OF[action]
    scopes = [] if scope is None else [str(scope)]
    needed = [{BEARER: scopes}]
    if call.startswith("GET "):
        needed.append({QUERY_TOKEN: scopes})
    # Without keys in the settings, nothing need be shown.
    return needed if settings.api_keys else [{}, *needed]
