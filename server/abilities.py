"""What is asked of a model beyond text, refused in plain words where the model cannot."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from onlooker.core.errors import InvalidRequest, TooLarge
from onlooker.core.protocol.functions import FunctionConfig
from onlooker.engine.functions import ANY_ARGUMENTS, Function, Toolbox
from onlooker.engine.interface import EngineInfo
from onlooker.server.config import Settings
from onlooker.server.text_limits import TextLimits
from onlooker.watches.schema import MAX_NESTING, MAX_PARTS, check_schema, for_writing

ANY_OBJECT: Mapping[str, Any] = {"type": "object", "additionalProperties": True}

_REFERRING = ("$defs", "definitions")
_NOTES = ("format", "$schema", "$id", "$comment", "title", "deprecated", "readOnly", "writeOnly")
"""Keywords that say nothing about which values fit."""


def schema_for(schema: Mapping[str, Any], info: EngineInfo, settings: Settings, *, param: str
               ) -> dict[str, Any]:  # fmt: skip
    """What an answer is held to that must fit `schema`.

    Raises:
        InvalidRequest: the model cannot write JSON; or it is no schema that is understood.
        TooLarge: it is too large.
    """
    if not info.writes_json:
        raise InvalidRequest(
            f"the model '{info.model}' cannot write JSON; ask for it in words, or leave this out",
            param=param,
        )
    whole = inlined(schema, param=param)
    check_schema(whole, max_bytes=settings.watches.max_schema_bytes, param=param)
    return for_writing(whole)


def toolbox(
    functions: Sequence[FunctionConfig],
    choice: str,
    *,
    parallel: bool | None,
    info: EngineInfo,
    settings: Settings,
) -> Toolbox:
    """The functions that an answer may call. `choice` is ``auto``, ``none``, ``required``, or after
    a ``=`` the name of the one function that must be called.

    Raises:
        InvalidRequest: the model cannot call functions, or there is no such function.
        TooLarge: they have too many characters.
    """
    if not functions or choice == "none":
        if choice not in ("none", "auto"):
            raise InvalidRequest("there are no tools to call", param="tool_choice")
        return Toolbox()
    if not info.calls_functions:
        raise InvalidRequest(
            f"the model '{info.model}' cannot call functions: its chat template does not tell it "
            "of any. Leave 'tools' out, or serve a model that can",
            param="tools",
        )
    TextLimits.of(settings.server).check_functions(functions, param="tools")
    made = [_function(given) for given in functions]
    if choice.startswith("="):
        made = [function for function in made if function.name == choice[1:]]
        if not made:
            raise InvalidRequest(f"there is no tool '{choice[1:]}'", param="tool_choice")
    if choice == "auto":
        return Toolbox(tuple(made), at_most_one=parallel is False)
    held = [
        Function(f.name, f.description, schema_for(f.parameters, info, settings, param="tools"))
        for f in made
    ]
    return Toolbox(tuple(held), choice="required", at_most_one=True)


_OF_KEPT_CLIPS: Mapping[str, str] = {
    "token_drop": ", so that all of each is computed",
    "compaction": " that could be made smaller",
}
"""What streams may choose to have done with the clips that are kept of them, and what it comes to
where none is."""


def check_keeping(asked: BaseModel, info: EngineInfo, *, place: str = "") -> None:
    """Refuse to compute clips in part, or to make them smaller later, where none is kept: nothing
    could stand for the other places.

    Args:
        asked: what is asked for a stream, with a field for each choice.
        place: what goes before a field's name in an error.

    Raises:
        InvalidRequest: the engine computes recent frames whole with each request.
    """
    if info.mode != "resend":
        return
    for name, outcome in _OF_KEPT_CLIPS.items():
        method = getattr(asked, name)
        if method not in (None, "off"):
            raise InvalidRequest(
                f"{name} is '{method}', and this server keeps nothing of its clips (engine.mode is "
                f"'resend'){outcome}: leave {name} out",
                param=place + name,
            )


def inlined(schema: Mapping[str, Any], *, param: str) -> dict[str, Any]:
    """A schema with its references to its own definitions replaced by what they refer to, and
    without what says nothing about which values fit.

    Raises:
        InvalidRequest: a reference leads nowhere, or round in a circle.
        TooLarge: there are too many parts.
    """
    definitions = {
        f"#/{word}/{name}": part
        for word in _REFERRING
        for name, part in (schema.get(word) or {}).items()
    }
    rest = {word: part for word, part in schema.items() if word not in _REFERRING}
    whole: dict[str, Any] = _Inliner(definitions, param).of(rest, depth=0)
    return whole


class _Inliner:
    """Copies a schema, following references; counts so that it ends."""

    def __init__(self, definitions: Mapping[str, Any], param: str) -> None:
        self._definitions, self._param = definitions, param
        self._num_parts = 0

    def of(self, part: Any, *, depth: int, is_names: bool = False) -> Any:
        """A copy. `is_names`: the keys of an object are the names of properties, no keywords."""
        if not isinstance(part, Mapping | list):
            return part
        self._num_parts += 1
        if depth > 2 * MAX_NESTING:
            raise InvalidRequest(
                "a schema refers to itself, or is nested too deeply", param=self._param
            )
        if self._num_parts > 4 * MAX_PARTS:
            raise TooLarge("the schema has too many parts: say it more simply", param=self._param)
        if isinstance(part, list):
            return [self.of(entry, depth=depth + 1) for entry in part]
        if not is_names and "$ref" in part:
            part = {**self._referred(part["$ref"]), **part}
            del part["$ref"]
            return self.of(part, depth=depth + 1)
        return {
            word: self.of(value, depth=depth + 1, is_names=word == "properties" and not is_names)
            for word, value in part.items()
            if is_names or word not in _NOTES
        }

    def _referred(self, name: Any) -> Mapping[str, Any]:
        found = self._definitions.get(name) if isinstance(name, str) else None
        if not isinstance(found, Mapping):
            raise InvalidRequest(
                f"the schema refers to '{str(name)[:80]}', which is not among its definitions",
                param=self._param,
            )
        return found


def _function(given: FunctionConfig) -> Function:
    return Function(given.name, given.description or "", given.parameters or ANY_ARGUMENTS)
