"""Functions that an answer may call instead of, or before, saying something.

The caller runs them: it is told the calls, and asks again with their results.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from onlooker.core.ids import new_id

ANY_ARGUMENTS: Mapping[str, Any] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Function:
    """A function as the model is told of it."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: ANY_ARGUMENTS)
    """The JSON Schema of its arguments, which are one object."""


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A call that an answer makes."""

    name: str
    arguments: str
    """A JSON object as text, as the model wrote it: it need not fit the function's schema."""
    id: str = field(default_factory=lambda: new_id("call"))


@dataclass(frozen=True, slots=True)
class CallMade:
    """A call that was made for this question before, and what came of it."""

    call: FunctionCall
    result: str


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The functions that an answer may call."""

    functions: tuple[Function, ...] = ()
    choice: Literal["auto", "required"] = "auto"
    """``auto``: the model calls or speaks, as it likes. ``required``: it calls."""
    at_most_one: bool = False
    """Whether more than one call in an answer is unwelcome: what comes after the first is left
    out."""

    def __bool__(self) -> bool:
        return bool(self.functions)

    @property
    def is_forced(self) -> bool:
        """Whether the answer is a call, whatever the model would rather say."""
        return self.choice == "required" and bool(self.functions)

    def forced_schema(self) -> dict[str, Any]:
        """The JSON Schema to which a forced call is held: an object with name and arguments."""
        return {
            "type": "object",
            "properties": {"call": {"anyOf": [_call_schema(f) for f in self.functions]}},
            "required": ["call"],
            "additionalProperties": False,
        }

    def read_forced(self, text: str) -> tuple[FunctionCall, ...]:
        """The call in a text that was held to `forced_schema`; none where the text was cut off."""
        try:
            call = json.loads(text)["call"]
            return (FunctionCall(str(call["name"]), json.dumps(call["arguments"])),)
        except (ValueError, LookupError, TypeError):
            return ()


NO_TOOLS = Toolbox()


def kept_calls(calls: Sequence[FunctionCall], tools: Toolbox) -> tuple[FunctionCall, ...]:
    """Those of a model's calls that name a function of `tools`, and as many as are welcome."""
    known = {function.name for function in tools.functions}
    named = tuple(call for call in calls if call.name in known)
    return named[:1] if tools.at_most_one else named


def _call_schema(function: Function) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": function.name}, "arguments": dict(function.parameters)},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
