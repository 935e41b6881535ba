"""Fields of OpenAI's messages that this server does not have, and what becomes of each.

Clients that were written for OpenAI send whole forms, most of whose fields say nothing here. What
changes nothing is passed over. What somebody might miss, and can do without, is passed over too,
and named. What would mislead is refused by name. A field that no table knows is refused, too: it
may be a typing error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from pydantic import ModelWrapValidatorHandler, PrivateAttr, model_validator

from onlooker.core.protocol.base import Inbound


class Fate(Enum):
    """What becomes of a field that this server does not have."""

    NEUTRAL = "neutral"
    """It changes nothing here, whatever it says."""
    IGNORED = "ignored"
    """It is passed over, and its sender is told."""
    REFUSED = "refused"
    """Whoever relies on it would be misled."""


@dataclass(frozen=True, slots=True)
class ForeignField:
    """One field of OpenAI's that this server does not have."""

    fate: Fate
    why: str = ""
    """What the sender is told, as the rest of a sentence."""
    neutral: tuple[Any, ...] = ()
    """Values beside null that say what holds here anyway."""


ForeignFields = Mapping[str, ForeignField]

AUDIO = ForeignField(Fate.NEUTRAL)
"""Settings of sound, of which this server neither takes nor gives any."""
ECHOED = ForeignField(Fate.NEUTRAL)
"""What a server says of an object, and clients send back with it."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """What of a message was not taken."""

    ignored: Mapping[str, str]
    """Names of fields that were passed over, with the reasons."""
    refused: Mapping[str, str]
    """Names of fields that were refused, with the reasons."""

    @staticmethod
    def told(fields: Mapping[str, str], place: str) -> str:
        """The fields and reasons as text. `place`: the name of the object that they stand in."""
        return "; ".join(f"{place}.{name} {why}" for name, why in fields.items())


NOTHING_ASIDE = SetAside({}, {})

_UNKNOWN = ForeignField(Fate.REFUSED, "is not known here")
_MODALITIES = "output_modalities"
_MAX_NAMED = 8
_MAX_NAME_CHARS = 80


def set_aside(
    raw: Mapping[str, Any], known: frozenset[str], foreign: ForeignFields
) -> tuple[dict[str, Any], SetAside]:
    """Split an object into the fields that are `known`, and what becomes of the others."""
    taken = {name: value for name, value in raw.items() if name in known}
    aside: dict[Fate, dict[str, str]] = {fate: {} for fate in Fate}
    for name, value in raw.items():
        field = foreign.get(name, _UNKNOWN)
        if name in known or value is None or value in field.neutral:
            continue
        named = aside[field.fate]
        if len(named) < _MAX_NAMED:
            named[name[:_MAX_NAME_CHARS]] = field.why
    ignored, refused = aside[Fate.IGNORED], aside[Fate.REFUSED]
    wanted = taken.get(_MODALITIES)
    if isinstance(wanted, list) and "audio" in wanted:
        if "text" in wanted:
            taken[_MODALITIES] = ["text"]
            ignored[_MODALITIES] = "without audio: answers come as text"
        else:
            del taken[_MODALITIES]
            refused[_MODALITIES] = "cannot be audio alone: answers come as text"
    return taken, SetAside(ignored, refused)


def _renamed(raw: dict[str, Any], older_names: Mapping[str, str]) -> dict[str, Any]:
    """The object with newer names of fields in place of older ones."""
    said = dict(raw)
    for older, newer in older_names.items():
        if older in said:
            value = said.pop(older)
            said.setdefault(newer, value)
    return said


class Lenient(Inbound):
    """An object of OpenAI's with fields that this server does not have. Its own fields are read as
    strictly as any; the others are set aside."""

    foreign: ClassVar[ForeignFields] = {}
    older_names: ClassVar[Mapping[str, str]] = {}
    """Names that OpenAI gave fields before, with those that they have now."""
    forbids_unknown: ClassVar[bool] = False
    """Whether a field that neither the object nor `foreign` has makes the whole object invalid."""
    _aside: SetAside = PrivateAttr(default=NOTHING_ASIDE)

    @property
    def aside(self) -> SetAside:
        """What of the object was not taken."""
        return self._aside

    @model_validator(mode="wrap")
    @classmethod
    def _set_aside(cls, raw: Any, handler: ModelWrapValidatorHandler["Lenient"]) -> "Lenient":
        if not isinstance(raw, dict):
            return handler(raw)
        said, known = _renamed(raw, cls.older_names), frozenset(cls.model_fields)
        if cls.forbids_unknown:
            known |= said.keys() - cls.foreign.keys()
        taken, aside = set_aside(said, known, cls.foreign)
        made = handler(taken)
        made._aside = aside
        return made


OLDER_NAMES: Mapping[str, str] = {
    "modalities": _MODALITIES,
    "max_response_output_tokens": "max_output_tokens",
}
"""Of realtime sessions and responses, before OpenAI's API was generally available."""

