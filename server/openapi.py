"""What the OpenAPI document says beyond what FastAPI finds in the routes.

FastAPI writes down that a route reads a key; it does not know when one is asked for, nor what a key
must be good for: that comes from the table of rights. It believes that faulty requests get 422,
that a header may be null, and knows nothing of limits that hold for every body. Examples name what
other examples make, so that all of them work one after the other, on a server without a network.
"""

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI

from onlooker.server.access import error_docs
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

_EXAMPLE_IDS = {"stream_id": "front-door", "watch_id": "red-circle"}
"""Example values of path parameters: what the examples of bodies make."""

_FASTAPIS_REFUSAL = "422"
_FASTAPIS_SCHEMAS = ("HTTPValidationError", "ValidationError")


def complete_document(
    app: FastAPI, settings: ServerSection, *, served_model: Callable[[], str]
) -> None:
    """Have `app` write a document that is complete and true. `served_model`: the model that may be
    asked for."""
    written: Callable[[], dict[str, Any]] = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = written()
            document["components"]["securitySchemes"] = _SCHEMES
            for name in _FASTAPIS_SCHEMAS:
                document["components"]["schemas"].pop(name, None)
            for path, calls in document["paths"].items():
                for method, call in calls.items():
                    call.pop("security", None)
                    if needed := _requirements(f"{method.upper()} {path}", settings):
                        call["security"] = needed
                    _describe_refusals(call)
                    _describe_parameters(call)
        assert app.openapi_schema is not None
        for example in _body_examples(app.openapi_schema):
            if "model" in example:  # known from the start of the engine on
                example["model"] = served_model()
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


def _describe_refusals(call: dict[str, Any]) -> None:
    """Faulty requests get 400; bodies have limits of size and time."""
    responses = call["responses"]
    statuses = {400} if responses.pop(_FASTAPIS_REFUSAL, None) else set()
    if "requestBody" in call:
        statuses |= {400, 408, 413}
    for status, words in error_docs(*statuses).items():
        if int(status) in statuses:
            reply = {"schema": {"$ref": "#/components/schemas/ErrorReply"}}
            content = {"application/json": reply}
            described = {"description": words["description"], "content": content}
            responses.setdefault(str(status), described)


def _describe_parameters(call: dict[str, Any]) -> None:
    """No parameter can be null, which is a word of JSON."""
    for parameter in call.get("parameters", ()):
        schema = parameter["schema"]
        kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
        if len(kinds) == 1:
            del schema["anyOf"]
            schema.update(kinds[0])
        if parameter["name"] in _EXAMPLE_IDS:
            parameter["example"] = _EXAMPLE_IDS[parameter["name"]]


def _body_examples(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for calls in document["paths"].values():
        for call in calls.values():
            for content in call.get("requestBody", {}).get("content", {}).values():
                for example in content.get("examples", {}).values():
                    yield example["value"]
