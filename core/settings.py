"""How settings are declared and read.

Each package declares its own frozen `Section`; the server composes them into one tree and loads it
once. Components receive their section, never the tree and never the environment.
Order: defaults < TOML file < environment (``ONLOOKER_SECTION__FIELD``) < command line.
What a text says is read by one rule, wherever it comes from: a list is ``a,b,c`` or a JSON list, a
section is a JSON object, and ``null`` is nothing where a setting may be nothing.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from onlooker.core.errors import ConfigError
from onlooker.core.log import ENV_LOG_FORM

ENV_PREFIX = "ONLOOKER_"
ENV_CONFIG_FILE = "ONLOOKER_CONFIG"
NOT_SETTINGS = frozenset({ENV_CONFIG_FILE, ENV_LOG_FORM, "ONLOOKER_API_KEY", "ONLOOKER_URL"})
"""Variables with our prefix that are no settings: they tell which file to read, to processes of the
server how to write the log, and to the clients the key and address of a server."""


class Section(BaseModel):
    """One package's settings: frozen, no unknown fields, each field with a docstring and bounds."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _read_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Read a text by the rule of this module, as the field's type asks for it."""
        if not isinstance(value, str) or info.field_name is None:
            return value
        annotation = cls.model_fields[info.field_name].annotation
        kinds = get_args(annotation) if type(None) in get_args(annotation) else (annotation,)
        if value.strip() == "null" and type(None) in kinds and str not in kinds:
            return None
        if any(get_origin(kind) is tuple for kind in kinds):
            return _list_of(value)
        if any(isinstance(kind, type) and issubclass(kind, Section) for kind in kinds):
            return _object_of(value)
        return value


SettingsT = TypeVar("SettingsT", bound=Section)


def load_settings(
    tree: type[SettingsT],
    *,
    environ: Mapping[str, str] | None = None,
    config_file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> SettingsT:
    """Read a settings tree.

    `overrides` holds dotted names from the command line (``{"server.port": 8000}``).

    Raises:
        ConfigError: a file that cannot be read, an unknown name, or a value out of bounds; the
            message names the setting, what was expected and where it came from.
    """
    environ = os.environ if environ is None else environ
    if config_file is None and environ.get(ENV_CONFIG_FILE):
        config_file = Path(environ[ENV_CONFIG_FILE])
    values: dict[str, Any] = _read_file(config_file) if config_file else {}
    for name, text in environ.items():
        if name.startswith(ENV_PREFIX) and name not in NOT_SETTINGS:
            _set(values, name.removeprefix(ENV_PREFIX).lower().split("__"), text)
    for dotted, value in (overrides or {}).items():
        if value is not None:
            _set(values, dotted.split("."), value)
    try:
        return tree.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, tree)) from error


def setting_names(tree: type[Section], *, ending: str = "") -> list[str]:
    """Dotted names of all settings and sections of a tree whose last parts are `ending`; none where
    `ending` is empty."""
    found: list[str] = []
    pending: list[tuple[str, type[Section]]] = [("", tree)]
    while pending and ending:
        prefix, section = pending.pop(0)
        for name, field in section.model_fields.items():
            dotted = f"{prefix}{name}"
            if dotted == ending or dotted.endswith(f".{ending}"):
                found.append(dotted)
            for kind in (field.annotation, *get_args(field.annotation)):
                if isinstance(kind, type) and issubclass(kind, Section):
                    pending.append((f"{dotted}.", kind))
    return found


def with_secrets(section: Section) -> dict[str, Any]:
    """A section as plain data with readable secrets, only for handing it to a process of ours."""

    def plain(value: Any) -> Any:
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        if isinstance(value, BaseModel):
            return {name: plain(getattr(value, name)) for name in type(value).model_fields}
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    found: dict[str, Any] = plain(section)
    return found


def _list_of(text: str) -> list[Any]:
    """The items of ``a,b,c`` or of a JSON list; the message does not repeat them, for they may be
    secrets."""
    if not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        items: list[Any] = json.loads(text)
    except ValueError:
        raise ValueError('a list is given as a,b,c or as JSON, ["a", "b", "c"]') from None
    return items


def _object_of(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError("this is a section: name one of its settings, or give it as a JSON object")
    return content


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the settings file {path.name}: {error}") from error


def _set(values: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        nested = values.setdefault(name, {})
        if not isinstance(nested, dict):
            raise ConfigError(f"setting '{'.'.join(path)}': '{name}' is a value, not a section")
        values = nested
    values[path[-1]] = value


def _explain(error: ValidationError, tree: type[Section]) -> str:
    lines = []
    for problem in error.errors():
        dotted = ".".join(str(part) for part in problem["loc"]) or "settings"
        if problem["type"] == "extra_forbidden":
            dotted = _whole_name(dotted, problem["input"])
            others = setting_names(tree, ending=dotted.partition(".")[2])
            hint = f"do you mean '{others[0]}'?" if others else "see `onlooker config`"
            lines.append(f"there is no setting '{dotted}' ({_variable(dotted)}); {hint}")
        else:
            text = problem["msg"].removeprefix("Value error, ")
            lines.append(f"setting '{dotted}' ({_variable(dotted)}): {text}")
    return "\n".join(lines)


def _variable(dotted: str) -> str:
    """The environment variable of a setting."""
    return ENV_PREFIX + dotted.replace(".", "__").upper()


def _whole_name(dotted: str, value: Any) -> str:
    """The name that somebody gave who got a part of it wrong: `dotted` is known up to that part,
    and `value` holds what was to be set below it."""
    while isinstance(value, dict) and len(value) == 1:
        name, value = next(iter(value.items()))
        dotted = f"{dotted}.{name}"
    return dotted