_ANSWERING: ForeignFields = {
    "audio": AUDIO,
    "voice": AUDIO,
    "output_audio_format": AUDIO,
    "speed": AUDIO,
    "max_tool_calls": ForeignField(Fate.NEUTRAL),
    "prompt": ForeignField(Fate.REFUSED, "names a stored prompt, and none are stored here"),
    "temperature": ForeignField(
        Fate.IGNORED, "is not taken: over this connection answers take the likeliest words"
    ),
    "reasoning": ForeignField(Fate.IGNORED, "is not taken: nothing is thought over before"),
}
"""What OpenAI's sessions and responses have in common."""

SESSION_FIELDS: ForeignFields = {
    **_ANSWERING,
    "id": ECHOED,
    "object": ECHOED,
    "expires_at": ECHOED,
    "client_secret": ECHOED,
    "stream": ECHOED,
    "capabilities": ECHOED,
    "limits": ECHOED,
    "ignored": ECHOED,
    "input_audio_format": AUDIO,
    "input_audio_transcription": AUDIO,
    "input_audio_noise_reduction": AUDIO,
    "turn_detection": AUDIO,
    "tracing": ForeignField(Fate.IGNORED, "is not taken: nothing is traced"),
    "truncation": ForeignField(
        Fate.IGNORED, "is not taken: the oldest items go by themselves", neutral=("auto",)
    ),
    "include": ForeignField(
        Fate.IGNORED, "is not taken: nothing is added to events", neutral=([],)
    ),
}
"""What OpenAI's realtime sessions have and this server's do not."""

RESPONSE_FIELDS: ForeignFields = _ANSWERING
"""The same of `response.create`."""

_NOT_STORED = ForeignField(Fate.NEUTRAL)
_HINT = ForeignField(Fate.NEUTRAL)
"""What helps OpenAI's servers to be fast or cheap and changes no answer."""

ANSWER_FIELDS: ForeignFields = {
    "reasoning": _HINT,
    "reasoning_effort": _HINT,
    "verbosity": _HINT,
    "prediction": _HINT,
    "safety_identifier": _HINT,
    "prompt_cache_key": _HINT,
    "prompt_cache_retention": _HINT,
    "prompt_cache_options": _HINT,
    "user": _HINT,
    "max_tool_calls": _HINT,
    "prompt": ForeignField(Fate.REFUSED, "names a stored prompt, and none are stored here"),
}
"""What OpenAI's answers over HTTP have in common and this server does not have."""

CHAT_FIELDS: ForeignFields = {
    **ANSWER_FIELDS,
    "store": _NOT_STORED,
    "audio": AUDIO,
    "modalities": ForeignField(
        Fate.REFUSED, "can be ['text'] only: answers come as text", neutral=(["text"],)
    ),
    "logit_bias": ForeignField(
        Fate.REFUSED, "is not taken: the numbers of tokens are not told here", neutral=({},)
    ),
    "functions": ForeignField(Fate.REFUSED, "is not taken: send 'tools'", neutral=([],)),
    "function_call": ForeignField(
        Fate.REFUSED, "is not taken: send 'tool_choice'", neutral=("auto", "none")
    ),
    "web_search_options": ForeignField(Fate.REFUSED, "is not taken: nothing is looked up"),
}
"""What OpenAI's chat completions have and this server's do not."""

_MESSAGE_EXTRAS = (
    "audio", "annotations", "function_call", "refusal", "reasoning", "reasoning_content",
    "provider_specific_fields",
)  # fmt: skip
MESSAGE_FIELDS: ForeignFields = dict.fromkeys(_MESSAGE_EXTRAS, ECHOED)
"""What clients send back of a chat completion's message."""

RESPONSES_FIELDS: ForeignFields = {
    **ANSWER_FIELDS,
    "truncation": _HINT,
    "include": _HINT,
    "context_management": _HINT,
    "background": ForeignField(
        Fate.REFUSED, "is not taken: answers come at once", neutral=(False,)
    ),
    "conversation": ForeignField(
        Fate.REFUSED, "is not taken: name the response before in 'previous_response_id'"
    ),
}
"""What OpenAI's responses have and this server's do not."""
