"""Who may in: API keys, short-lived tokens for browsers, and which web pages may call.

A key is shown as ``Authorization: Bearer KEY`` or, where a browser cannot set headers, as the
WebSocket subprotocol ``openai-insecure-api-key.KEY``. A token made by `Authenticator.mint` stands
for the key that made it, until it expires, with those of its scopes that were asked for. Tokens are
signed with the key itself, so every replica knows them and they go with the key. What a scope
allows is in `rights.py`.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from onlooker.core.clock import Clock
from onlooker.core.errors import Forbidden, TokenExpired, Unauthorized
from onlooker.core.scopes import DEFAULT_TOKEN_SCOPES, TOKEN_SCOPES, Scope
from onlooker.server.config import is_loopback, split_key
from onlooker.server.rights import Grant, scope_names

TOKEN_PREFIX = "ek_"  # noqa: S105 - a prefix, no secret
KEY_SUBPROTOCOL = "openai-insecure-api-key."
TOKEN_SUBPROTOCOL = "onlooker-token."  # noqa: S105 - a prefix, no secret
REALTIME_SUBPROTOCOL = "realtime"

_HOW = (
    "send 'Authorization: Bearer KEY', or from a browser the subprotocols 'realtime' and "
    "'openai-insecure-api-key.KEY'"
)


class Authenticator:
    """Checks credentials. Without keys, everyone may in.

    Args:
        keys: the keys as in the settings, from ``KEY`` to ``TENANT+SCOPE+SCOPE:KEY``.
    """

    def __init__(self, keys: Sequence[str], clock: Clock) -> None:
        self._keys = [split_key(key) for key in keys]
        self._clock = clock
        # Without keys, tokens are still made for clients that always ask for one.
        self._signers = [key.secret.encode() for key in self._keys] or [secrets.token_bytes(32)]

    @property
    def required(self) -> bool:
        """Whether credentials are asked for."""
        return bool(self._keys)

    def check(self, credential: str | None) -> Grant:
        """Check a key or token.

        Raises:
            Unauthorized: none was shown, or it is wrong or expired.
        """
        if not self._keys:
            return Grant()
        if not credential:
            raise Unauthorized(f"this server wants an API key: {_HOW}")
        if credential.startswith(TOKEN_PREFIX):
            return self._check_token(credential)
        key = self._keys[self._index_of(credential)]
        return Grant(key.tenant, key.scopes)

    def mint(
        self,
        ttl_s: int,
        *,
        credential: str | None,
        scopes: frozenset[Scope] = DEFAULT_TOKEN_SCOPES,
    ) -> tuple[str, Grant]:
        """Return a token that lasts `ttl_s` seconds, and what it grants. `credential` is the key
        that asks for it, `scopes` what the token should be good for.

        Raises:
            Forbidden: the key does not have a scope that the token should have, or no token can.
            Unauthorized: `credential` is no key; tokens make no tokens.
        """
        index, maker = 0, Grant()
        if self._keys:
            index = self._index_of(credential or "")
            maker = Grant(self._keys[index].tenant, self._keys[index].scopes)
        if beyond := scopes - TOKEN_SCOPES:
            raise Forbidden(f"a token cannot have {scope_names(beyond)}", param="scopes")
        if missing := scopes - maker.scopes:
            raise Forbidden(
                f"a token can have scopes of its key only, and this one has no "
                f"{scope_names(missing)}; name others in 'scopes'",
                param="scopes",
            )
        expires_at = int(self._clock.wall_s()) + ttl_s
        claims = json.dumps(
            {"exp": expires_at, "jti": secrets.token_hex(8), "scopes": sorted(scopes)}
        ).encode()
        token = f"{TOKEN_PREFIX}{_b64(claims)}.{_b64(_sign(self._signers[index], claims))}"
        return token, Grant(maker.tenant, scopes, expires_at)

    def _index_of(self, credential: str) -> int:
        """The place of the key that is shown. Raises `Unauthorized` when it is none."""
        shown = _digest(credential)
        matches = [hmac.compare_digest(shown, _digest(key.secret)) for key in self._keys]
        if not any(matches):  # all are compared, whichever matches
            raise Unauthorized(f"the API key is not one of this server's; {_HOW}")
        return matches.index(True)

    def _check_token(self, token: str) -> Grant:
        """What `token` grants.

        Raises:
            Unauthorized: the token is malformed, not of this server, or expired.
        """
        try:
            claims_text, signature_text = token.removeprefix(TOKEN_PREFIX).split(".")
            claims, signature = _unb64(claims_text), _unb64(signature_text)
        except (ValueError, binascii.Error):
            raise Unauthorized("the token is malformed; make a new one") from None
        good = [hmac.compare_digest(_sign(signer, claims), signature) for signer in self._signers]
        if not any(good):
            raise Unauthorized("the token was not made by this server; make a new one")
        made = json.loads(claims)
        if made["exp"] <= self._clock.wall_s():
            raise TokenExpired("the token has expired; make a new one")
        key = self._keys[good.index(True)]
        # A token of an earlier version names no scopes; one whose key has lost some loses them too.
        named = made.get("scopes", DEFAULT_TOKEN_SCOPES)
        scopes = frozenset(scope for scope in Scope if scope in named)
        return Grant(key.tenant, scopes & key.scopes, made["exp"])


def bearer(authorization: str | None) -> str | None:
    """Return the credential of an ``Authorization`` header, if it is one."""
    scheme, _, credential = (authorization or "").partition(" ")
    return credential.strip() or None if scheme.lower() == "bearer" else None


def from_subprotocols(subprotocols: Iterable[str]) -> str | None:
    """Return the credential that a browser put among the subprotocols."""
    for subprotocol in subprotocols:
        for prefix in (KEY_SUBPROTOCOL, TOKEN_SUBPROTOCOL):
            if subprotocol.startswith(prefix):
                return subprotocol.removeprefix(prefix)
    return None


class OriginGuard:
    """Keeps foreign web pages from using a server that asks for no key.

    A browser lets any page open a WebSocket to ``ws://127.0.0.1``, and names the page in `Origin`.
    Where no key is asked for, a page may in when it came from this very server or is in the
    operator's list; and the `Host` must be this machine's, for a foreign name that resolves to it
    (DNS rebinding) would make the page look like ours. Where keys are asked for, the key decides.
    """

    def __init__(self, *, allowed_origins: Sequence[str], host: str, keyless: bool) -> None:
        self._allowed = {origin.rstrip("/").lower() for origin in allowed_origins}
        self._host = host.lower()
        self._keyless = keyless

    def check(self, *, origin: str | None, host: str | None) -> None:
        """Let a request pass, or not.

        Raises:
            Forbidden: names the setting that would allow it.
        """
        if not self._keyless:
            return
        if host is not None and not self._is_own(host):
            raise Forbidden(
                "without API keys this server answers only to its own name, and it was called by "
                "another. Use http://127.0.0.1, or set API keys",
                param="host",
            )
        if origin is None or origin.lower() in self._allowed:
            return
        if host is not None and urlsplit(origin).netloc.lower() == host.lower():
            return
        raise Forbidden(
            "this web page may not use the server; add its origin to server.allowed_origins",
            param="origin",
        )

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return is_loopback(name) or name == self._host


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode()).digest()


def _sign(key: bytes, claims: bytes) -> bytes:
    return hmac.digest(hashlib.sha256(b"onlooker client secret" + key).digest(), claims, "sha256")


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
