"""A small part of JSON Schema: enough to say what an alert's data looks like, and to check it.

Keywords: type, properties, required, additionalProperties (true or false), items, enum, const,
minimum, maximum, minLength, maxLength, minItems, maxItems; title, description, default, examples
and $schema are let through. Others are refused rather than ignored.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from onlooker.core.errors import InvalidRequest

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,),
    "null": (type(None),), "integer": (int,), "number": (int, float),
}  # fmt: skip
_WORDS = {"title", "description", "default", "examples", "$schema"}
_NUMBERS = {"minimum", "maximum"}
_COUNTS = {"minLength", "maxLength", "minItems", "maxItems"}
_MAX_DEPTH = 8


def check_schema(schema: Any, *, param: str) -> None:
    """Raise `InvalidRequest` for what is no schema; the message says where and why."""
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        raise InvalidRequest(
            'a schema for alerts is a JSON object with "type": "object" and "properties"',
            param=param,
        )
    _check(schema, param, 0)


def _check(schema: Any, where: str, depth: int) -> None:
    def wrong(why: str) -> InvalidRequest:
        return InvalidRequest(f"this is no JSON schema: {where}: {why}", param=where.split(".")[0])

    if not isinstance(schema, Mapping):
        raise wrong("a schema is a JSON object")
    if depth > _MAX_DEPTH:
        raise wrong(f"it is nested more than {_MAX_DEPTH} deep")
    for word, value in schema.items():
        if word == "type":
            names = value if isinstance(value, list) else [value]
            unknown = [n for n in names if not isinstance(n, str) or n not in _TYPES]
            if unknown or not names:
                raise wrong(f"'type' is one of {', '.join(_TYPES)}")
        elif word == "properties":
            if not isinstance(value, Mapping):
                raise wrong("'properties' is an object of schemas")
            for name, part in value.items():
                _check(part, f"{where}.properties.{name}", depth + 1)
        elif word == "items":
            _check(value, f"{where}.items", depth + 1)
        elif word == "required":
            if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                raise wrong("'required' is a list of names")
        elif word == "enum":
            if not isinstance(value, list) or not value:
                raise wrong("'enum' is a list of values")
        elif word == "additionalProperties":
            if not isinstance(value, bool):
                raise wrong("'additionalProperties' is true or false")
        elif word in _NUMBERS:
            if not _is_number(value):
                raise wrong(f"'{word}' is a number")
        elif word in _COUNTS:
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise wrong(f"'{word}' is a count")
        elif word != "const" and word not in _WORDS:
            raise wrong(f"'{word[:40]}' is not among the keywords that are understood")


def misfit(value: Any, schema: Mapping[str, Any], where: str = "data") -> str | None:
    """Why `value` does not fit a checked schema; None when it does."""
    names = schema.get("type", [])
    names = names if isinstance(names, list) else [names]
    if names and not any(_is_a(value, name) for name in names):
        return f"{where} is not of type {' or '.join(names)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{where} is none of the values allowed"
    if "const" in schema and value != schema["const"]:
        return f"{where} is not the value allowed"
    if _is_number(value):
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        return None if low <= value <= high else f"{where} is out of range"
    if isinstance(value, str):
        return _wrong_count(value, schema, "Length", where)
    if isinstance(value, list):
        return _wrong_count(value, schema, "Items", where) or next(
            (
                why
                for index, item in enumerate(value)
                if (why := misfit(item, schema.get("items", {}), f"{where}[{index}]")) is not None
            ),
            None,
        )
    return _object_misfit(value, schema, where) if isinstance(value, dict) else None


def _object_misfit(value: dict[str, Any], schema: Mapping[str, Any], where: str) -> str | None:
    known = schema.get("properties", {})
    for name in schema.get("required", []):
        if name not in value:
            return f"{where}.{name} is missing"
    for name, part in value.items():
        if name not in known:
            if schema.get("additionalProperties") is False:
                return f"{where}.{name} is not in the schema"
        elif (why := misfit(part, known[name], f"{where}.{name}")) is not None:
            return why
    return None


def _wrong_count(
    value: Sequence[Any], schema: Mapping[str, Any], unit: str, where: str
) -> str | None:
    low, high = schema.get(f"min{unit}", 0), schema.get(f"max{unit}", math.inf)
    return None if low <= len(value) <= high else f"{where} is too short or too long"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_a(value: Any, name: str) -> bool:
    if name in ("integer", "number") and isinstance(value, bool):
        return False
    return isinstance(value, _TYPES[name])
