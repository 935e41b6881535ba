"""What a call is told that this server does not have: what there is instead."""

import re

from starlette.requests import Request

from onlooker.core.errors import InvalidRequest, NotFound, OnlookerError
from onlooker.core.protocol.client_events import quote
from onlooker.server.doors import PUBLIC_ROUTES, REFUSED_ROUTES, ROUTES

API = "/v1/"
_NAME_IN_PATH = re.compile(r"\{[a-z_]+\}")


def nothing_at(request: Request) -> OnlookerError:
    """The error for a path that there is not, or for a method that a path does not have."""
    path: str = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    if methods := methods_at(path):
        return InvalidRequest(
            f"{quote(request.method)} is not done at {quote(path)}; it takes {', '.join(methods)}"
        )
    text = f"there is nothing at {quote(path)}"
    if path.startswith(API):
        text += f"; there is {', '.join(ROUTES)}, and the WebSocket /v1/realtime"
    return NotFound(f"{text}; see /docs")


def methods_at(path: str) -> list[str]:
    """The methods of the calls that a path has."""
    calls = (name.split(" ") for name in (*ROUTES, *PUBLIC_ROUTES - REFUSED_ROUTES))
    return sorted(method for method, known in calls if _fits(known, path))


def _fits(known: str, path: str) -> bool:
    parts = (re.escape(part) for part in _NAME_IN_PATH.split(known))
    return re.fullmatch("[^/]+".join(parts), path) is not None
