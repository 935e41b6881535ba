"""The server against its own OpenAPI document: Schemathesis calls every route with what is allowed
and with what is not, and looks at what comes back."""

import base64
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi import checks

from onlooker.server.doors import PUBLIC_ROUTES, ROUTES
from tests.fakes.served import KEY, Served, jpeg
from tests.fakes.served_apart import ServedApart, serving_apart
from tests.fakes.waiting import WAIT_S, in_time

EXAMPLES = 8
"""Cases of each kind, of each call."""

SHOWN = {"authorization": f"Bearer {KEY}"}
FILM = Path(__file__).parents[2] / "data" / "hold.mp4"
STREAM, WATCH = "front-door", "red-circle"

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.missing_required_header,
    checks.unsupported_method,
    checks.ignored_auth,
]
"""Not whether all that is allowed is taken: no document can say which streams there are."""

schemathesis.serializer.alias(
    ["application/sdp", "application/trickle-ice-sdpfrag"],
    "text/plain",
)

EVENTS_S = 0.2
"""How long the events of a stream are read, which have no end."""


DRAIN = "/v1/servers/self/drain"


@pytest.fixture(scope="module")
def apart() -> Iterator[ServedApart]:
    with serving_apart(
        server__api_keys=KEY, server__sse_keepalive_s=0.05, cache_store__diary__enabled=True
    ) as apart:
        yield apart


@pytest.fixture(scope="module")
def schema(apart: ServedApart) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{apart.base}/openapi.json")


@pytest.fixture
def http(apart: ServedApart) -> Iterator[httpx.Client]:
    """A client of the server, on which only one stream is left, with one watch."""
    with httpx.Client(base_url=apart.base, headers=SHOWN, timeout=WAIT_S, trust_env=False) as http:
        yield http
        http.delete(DRAIN).raise_for_status()
        for stream in http.get("/v1/streams?limit=100").json()["data"]:
            http.delete(f"/v1/streams/{stream['id']}").raise_for_status()


def furnish(http: httpx.Client) -> None:
    """Have a server that takes work, with the stream and the watch that half of the cases are
    about."""
    http.delete(DRAIN).raise_for_status()
    http.post("/v1/streams", json={"id": STREAM})
    http.post(f"/v1/streams/{STREAM}/watches", json={"id": WATCH, "condition": "a red circle"})


OF_ANOTHER_PROTOCOL = {"POST /mcp"}
"""What MCP describes itself; its own client is its test."""


@pytest.mark.parametrize("call", sorted({*ROUTES, *PUBLIC_ROUTES} - OF_ANOTHER_PROTOCOL))
def test_whatever_is_called_is_answered_as_documented_and_leaves_nothing(
    call: str, schema: BaseSchema, http: httpx.Client, apart: ServedApart
) -> None:
    method, _, path = call.partition(" ")
    if method.lower() not in schema.raw_schema["paths"].get(path, {}):
        url = path.format(stream_id=STREAM, session_id="x")
        assert http.request(method, url).status_code == 405
        return
    operation = schema[path][method]
    allowed = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    forbidden = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    made: set[str] = set()

    def attempt(case: Case[Any], *, is_known: bool) -> None:
        furnish(http)
        if is_known and "stream_id" in case.path_parameters:
            case.path_parameters["stream_id"] = STREAM
        if is_known and "watch_id" in case.path_parameters:
            case.path_parameters["watch_id"] = WATCH
        limit_s = EVENTS_S if path.endswith("/events") else WAIT_S
        reply = case.call(headers=SHOWN, timeout=limit_s)
        case.validate_response(reply, checks=CHECKS, headers=SHOWN)
        assert reply.status_code < 500
        if call == "POST /v1/streams" and reply.status_code == 201:
            made.add(reply.json()["id"])

    once = settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        once(given(case=allowed, is_known=st.booleans())(attempt))()
        takes = {"parameters", "requestBody"} & operation.definition.raw.keys()
        if takes and method != "OPTIONS":  # in what may be asked of any path nothing is forbidden
            once(given(case=forbidden, is_known=st.booleans())(attempt))()
    http.delete(DRAIN).raise_for_status()
    left = {stream["id"] for stream in http.get("/v1/streams?limit=100").json()["data"]}
    assert left - made <= {STREAM}
    assert apart.call(_under_way) == (0, 0)


