"""The ASGI app: routes, errors and the lifespan."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException

from onlooker.core.errors import InvalidRequest, NotFound, OnlookerError
from onlooker.core.protocol.client_events import quote
from onlooker.server.bodies import RefusedBody
from onlooker.server.errors import hide, reply_of
from onlooker.server.gateway import Gateway
from onlooker.server.lifespan import Lifecycle
from onlooker.server.mcp.door import McpDoor
from onlooker.server.middleware import RequestGuard
from onlooker.server.nothing_there import methods_at, nothing_at
from onlooker.server.openapi import complete_document
from onlooker.server.release import package_version
from onlooker.server.routes import (
    album,
    alerts,
    chat_completions,
    client_secrets,
    events,
    frames,
    health,
    imports,
    mcp,
    memory,
    models,
    orders,
    questions,
    realtime,
    references,
    responses,
    servers,
    streams,
    surveys,
    timeline,
    usage,
    watches,
    whip,
)
from onlooker.server.routes.page import PageFiles, page_folder

DESCRIPTION = """\
Live video in, live answers out. Video, questions and answers travel over one WebSocket,
`/v1/realtime` (OpenAI Realtime's words; see docs/protocol.md); these calls mirror it.
"""


def create_app(
    gateway: Gateway, lifecycle: Lifecycle | None = None, *, opens_when_ready: bool = False
) -> FastAPI:
    """Return the ASGI app. Its lifespan runs `lifecycle` (default: a quiet one), and begins at once
    or, with `opens_when_ready`, when the gateway takes work."""
    lifecycle = lifecycle or Lifecycle(gateway)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        lifecycle.start()
        try:
            if opens_when_ready:
                await lifecycle.started()
            yield
        finally:
            await lifecycle.stop()
            await door.close()

    server = gateway.settings.server
    app = FastAPI(
        title="Onlooker",
        version=package_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        root_path=server.root_path,
        docs_url="/docs",
        redoc_url=None,
    )
    app.state.gateway = gateway
    app.state.drain = lifecycle.drain
    app.state.mcp = door = McpDoor(app)
    for routes in (streams, frames, questions, events, watches, chat_completions, responses, models,
                   client_secrets, health, imports, memory, album, timeline, realtime, usage,
                   whip, mcp, references, surveys, orders, alerts, servers):  # fmt: skip
        # As they are: `include_router` would build each of them again, which is most of a start.
        app.router.routes.extend(routes.router.routes)
    complete_document(app, server, served_model=lambda: gateway.hub.info.model)
    _answer_errors(app, gateway)
    app.add_middleware(RequestGuard, gateway=gateway)
    if server.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(server.allowed_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=list(whip.TOLD_HEADERS),
            max_age=600,
        )
    folder = page_folder()
    if server.web_page and folder is not None:
        app.mount("/", PageFiles(directory=folder, html=True), name="page")
    return app


def _answer_errors(app: FastAPI, gateway: Gateway) -> None:
    """Give every error of the app the shape of `ErrorReply`."""

    def answer(error: OnlookerError) -> Response:
        gateway.metrics.client_errors.labels(code=error.code).inc()
        status, headers, body = reply_of(error)
        return Response(body, status, headers)

    @app.exception_handler(OnlookerError)
    async def _own(request: Request, error: OnlookerError) -> Response:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> Response:
        return answer(_explained(error))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        if isinstance(error, RefusedBody):
            response = answer(error.error)
            response.headers["connection"] = "close"
            return response
        if error.status_code in (404, 405):
            missing = nothing_at(request)
            response = answer(missing)
            if not isinstance(missing, NotFound):
                response.status_code = 405
                response.headers["allow"] = ", ".join(methods_at(request.url.path))
            return response
        response = answer(InvalidRequest(str(error.detail)))
        response.status_code = error.status_code
        return response

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> Response:
        return answer(hide(error, where=request.url.path))


def _explained(error: RequestValidationError) -> InvalidRequest:
    problems = error.errors()
    problem = problems[0]
    place, *path = (str(part) for part in problem["loc"])
    field = ".".join(path)
    if problem["type"] == "json_invalid":
        return InvalidRequest("the request body is not JSON")
    if problem["type"] == "extra_forbidden":
        text = f"unknown field '{quote(field)}'"
    elif problem["type"] == "missing":
        text = f"'{quote(field)}' is missing" if field else f"the {place} is missing"
    else:
        text = f"'{quote(field)}': {problem['msg']}" if field else str(problem["msg"])
    if len(problems) > 1:
        text += f" (and {len(problems) - 1} more)"
    return InvalidRequest(text, param=quote(field) if field else None)
