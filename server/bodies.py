"""Bodies of HTTP requests: routes whose JSON is bounded in what it makes of itself."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from onlooker.core.errors import ClientError
from onlooker.core.protocol.bounded_json import TooComplex, read_json_in_turns
from onlooker.server.access import the_gateway
from onlooker.server.errors import face_of


class RefusedBody(HTTPException):
    """A body over its limits. Derives from `HTTPException` because FastAPI, which reads the body,
    lets only that pass."""

    def __init__(self, error: ClientError) -> None:
        super().__init__(face_of(error).http_status, error.message)
        self.error = error


class JsonRequest(Request):
    """A request whose JSON is read within the server's limits."""

    async def json(self) -> Any:
        limits = the_gateway(self).settings.server.json_limits
        try:
            return await read_json_in_turns(await self.body(), limits)
        except TooComplex as error:
            raise RefusedBody(error) from None
        except ValueError as error:  # FastAPI tells this one from others
            raise json.JSONDecodeError(str(error), "", 0) from None


class JsonRoute(APIRoute):
    """A route that takes JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if not isinstance(request, JsonRequest):
                request = JsonRequest(request.scope, request.receive)
            return await handler(request)

        return handle
