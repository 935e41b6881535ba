"""`ServerCalls`: calls of a server over HTTP, with their limits and what goes wrong with them."""

from datetime import datetime
from typing import Any

import httpx
from pydantic import ValidationError

from onlooker.clients.python.connection import not_trusted, untrusted
from onlooker.clients.python.errors import ServerUnreachable, error_from_reply
from onlooker.clients.python.options import ClientOptions, is_loopback
from onlooker.core.errors import InvalidRequest
from onlooker.core.protocol.base import Inbound
from onlooker.core.protocol.client_events import SessionConfig, explain_validation
from onlooker.core.protocol.http import HealthReply


class ServerCalls:
    """Of one client. `transport`: None is the network; tests hand in another."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        options: ClientOptions,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self._base_url, self._options = base_url, options
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(options.connect_timeout_s),
            trust_env=not is_loopback(base_url),
            transport=transport,
            verify=options.tls(base_url) or True,
        )

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def is_ready(self) -> bool:
        """Whether the server takes traffic; False also where nothing answers."""
        try:
            return (await self._http.get("/readyz")).is_success
        except httpx.HTTPError:
            return False

    async def starting(self) -> str | None:
        """What the server does, where it says that it is not ready yet and will be by itself.

        Raises:
            TimeoutError: it is there, and does not say.
        """
        try:
            health = HealthReply.model_validate_json((await self._http.get("/readyz")).content)
        except httpx.ReadTimeout:
            raise TimeoutError from None
        except (httpx.HTTPError, ValidationError):
            return None  # the next call says what is wrong
        is_starting = health.status in ("starting", "recovering")
        return (health.reason or health.status) if is_starting else None

    async def text(self, method: str, path: str, **rest: Any) -> str:
        """The text of a reply. Raises: as `reply`."""
        return (await self.reply(method, path, **rest)).text

    async def reply(self, method: str, path: str, **rest: Any) -> httpx.Response:
        """What the server replies to a call. `rest`: as for `httpx.AsyncClient.request`.

        Raises:
            ServerUnreachable: it does not, or not in time.
            OnlookerError: it refuses, and why.
        """
        options = self._options
        limit_s = options.connect_timeout_s if method == "GET" else options.change_timeout_s
        limit = httpx.Timeout(rest.pop("timeout", limit_s), connect=options.connect_timeout_s)
        try:
            reply = await self._http.request(method, path, timeout=limit, **rest)
        except httpx.ConnectTimeout as error:
            raise ServerUnreachable(
                f"{self._base_url} took no connection within {limit.connect:g} s"
            ) from error
        except httpx.TimeoutException as error:
            has_changed = "" if method == "GET" else "; what was asked for may be done all the same"
            raise ServerUnreachable(
                f"{self._base_url} gave no reply to {method} {path} within {limit.read:g} s"
                f"{has_changed}"
            ) from error
        except httpx.HTTPError as error:
            if (cause := not_trusted(error)) is not None:
                raise untrusted(self._base_url, cause) from error
            raise ServerUnreachable(f"nothing answers at {self._base_url}: {error}") from error
        if not reply.is_success:
            raise error_from_reply(reply.status_code, reply.text, reply.headers.get("Retry-After"))
        return reply


def request_body(kind: type[Inbound], **fields: Any) -> dict[str, Any]:
    """A request's JSON, checked by the same model that the server uses.

    Raises:
        InvalidRequest: a field is missing or out of its range.
    """
    try:
        return kind.model_validate(given(fields)).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        message, param = explain_validation(error)
        raise InvalidRequest(message, param=param) from error


def session_config(fields: dict[str, Any]) -> SessionConfig:
    """What is said when a connection begins. Raises `InvalidRequest` for values out of range."""
    try:
        return SessionConfig.model_validate(given(fields))
    except ValidationError as error:
        message, param = explain_validation(error)
        raise InvalidRequest(message, param=param) from error


def time_text(at: float | datetime | None) -> str | None:
    """A wall time, or seconds of stream time, as a call has it."""
    return at.isoformat() if isinstance(at, datetime) else None if at is None else repr(float(at))


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}
