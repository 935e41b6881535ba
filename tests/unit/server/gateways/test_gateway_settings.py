"""What each of several gateways is told, and what is refused before any is started."""

from typing import Any

import pytest
from pydantic import ValidationError

from onlooker.server.config import Settings
from onlooker.server.gateways.gateway_settings import settings_of

REDIS = {"redis": {"url": "redis://localhost"}}


def make(fleet: dict[str, Any] | None = None, **server: Any) -> Settings:
    return Settings.model_validate(
        {"server": {"gateways": 2, **server}, "cache_store": REDIS, "fleet": fleet}
    )


def test_each_gateway_is_a_server_of_a_fleet_with_a_name_and_an_address_of_its_own() -> None:
    told = settings_of(make(), 1, port=8000, own_url="http://127.0.0.1:8002")
    assert told.fleet is not None
    assert told.fleet.name is not None
    assert told.fleet.name.endswith(":8000-1")
    assert told.fleet.url == "http://127.0.0.1:8002"


def test_other_machines_reach_a_gateway_at_the_host_that_they_know() -> None:
    fleet = {"name": "east", "url": "http://10.0.0.7:8000"}
    told = settings_of(make(fleet), 0, port=8000, own_url="http://127.0.0.1:8001")
    assert told.fleet is not None
    assert told.fleet.name == "east-0"
    assert told.fleet.url == "http://10.0.0.7:8001"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"server": {"gateways": 2}}, "2 gateways tell each other through Redis"),
        (
            {"server": {"gateways": 2}, "cache_store": {**REDIS, "disk": {"path": "/x"}}},
            "cache_store.disk to null",
        ),
        (
            {"server": {"gateways": 2, "tls": {"self_signed": True}}, "cache_store": REDIS},
            "no self-signed certificate",
        ),
        (
            {
                "server": {"gateways": 2, "tls": {"cert": "c.pem", "key": "k.pem"}},
                "cache_store": REDIS,
            },
            "set fleet.url",
        ),
        ({"server": {"gateways": 2, "port": 65534}, "cache_store": REDIS}, "server.gateway_port"),
        (
            {
                "server": {"gateways": 2},
                "cache_store": REDIS,
                "engine": {"decider": {"model": "small"}},
            },
            "a decider of its own",
        ),
    ],
)
def test_what_gateways_cannot_share_is_refused_with_what_to_do(
    settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValidationError, match=why):
        Settings.model_validate(settings)


def test_one_gateway_needs_none_of_it() -> None:
    assert not Settings.model_validate({"server": {"gateways": 1}}).is_fleet
