"""JSON Schema for the data of alerts: what a viewer may ask for, and whether a reply fits it.

The library ``jsonschema`` does both. It takes time, and may follow references and run regular
expressions, so that a schema from a stranger is bounded first. `SCHEMA_OF_SCHEMAS` lists the
keywords that are understood, and any other keyword is refused rather than ignored:

- ``$ref`` and its relatives, because a reference may point to another server, to itself, or to a
  chain of references that doubles at every link;
- ``pattern``, ``patternProperties`` and ``format``, because a regular expression such as
  ``(a+)+$`` can take years, and Python cannot break it off;
- ``unevaluatedItems`` and ``unevaluatedProperties``, because the library checks what is below them
  once more at every level, which doubles the work with each.

What is left is a tree whose every part is applied at most once to every part of a value.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from onlooker.core.errors import InvalidRequest, TooLarge

MAX_NESTING = 20
"""Objects and lists inside each other, in a schema and in a reply. Both are walked recursively, and
no alert needs more."""

MAX_PARTS = 200
"""Objects and lists in one schema. Checking a schema takes the event loop 0.05 ms for each."""

MAX_MESSAGE_CHARS = 200
"""The library quotes the value that it objects to, however long that is."""

_TYPES = ["object", "array", "string", "boolean", "null", "integer", "number"]
_PART = {"$ref": "#"}
_PARTS = {"type": "array", "minItems": 1, "items": _PART}
_NUMBER = {"type": "number"}
_COUNT = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}

_ONE_PART = ("items", "additionalProperties")
_SEVERAL_PARTS = ("prefixItems", "anyOf", "oneOf", "allOf")

SCHEMA_OF_SCHEMAS: Mapping[str, Any] = {
    "type": ["object", "boolean"],
    "properties": {
        "type": {
            "if": {"type": "array"},
            "then": {"minItems": 1, "items": {"enum": _TYPES}},
            "else": {"enum": _TYPES},
        },
        "enum": {"type": "array", "minItems": 1},
        "const": True,
        "properties": {"type": "object", "additionalProperties": _PART},
        "required": {"type": "array", "items": _TEXT},
        **dict.fromkeys(_ONE_PART, _PART),
        **dict.fromkeys(_SEVERAL_PARTS, _PARTS),
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _NUMBER),
        "multipleOf": {"type": "number", "exclusiveMinimum": 0},
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _COUNT),
        **dict.fromkeys(("minProperties", "maxProperties"), _COUNT),
        "uniqueItems": {"type": "boolean"},
        **dict.fromkeys(("title", "description"), _TEXT),
        "default": True,
        "examples": {"type": "array"},
    },
    "additionalProperties": False,
}
"""The part of JSON Schema 2020-12 that a watch may use, as a schema itself."""

_SCHEMAS = Draft202012Validator(SCHEMA_OF_SCHEMAS)


def check_schema(schema: Any, *, max_bytes: int, param: str) -> None:
    """Refuse what is no schema for the data of alerts.

    Raises:
        InvalidRequest: it is no schema that is understood; the message says where and why.
        TooLarge: it has more than `max_bytes` bytes as JSON, or too many parts.
    """
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        raise InvalidRequest(
            'a schema for alerts is a JSON object with "type": "object" and "properties"',
            param=param,
        )
    if is_nested_too_deeply(schema):
        raise _no_schema(f"{param}: it is nested more than {MAX_NESTING} deep", param)
    try:
        num_bytes = len(json.dumps(schema, allow_nan=False, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise _no_schema(f"{param}: it holds half of a surrogate pair", param) from None
    except ValueError:
        raise _no_schema(f"{param}: JSON knows no infinite numbers", param) from None
    if num_bytes > max_bytes:
        raise TooLarge(
            f"the schema has {num_bytes} bytes; {max_bytes} are allowed (setting "
            "watches.max_schema_bytes)",
            param=param,
        )
    num_parts = sum(len(level) for level in _levels(schema))
    if num_parts > MAX_PARTS:
        raise TooLarge(
            f"the schema has {num_parts} objects and lists; {MAX_PARTS} are allowed: say it more "
            "simply",
            param=param,
        )
    error = next(_SCHEMAS.iter_errors(_without_dialect(schema)), None)
    if error is not None:
        raise _no_schema(f"{_place(param, error)}: {_objection(error)}", param)


def misfit(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Why `value`, read from JSON, does not fit a checked schema; None when it does.

    The work grows with the parts of the schema times those of the value: call it in a thread.
    """
    if is_nested_too_deeply(value):
        return f"the data is nested more than {MAX_NESTING} deep"
    validator = Draft202012Validator(_without_dialect(schema))
    try:
        error = next(validator.iter_errors(value), None)
    except OverflowError:  # `multipleOf` divides by a float
        return "the data holds a number that is too large to compare"
    return None if error is None else f"{_place('data', error)}: {_shortened(error.message)}"


def for_writing(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What a model is held to while it writes: a checked schema without the lengths of strings.

    An engine makes a grammar of it. Twenty strings of at most sixty characters are a small schema
    and took a minute to compile, the same strings without their lengths a few milliseconds. The
    lengths are looked at when the reply is there.
    """
    made = {word: v for word, v in schema.items() if word not in ("minLength", "maxLength")}
    for word, value in made.items():
        if word == "properties":
            made[word] = {name: _for_writing(part) for name, part in value.items()}
        elif word in _ONE_PART:
            made[word] = _for_writing(value)
        elif word in _SEVERAL_PARTS:
            made[word] = [_for_writing(part) for part in value]
    return made


def is_nested_too_deeply(value: Any) -> bool:
    """Whether more than `MAX_NESTING` objects and lists stand inside each other in `value`."""
    return sum(1 for _ in zip(_levels(value), range(MAX_NESTING + 1), strict=False)) > MAX_NESTING


def _levels(value: Any) -> Iterator[list[Any]]:
    """The objects and lists of a JSON value, level by level."""
    level = [value] if isinstance(value, Mapping | list) else []
    while level:
        yield level
        level = [
            inner
            for outer in level
            for inner in _members(outer)
            if isinstance(inner, Mapping | list)
        ]


def _members(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, Mapping) else value


def _for_writing(part: Any) -> Any:
    return for_writing(part) if isinstance(part, Mapping) else part


def _without_dialect(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema may say at its top by which edition it was written. In the keywords that are
    understood the editions agree."""
    return {word: value for word, value in schema.items() if word != "$schema"}


def _no_schema(why: str, param: str) -> InvalidRequest:
    return InvalidRequest(f"this is no JSON schema that is understood: {why}", param=param)


def _place(root: str, error: ValidationError) -> str:
    """Where in a value the library objects: ``data.items[2].count``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
    return _shortened(root + "".join(steps))


def _objection(error: ValidationError) -> str:
    if error.validator == "additionalProperties":
        known = SCHEMA_OF_SCHEMAS["properties"]
        unknown = next(word for word in error.instance if word not in known)
        return f"'{unknown[:40]}' is not among the keywords that are understood"
    return _shortened(error.message)


def _shortened(message: str) -> str:
    """A quoted value may be long, and the reason stands behind it."""
    if len(message) <= MAX_MESSAGE_CHARS:
        return message
    half = MAX_MESSAGE_CHARS // 2
    return f"{message[:half]} ... {message[-half:]}"
