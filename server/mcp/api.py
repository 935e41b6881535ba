"""`ServerApi`: the HTTP API of a server, as tools and resources use it for one caller.

Whatever comes in by MCP goes through the same calls as everyone's: rights, limits, relays between
the servers of a fleet and the words of errors are theirs.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from onlooker.core.errors import OnlookerError
from onlooker.core.protocol.base import ErrorReply


class ApiRefusal(OnlookerError):
    """The server refused a call, or could not be asked; the message is for the model to read."""

    code = "refused"


class ServerApi:
    """Calls of one caller."""

    def __init__(self, http: httpx.AsyncClient, headers: Mapping[str, str] | None = None) -> None:
        """`headers`: what shows who calls, where `http` does not say it."""
        self._http = http
        self._headers = dict(headers or {})

    async def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The JSON of a reply. Raises `ApiRefusal`."""
        return _json_of(await self._reply("GET", path, params=_given(query)))

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Post the fields that are not None. Raises `ApiRefusal`."""
        return _json_of(await self._reply("POST", path, json=_given(body)))

    async def bytes_of(self, path: str, **query: Any) -> tuple[bytes, str]:
        """What a reply brings, and its media type. Raises `ApiRefusal`."""
        reply = await self._reply("GET", path, params=_given(query))
        return reply.content, reply.headers.get("content-type", "application/octet-stream")

    @asynccontextmanager
    async def follow(self, stream: str) -> AsyncIterator[AsyncIterator[str]]:
        """The types of the events of a stream, as they come. Raises `ApiRefusal`."""
        path = f"{stream_path(stream)}/events"
        try:
            async with self._http.stream(
                "GET", path, headers=self._headers, timeout=httpx.Timeout(10.0, read=None)
            ) as reply:
                if not reply.is_success:
                    await reply.aread()
                    raise refusal_of(reply)
                yield _event_types(reply)
        except httpx.HTTPError as error:
            raise self._unreached(error) from error

    async def _reply(self, method: str, path: str, **rest: Any) -> httpx.Response:
        try:
            reply = await self._http.request(method, path, headers=self._headers, **rest)
        except httpx.HTTPError as error:
            raise self._unreached(error) from error
        if not reply.is_success:
            raise refusal_of(reply)
        return reply

    def _unreached(self, error: httpx.HTTPError) -> ApiRefusal:
        if isinstance(error, httpx.TimeoutException):
            return ApiRefusal(f"the server at {self._http.base_url} gave no reply in time")
        why = str(error) or type(error).__name__
        return ApiRefusal(f"the server at {self._http.base_url} cannot be reached: {why}")


def stream_path(stream: str) -> str:
    """The path of a stream's calls."""
    return f"/v1/streams/{quote(stream, safe='')}"


def refusal_of(reply: httpx.Response) -> ApiRefusal:
    """The server's own words, and when to come again where it says so."""
    try:
        error = ErrorReply.model_validate_json(reply.text).error
    except ValidationError:
        return ApiRefusal(f"the server answered with status {reply.status_code}")
    text = error.message
    if error.retry_after_s is not None:
        text += f" (try again in {error.retry_after_s:g} s)"
    if (error.code, error.param) == ("not_found", "stream"):
        text += "; list_streams tells which there are"
    return ApiRefusal(text, param=error.param)


async def _event_types(reply: httpx.Response) -> AsyncIterator[str]:
    async for line in reply.aiter_lines():
        if line.startswith("event:"):
            yield line.removeprefix("event:").strip()


def _json_of(reply: httpx.Response) -> dict[str, Any]:
    value = reply.json()
    assert isinstance(value, dict)
    return value


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that have a value; a trailing underscore, which Python's own words need, is cut."""
    return {name.rstrip("_"): value for name, value in fields.items() if value is not None}
