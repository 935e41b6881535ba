"""A model's reply as JSON: how it is asked for, and how it is read."""

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from onlooker.watches.alert import Words
from onlooker.watches.schema import misfit


def asking_for_json(prompt: str, schema: Mapping[str, Any]) -> str:
    """`prompt`, to be answered with an object that fits `schema`."""
    return (
        f"{prompt} Reply with one JSON object that fits this JSON Schema, and with nothing else: "
        f"{json.dumps(schema)}"
    )


def read_reply(text: str, schema: Mapping[str, Any], *, bare: str) -> Words:
    """The JSON object in `text`, or what is wrong with it. `bare`: the alert's text beside the
    data; where it is empty the reply itself is.

    The reply is a model's, so it is bounded by tokens alone: call this in a thread.
    """
    start, end = text.find("{"), text.rfind("}")
    text_of_alert = bare or text
    if not 0 <= start < end:
        return Words(text_of_alert, problem="the reply holds no JSON object")
    try:
        value = json.loads(text[start : end + 1], parse_float=_finite, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return Words(text_of_alert, problem="the reply holds no JSON object")
    why = misfit(value, schema)
    if why is not None:
        return Words(text_of_alert, problem=why)
    return Words(text_of_alert, data=value)


def _finite(text: str) -> float:
    """Python reads 1e999 as infinity, which JSON cannot tell on."""
    value = float(text)
    if not math.isfinite(value):
        _refuse(text)
    return value


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
