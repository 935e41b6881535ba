"""User names and passwords for HTTP: Digest where a server asks for it, else Basic.

A login is kept by host and port, and goes nowhere else, also where a server redirects. Nothing is
sent before the server has asked, so that a password never travels in plain text to one that takes
a digest of it.
"""

import base64
from dataclasses import dataclass, field

import httpx

from onlooker.core.address import Target


@dataclass(slots=True)
class _Login:
    username: str
    password: str
    digest: httpx.DigestAuth = field(init=False)
    """Keeps the last challenge and counts its uses."""
    kind: str = ""
    """``digest``, ``basic``, or nothing before the server asked."""

    def __post_init__(self) -> None:
        self.digest = httpx.DigestAuth(self.username, self.password)


class HttpLogins:
    """The logins of one source's client. Used by one thread."""

    def __init__(self) -> None:
        self._logins: dict[str, _Login] = {}

    def note(self, target: Target) -> None:
        """Keep the login that stands in an address, if any."""
        if target.username is not None:
            known = self._logins.get(target.netloc)
            login = (target.username, target.password or "")
            if known is None or (known.username, known.password) != login:
                self._logins[target.netloc] = _Login(*login)

    def has(self, target: Target) -> bool:
        """Whether there is a login for this host and port."""
        return target.netloc in self._logins

    def header(self, target: Target, challenges: list[str] | None = None) -> str | None:
        """The ``Authorization`` header for a GET; None where there is none to send.

        `challenges`: what the server asked for, in its ``WWW-Authenticate`` headers, when it
        refused the request before. The same header as before is never the answer to them.
        """
        login = self._logins.get(target.netloc)
        if login is None:
            return None
        if challenges is not None:
            return self._answer(login, target, challenges)
        if login.kind == "digest":
            return _digest(login, target, None)
        return _basic(login) if login.kind == "basic" else None

    def _answer(self, login: _Login, target: Target, challenges: list[str]) -> str | None:
        for challenge in challenges:
            if challenge.lower().startswith("digest"):
                login.kind = "digest"
                return _digest(login, target, challenge)
        if login.kind == "basic":
            return None
        login.kind = "basic"  # also for cameras that do not say what they want
        return _basic(login)


def _basic(login: _Login) -> str:
    pair = f"{login.username}:{login.password}".encode()
    return "Basic " + base64.b64encode(pair).decode()


def _digest(login: _Login, target: Target, challenge: str | None) -> str | None:
    request = httpx.Request("GET", digest_url(target))
    flow = login.digest.auth_flow(request)
    try:
        request = next(flow)
        if challenge is not None:
            headers = {"WWW-Authenticate": challenge}
            request = flow.send(httpx.Response(401, headers=headers, request=request))
    except (StopIteration, httpx.ProtocolError, NotImplementedError, KeyError):
        return None  # a challenge that nobody can answer
    finally:
        flow.close()
    header: str | None = request.headers.get("Authorization")
    return header


def digest_url(target: Target) -> httpx.URL:
    """The address as it goes into a digest, whose path must be the one that is asked for."""
    path = target.path.encode("ascii")
    return httpx.URL(scheme=target.scheme, host=target.host, port=target.port, raw_path=path)
