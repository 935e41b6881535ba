from typing import Any

import pytest
from pydantic import ValidationError

from onlooker.core.errors import ConfigError
from onlooker.core.guarantee import Guarantee
from onlooker.core.settings import load_settings
from onlooker.server.config import ServerSection, Settings, check_exposure, is_loopback


def load(environ: dict[str, str] | None = None, **overrides: Any) -> Settings:
    values = {name.replace("__", "."): value for name, value in overrides.items()}
    return load_settings(Settings, environ=environ or {}, overrides=values)


def test_the_defaults_are_valid_and_for_this_machine_only() -> None:
    settings = load()
    assert settings.server.is_loopback
    check_exposure(settings.server)


def test_keys_come_as_one_text_and_are_masked() -> None:
    settings = load({"ONLOOKER_SERVER__API_KEYS": "first-key-1, second-key-2"})
    assert [k.get_secret_value() for k in settings.server.api_keys] == [
        "first-key-1",
        "second-key-2",
    ]
    assert "first-key-1" not in str(settings.model_dump(mode="json"))
    assert "first-key-1" not in repr(settings)


@pytest.mark.parametrize("key", ["short", "with space in it", "comma;semicolon", "x" * 300])
def test_a_key_that_cannot_travel_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(ConfigError, match="API key") as refused:
        load(server__api_keys=(key,))
    assert key not in str(refused.value)


@pytest.mark.parametrize("key", ["acme+nose:the-secret-1", "acme+:the-secret-1"])
def test_a_scope_that_there_is_not_is_refused_without_repeating_the_key(key: str) -> None:
    with pytest.raises(ConfigError, match="read, ask, push, watch, admin") as refused:
        load(server__api_keys=(key,))
    assert "the-secret-1" not in str(refused.value)


def test_a_frame_must_fit_into_a_message() -> None:
    with pytest.raises(ConfigError, match="max_message_bytes"):
        load(server__max_message_bytes=1 << 20, streams__max_frame_bytes=2 << 20)


@pytest.mark.parametrize(
    ("larger", "limit"),
    [
        ({"server__max_text_chars": 20_000}, "max_json_bytes"),
        ({"watches__max_schema_bytes": 1 << 18}, "max_json_bytes"),
        ({"watches__max_condition_chars": 10_000}, "max_json_bytes"),
        ({"server__max_text_chars": 60_000, "server__max_json_bytes": 1 << 20}, "max_json_marks"),
        ({"server__max_tool_chars": 40_000}, "max_json_marks"),
    ],
)
def test_what_may_be_said_must_fit_into_json(larger: dict[str, Any], limit: str) -> None:
    with pytest.raises(ConfigError, match=rf"server\.{limit} .* at least \d+") as refused:
        load(**larger)
    needed = int(refused.value.message.rpartition(" ")[2])
    others: dict[str, Any] = {"server__max_json_bytes": 1 << 21, "server__max_json_marks": 1 << 21}
    load(**{**larger, **others, f"server__{limit}": needed})


def test_the_default_answer_is_no_longer_than_the_longest() -> None:
    with pytest.raises(ConfigError, match="default_output_tokens"):
        load(server__max_output_tokens=10)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_loopback_is_known(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_beyond_loopback_keys_are_needed() -> None:
    with pytest.raises(ConfigError, match="ONLOOKER_SERVER__API_KEYS"):
        check_exposure(ServerSection(host="0.0.0.0"))
    check_exposure(load(server__host="0.0.0.0", server__api_keys="a-long-enough-key").server)


# ---- where the journal is


def placed(**values: Any) -> str | None:
    """The store of the journal with these settings."""
    journal = Settings.model_validate(values).store.journal
    return None if journal is None else journal.store


REDIS = {"redis": {"url": "redis://localhost"}}


def test_the_journal_is_in_redis_in_a_fleet_and_in_a_file_where_a_folder_is_given() -> None:
    assert placed(cache_store=REDIS, fleet={"name": "a"}) == "redis"
    assert placed(cache_store={**REDIS, "journal": {"path": "/j"}}, fleet={"name": "a"}) == "redis"
    assert placed(cache_store={**REDIS, "journal": {"path": "/j"}}) == "file"
    assert placed(cache_store=REDIS) is None
    assert placed() is None


def test_the_journal_is_where_it_is_said_to_be() -> None:
    own = {"path": "/j", "store": "file"}
    assert placed(cache_store={**REDIS, "journal": own}, fleet={"name": "a"}) == "file"
    assert placed(cache_store={**REDIS, "journal": {"store": "redis"}}) == "redis"
    assert placed(cache_store={**REDIS, "journal": {"store": "none"}}, fleet={"name": "a"}) is None


@pytest.mark.parametrize(
    ("cache_store", "advice"),
    [
        ({**REDIS, "journal": {}}, "needs a folder: set cache_store.journal.path"),
        ({**REDIS, "journal": {"store": "file"}}, "needs a folder: set cache_store.journal.path"),
        ({"disk": {"path": "/d"}, "journal": {"store": "redis"}}, "set cache_store.redis.url"),
    ],
)
def test_a_journal_without_a_place_is_refused(cache_store: dict[str, Any], advice: str) -> None:
    with pytest.raises(ValidationError, match=advice):
        Settings.model_validate({"cache_store": cache_store})


def test_what_a_segment_survives_hangs_on_where_the_journal_is() -> None:
    alone = Settings.model_validate({"cache_store": {**REDIS, "journal": {"path": "/j"}}})
    member = Settings.model_validate({"cache_store": REDIS, "fleet": {"name": "a"}})
    assert alone.store.survives is Guarantee.PROCESS
    assert member.store.survives is Guarantee.REPLICATED
    assert member.cache_store.survives is Guarantee.PROCESS
