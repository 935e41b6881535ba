"""Every setting that is a list, or a section that may be left out, read from text."""

import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pytest
from pydantic.fields import FieldInfo

from onlooker.core.errors import ConfigError
from onlooker.core.settings import Section, load_settings
from onlooker.server.config import Settings

ITEMS: dict[str, list[Any]] = {
    "server.api_keys": ["first-key-1", "acme+read:second-key-2"],
    "streams.sources.schemes": ["rtsp", "https"],
    "streams.sources.listen_on": ["192.0.2.7", "239.0.0.0/8"],
    "engine.memory.ranking.voting_layers": [1, 3],
    "streams.privacy.masks": [
        {"polygon": [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0]], "effect": "black"},
        {"polygon": [[0.5, 0.5], [1.0, 0.5], [1.0, 1.0]], "effect": "blur"},
    ],
    "traces.headers": ["Authorization: Bearer secret", "X-Scope-OrgID: 7"],
    "streams.webrtc.addresses": ["10.0.0.7", "fd00::7"],
    "streams.webrtc.announced_addresses": ["192.0.2.1", "192.0.2.2"],
    "streams.webrtc.refused_peers": ["10.0.0.0/8", "fe80::/10"],
}
"""Items for the lists that do not take any words."""

WORDS = ["one", "two"]

SECRET = ("server.api_keys", "traces.headers", "watches.push.urls")

NEVER_EMPTY = {"engine.memory.ranking.voting_layers"}
"""Lists that hold something or are nothing."""


def fields(tree: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every field of the tree with its dotted name, sections included."""
    for name, field in tree.model_fields.items():
        yield f"{prefix}{name}", field
        for kind in sections_of(field):
            yield from fields(kind, f"{prefix}{name}.")


def sections_of(field: FieldInfo) -> list[type[Section]]:
    kinds = (field.annotation, *get_args(field.annotation))
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]


def is_list(field: FieldInfo) -> bool:
    kinds = (field.annotation, *get_args(field.annotation))
    return any(get_origin(kind) in (tuple, list, set, frozenset) for kind in kinds)


LISTS = sorted({name for name, field in fields(Settings) if is_list(field)})
OPTIONAL_SECTIONS = sorted(
    {
        name
        for name, field in fields(Settings)
        if sections_of(field) and type(None) in get_args(field.annotation)
    }
)


def value_of(settings: Section, dotted: str) -> Any:
    found: Any = settings.model_dump(mode="json")
    for name in dotted.split("."):
        found = found[name]
    return found


def test_there_are_lists_to_try() -> None:
    assert {"streams.sources.file_dirs", "server.api_keys", *ITEMS} <= set(LISTS)


@pytest.mark.parametrize("place", ["environment", "flag"])
@pytest.mark.parametrize(
    ("name", "form"),
    [
        (name, form)
        for name in LISTS
        for form in ("commas", "json")
        if form == "json" or not isinstance(ITEMS.get(name, WORDS)[0], dict)
    ],
)
def test_a_list_is_given_as_text_with_commas_or_as_json(name: str, form: str, place: str) -> None:
    items = ITEMS.get(name, WORDS)
    text = json.dumps(items) if form == "json" else ", ".join(str(item) for item in items)
    variable = "ONLOOKER_" + name.replace(".", "__").upper()
    environ = {variable: text} if place == "environment" else {}
    overrides = {name: text} if place == "flag" else {}
    settings = load_settings(Settings, environ=environ, overrides=overrides)
    expected = ["**********"] * len(items) if name in SECRET else items
    assert value_of(settings, name) == expected


@pytest.mark.parametrize("name", sorted({*LISTS} - NEVER_EMPTY))
def test_an_empty_text_is_an_empty_list(name: str) -> None:
    settings = load_settings(Settings, environ={}, overrides={name: ""})
    assert value_of(settings, name) == []


@pytest.mark.parametrize("name", LISTS)
def test_a_broken_json_list_is_refused_with_the_forms_that_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match="a list is given as a,b,c or as JSON") as refused:
        load_settings(Settings, environ={}, overrides={name: '["hunter2'})
    assert name in refused.value.message
    assert "hunter2" not in refused.value.message


@pytest.mark.parametrize("name", OPTIONAL_SECTIONS)
def test_a_section_that_may_be_left_out_is_left_out_by_null(name: str) -> None:
    settings = load_settings(Settings, environ={}, overrides={name: "null"})
    assert value_of(settings, name) is None


def test_a_section_is_given_as_json_or_refused_with_how() -> None:
    text = '{"path": "/var/kv"}'
    settings = load_settings(Settings, environ={}, overrides={"cache_store.disk": text})
    assert value_of(settings, "cache_store.disk.path") == "/var/kv"
    with pytest.raises(ConfigError, match="name one of its settings"):
        load_settings(Settings, environ={}, overrides={"cache_store.disk": "/var/kv"})


def test_a_name_in_the_wrong_section_is_answered_with_the_right_one() -> None:
    with pytest.raises(ConfigError, match=r"do you mean 'streams\.sources\.file_dirs'"):
        load_settings(Settings, environ={}, overrides={"engine.sources.file_dirs": "/x"})