async def _under_way(served: Served) -> tuple[int, int]:
    """Answers and connections that are not at their end."""
    return served.gateway.hub.num_answers, len(served.gateway.connections)


def test_the_examples_of_the_document_work_as_they_stand_and_in_their_order(
    http: httpx.Client,
) -> None:
    document = http.get("/openapi.json").json()
    tried: list[str] = []
    last: list[tuple[str, str, dict[str, Any]]] = []
    ids: dict[str, str] = {}  # those that the server gives
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            if path.startswith("/v1/whip/") and method != "options":
                continue  # an offer is made by a peer, for one session of its own
            url = path
            for parameter in call.get("parameters", ()):
                if parameter["in"] == "path":
                    example = ids.get(parameter["name"]) or parameter.get("example", "fake")
                    url = url.replace(f"{{{parameter['name']}}}", example)
            if "/imports" in path:  # into a stream for recordings, which that one is not
                url = url.replace(STREAM, "films")
            if method == "delete":
                last.insert(0, (method, url, call["responses"]))
                continue
            for name, options in bodies(call):
                if method == "get" and path.endswith("/events"):
                    with http.stream("GET", url) as reply:
                        assert reply.status_code == 200
                    continue
                if path.endswith("/pictures"):  # a lone frame may wait for its partner
                    in_time("a clip", partial(wait_for_picture, http, url))
                if path.endswith("/reference"):  # an example of one would be longer than the rest
                    give_reference(http, url.removesuffix("/reference"))
                reply = http.request(method, url, **options)
                assert reply.is_success, (method, url, name, reply.text)
                tried.append(f"{method} {url} {name}")
                if method == "post" and url.endswith("/imports"):
                    ids["import_id"] = reply.json()["id"]
                if (method, url) == ("post", "/v1/watches"):
                    ids["order_id"] = reply.json()["id"]
                if url == "/v1/responses":
                    ids["response_id"] = reply.json()["id"]
    for method, url, documented in last:
        reply = http.request(method, url)
        assert reply.is_success, url
        assert str(reply.status_code) in documented, url
    assert "post /v1/chat/completions stream" in tried
    assert "post /v1/responses stream" in tried
    assert "patch /v1/streams/front-door/watches/red-circle pause" in tried


def wait_for_picture(http: httpx.Client, url: str) -> None:
    """Return once a stream has seen a clip."""
    while not http.get(url).json()["data"]:
        pass


def give_reference(http: httpx.Client, url: str) -> None:
    """Give a stream a reference picture."""
    picture = base64.b64encode(jpeg()).decode()
    reply = http.patch(url, json={"reference": f"data:image/jpeg;base64,{picture}"})
    assert reply.is_success, reply.text


def bodies(call: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The bodies that a call's documentation shows; a picture where it takes one, and nothing where
    it shows none."""
    content = call.get("requestBody", {}).get("content", {})
    if "video/mp4" in content:
        sent = {"content": FILM.read_bytes(), "headers": {"content-type": "video/mp4"}}
        yield "recording", {**sent, "params": {"starts_at": "2026-05-01T12:00:00Z"}}
        return
    if "image/jpeg" in content:
        yield "picture", {"content": jpeg(), "headers": {"content-type": "image/jpeg"}}
        return
    examples = content.get("application/json", {}).get("examples", {})
    for name, example in examples.items():
        yield name, {"json": example["value"]}
    if not examples:
        yield "nothing", {}


def test_the_document_says_nothing_that_is_not_so(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            where = f"{method} {path}"
            assert "422" not in call["responses"], where
            if call.get("parameters") or call.get("requestBody"):
                shown = call["responses"]["400"]["content"]["application/json"]["schema"]
                assert shown == {"$ref": "#/components/schemas/ErrorReply"}, where
            for parameter in call.get("parameters", ()):
                assert {"type": "null"} not in parameter["schema"].get("anyOf", ()), where
    assert "HTTPValidationError" not in document["components"]["schemas"]
