import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.clock import ManualClock
from onlooker.core.errors import Forbidden, TokenExpired, Unauthorized
from onlooker.core.scopes import ALL_SCOPES, Scope
from onlooker.server.auth import (
    TOKEN_PREFIX,
    Authenticator,
    OriginGuard,
    bearer,
    from_subprotocols,
)
from onlooker.server.rights import Grant

KEYS = ("first-key-1", "second-key-2")


def make_auth(*keys: str, clock: ManualClock | None = None) -> Authenticator:
    return Authenticator(keys or KEYS, clock or ManualClock())


@pytest.mark.parametrize("key", KEYS)
def test_each_key_opens(key: str) -> None:
    assert make_auth().check(key) == Grant(scopes=ALL_SCOPES, expires_at=None)


@pytest.mark.parametrize(
    "shown", [None, "", "first-key", "first-key-12", "FIRST-KEY-1", "ek_", "ä"]
)
def test_anything_else_does_not(shown: str | None) -> None:
    with pytest.raises(Unauthorized, match=r"Authorization|token"):
        make_auth().check(shown)


def test_without_keys_everyone_may_in() -> None:
    auth = Authenticator((), ManualClock())
    assert not auth.required
    assert auth.check(None) == auth.check("whatever")


def test_a_key_names_its_tenant_and_so_do_the_tokens_that_it_makes() -> None:
    auth = make_auth("acme:first-key-1", "second-key-2", "b:third-key-3")
    tenants = {"first-key-1": "acme", "second-key-2": "default", "third-key-3": "b"}
    for key, tenant in tenants.items():
        assert auth.check(key).tenant == tenant
        token, _ = auth.mint(60, credential=key)
        assert auth.check(token).tenant == tenant
    with pytest.raises(Unauthorized):
        auth.check("acme:first-key-1")  # the tenant is not part of what is shown


def test_a_token_holds_until_it_expires() -> None:
    clock = ManualClock()
    auth = make_auth(clock=clock)
    token, grant = auth.mint(60, credential=KEYS[0])
    assert grant.expires_at == int(clock.wall_s()) + 60
    assert auth.check(token) == grant
    clock.advance(59)
    assert auth.check(token) == grant
    clock.advance(1)
    with pytest.raises(TokenExpired):
        auth.check(token)


def test_a_token_goes_with_the_key_that_made_it() -> None:
    clock = ManualClock()
    token, _ = make_auth(clock=clock).mint(60, credential=KEYS[1])
    assert make_auth(KEYS[1], clock=clock).check(token).expires_at is not None
    with pytest.raises(Unauthorized, match="not made by this server"):
        make_auth(KEYS[0], clock=clock).check(token)


def test_a_token_cannot_be_stretched() -> None:
    auth = make_auth()
    token, _ = auth.mint(60, credential=KEYS[0])
    claims, signature = token.removeprefix(TOKEN_PREFIX).split(".")
    longer = json.dumps({"exp": 10**12, "jti": "x", "scopes": ["watch"]}).encode()
    forged = base64.urlsafe_b64encode(longer).rstrip(b"=").decode()
    with pytest.raises(Unauthorized):
        auth.check(f"{TOKEN_PREFIX}{forged}.{signature}")
    assert claims != forged


def test_a_token_reads_and_asks_unless_other_scopes_are_asked_for() -> None:
    auth = make_auth()
    token, _ = auth.mint(60, credential=KEYS[0])
    assert auth.check(token).scopes == {Scope.READ, Scope.ASK}
    token, _ = auth.mint(60, credential=KEYS[0], scopes=frozenset({Scope.PUSH}))
    assert auth.check(token).scopes == {Scope.PUSH}


def test_a_key_is_good_for_the_scopes_that_it_names() -> None:
    auth = make_auth("acme+read+ask:first-key-1", "+push:second-key-2")
    assert auth.check("first-key-1") == Grant("acme", frozenset({Scope.READ, Scope.ASK}))
    assert auth.check("second-key-2") == Grant(scopes=frozenset({Scope.PUSH}))


def test_a_token_has_nothing_that_its_key_does_not_have() -> None:
    auth = make_auth("+read+admin:first-key-1")
    wanted = frozenset({Scope.READ, Scope.ASK, Scope.PUSH})
    with pytest.raises(Forbidden, match="no ask, push"):
        auth.mint(60, credential="first-key-1", scopes=wanted)


def test_a_token_that_makes_tokens_cannot_be_had() -> None:
    auth = make_auth()
    with pytest.raises(Forbidden, match="cannot have admin"):
        auth.mint(60, credential=KEYS[0], scopes=frozenset({Scope.READ, Scope.ADMIN}))
    token, _ = auth.mint(60, credential=KEYS[0])
    with pytest.raises(Unauthorized):
        auth.mint(60, credential=token)


def test_a_token_loses_what_its_key_loses() -> None:
    clock = ManualClock()
    token, _ = make_auth(clock=clock).mint(60, credential=KEYS[0])
    lesser = make_auth(f"+read+push:{KEYS[0]}", clock=clock)
    assert lesser.check(token).scopes == {Scope.READ}


@given(st.text(max_size=60))
def test_any_text_as_a_credential_is_refused_and_never_crashes(text: str) -> None:
    auth = make_auth()
    for shown in (text, TOKEN_PREFIX + text, f"{TOKEN_PREFIX}{text}.{text}"):
        with pytest.raises(Unauthorized):
            auth.check(shown)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Bearer ", None),
        ("Basic abc", None),
        ("abc", None),
        (None, None),
    ],
)
def test_the_authorization_header_is_read(header: str | None, found: str | None) -> None:
    assert bearer(header) == found


def test_a_browser_s_key_is_found_among_its_subprotocols() -> None:
    assert from_subprotocols(["realtime", "openai-insecure-api-key.abc"]) == "abc"
    assert from_subprotocols(["onlooker-token.ek_x"]) == "ek_x"
    assert from_subprotocols(["realtime"]) is None


def make_guard(*, keyless: bool = True, host: str = "127.0.0.1") -> OriginGuard:
    return OriginGuard(allowed_origins=["https://app.example.org/"], host=host, keyless=keyless)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "127.0.0.1:8000"),
        (None, "localhost"),
        (None, "[::1]:8000"),
        (None, None),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("https://app.example.org", "127.0.0.1:8000"),
    ],
)
def test_programs_the_own_page_and_listed_pages_may_in(
    origin: str | None, host: str | None
) -> None:
    make_guard().check(origin=origin, host=host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example.org", "127.0.0.1:8000"),
        ("null", "127.0.0.1:8000"),
        ("http://127.0.0.1:9000", "127.0.0.1:8000"),
        ("http://evil.example.org", "evil.example.org"),
        (None, "evil.example.org"),
        (None, "[broken"),
    ],
)
def test_foreign_pages_and_names_may_not(origin: str | None, host: str | None) -> None:
    with pytest.raises(Forbidden):
        make_guard().check(origin=origin, host=host)
    make_guard(keyless=False).check(origin=origin, host=host)  # there, the key decides
