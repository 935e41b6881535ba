"""What the scripted engine writes where more is asked of it than text: JSON, and calls."""

import json
from collections.abc import Mapping
from typing import Any

from onlooker.engine.functions import FunctionCall, Toolbox

_SCALARS: Mapping[str, Any] = {"integer": 0, "number": 0.5, "boolean": True, "null": None}


def held_to(reply: str, schema: Mapping[str, Any]) -> str:
    """`reply` where it is an object, else an instance of `schema` whose texts are the reply."""
    try:
        if isinstance(json.loads(reply), dict):
            return reply
    except ValueError:
        pass
    return json.dumps(instance_of(schema, text=reply))


def instance_of(schema: Mapping[str, Any], *, text: str) -> Any:
    """A value that fits a simple schema: the first choice everywhere, `text` for texts."""
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if "enum" in schema:
        return schema["enum"][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return instance_of(schema[word][0], text=text)
    kind = schema.get("type", "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        parts = schema.get("properties", {})
        return {name: instance_of(part, text=text) for name, part in parts.items()}
    if kind == "array":
        item = schema.get("items")
        count = max(1, schema.get("minItems", 1))
        return [instance_of(item, text=text)] * count if isinstance(item, Mapping) else []
    return _SCALARS.get(kind, text)


def calls_for(question: str, tools: Toolbox) -> tuple[FunctionCall, ...]:
    """Calls of the functions that a question names; where one must be called, the first."""
    named = [f for f in tools.functions if f.name in question]
    if tools.is_forced:
        named = (named or list(tools.functions))[:1]
    if tools.at_most_one:
        named = named[:1]
    return tuple(
        FunctionCall(f.name, json.dumps(instance_of(f.parameters, text=question))) for f in named
    )
