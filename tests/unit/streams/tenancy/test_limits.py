"""Settings of tenants."""

import pytest

from onlooker.core.errors import ConfigError
from onlooker.core.settings import load_settings
from onlooker.server.config import Settings
from onlooker.streams.tenancy.limits import Limit, TenantLimits, TenantsSection


def test_what_a_tenant_does_not_name_is_as_for_all() -> None:
    section = TenantsSection.model_validate(
        {
            "limits": {"max_streams": 3, "max_watches": 5},
            "named": {"acme": {"max_streams": 7}, "lab": {"max_watches": None}},
        }
    )
    assert section.of("acme") == TenantLimits(max_streams=7, max_watches=5)
    assert section.of("lab") == TenantLimits(max_streams=3)
    assert section.of("other") == section.limits


def test_every_limit_has_its_setting() -> None:
    assert {limit.setting for limit in Limit} == set(TenantLimits.model_fields)


@pytest.mark.parametrize(
    "environ",
    [
        {"ONLOOKER_TENANTS__NAMED": '{"acme": {"max_fps": 30}}'},
        {"ONLOOKER_TENANTS__NAMED__ACME__MAX_FPS": "30"},
    ],
)
def test_limits_of_a_tenant_are_read_from_the_environment(environ: dict[str, str]) -> None:
    settings = load_settings(Settings, environ=environ)
    assert settings.tenants.of("acme").max_fps == 30


@pytest.mark.parametrize("text", ["acme", '{"a/b": {}}', '{"acme": {"max_frogs": 1}}', "[1]"])
def test_limits_that_cannot_be_are_refused_at_the_start(text: str) -> None:
    with pytest.raises(ConfigError, match=r"tenants\.named"):
        load_settings(Settings, environ={"ONLOOKER_TENANTS__NAMED": text})
