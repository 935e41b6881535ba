"""`WatchOptions`: what a viewer may ask of a watch, and which of it is refused."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from onlooker.core.errors import InvalidRequest, TooLarge
from onlooker.engine.interface import EngineInfo
from onlooker.engine.wording import Wording
from onlooker.watches.config import WatchesSection
from onlooker.watches.schema import check_schema
from onlooker.watches.triggers.health import troubles_in

WatchKind = Literal["alert", "commentary", "question"]
TriggerName = Literal[
    "change",
    "boundary",
    "yes_no",
    "silence",
    "drift",
    "sum",
    "outlier",
    "heads",
    "evidence",
    "interval",
    "health",
]

HeadsRule = Literal["each", "sum", "outlier"]
"""How the scores of a model's heads are read: each by itself, added up, or compared with those
before."""

MAX_HEADS = 16

DEFAULT_TRIGGERS: dict[WatchKind, tuple[TriggerName, ...]] = {
    "alert": ("change", "yes_no"),
    "commentary": ("change", "silence"),
    "question": ("change", "evidence"),
}


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where the alerts of one watch are posted to."""

    url: str
    secret: str = field(default="", repr=False)
    """Key of the HMAC-SHA256 signature. Where it is empty nothing is signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """What a watch is created with. Exactly one of `condition`, `instruction` and `question` is
    set, and says which kind of watch it is."""

    condition: str | None = None
    """When to alert, such as "tell me when a red circle appears"."""
    instruction: str | None = None
    """How to comment on what changes. An empty one is replaced by the model's own."""
    question: str | None = None
    """What to answer as soon as it can be told."""
    trigger: tuple[TriggerName, ...] = ()
    """When to speak: a chain of triggers, cheap ones first. An empty one is replaced by what suits
    the kind."""
    while_true: bool = False
    """Alert about every clip of which the condition holds, not only when it becomes true."""
    repeat: bool = True
    """Whether the watch goes on after its first alert. A question never does."""
    cooldown_s: float = 0.0
    """Stream time after an alert in which the watch stays silent."""
    min_confidence: float | None = None
    """Probability from which a yes counts; None takes the model's own threshold."""
    max_alerts_per_minute: float | None = None
    """In stream time; None takes the most that the settings allow."""
    answer_prompt: str | None = None
    """What to ask when the condition is met. The reply is the alert's text."""
    json_schema: Mapping[str, Any] | None = None
    """What a reply must fit to become the alert's data; see `onlooker.watches.schema`."""
    expires_after_s: float | None = None
    """Stream time after which the watch ends."""
    paused: bool = False
    """Whether the watch looks at nothing until it is changed again."""
    include_frame: bool = False
    """Whether alerts bring the JPEG of their newest frame along."""
    supersede: bool | None = None
    """Whether a reply that is being written is broken off for a newer one. None means: in a
    commentary, and nowhere else."""
    interval_s: float = 10.0
    """Stream time between two alerts of the trigger ``interval``."""
    alpha: float = 1.03
    """How many times its reference perplexity an answer may have before it has drifted, for the
    trigger ``drift``."""
    quantile: float = 0.9
    """Share of earlier changes that a change must exceed, for the trigger ``change`` where it
    stands alone."""
    deviations: float = 4.0
    """Standard deviations by which a picture must be less expected than usual, for the trigger
    ``boundary``."""
    silence_threshold: float | None = None
    """Probability from which the model's silence counts, for the trigger ``silence``; None takes
    the model's own threshold."""
    silence_step: float = 0.0
    """What is added to that threshold with each clip about which the model kept silent, until it
    speaks."""
    pause_threshold: float | None = None
    """What the probability of the model's pause must exceed at the beginning of a reply, in a
    commentary; None takes the model's own threshold."""
    pause_step: float | None = None
    """What is added to that threshold with each token of the reply; None takes the model's own
    step."""
    heads: Mapping[str, float] | None = None
    """By how much each of the model's own heads counts, for the trigger ``heads``; None: all of
    them, by 1. Heads that are not named do not count."""
    heads_rule: HeadsRule = "each"
    """How the score of a clip is read, for the trigger ``heads``."""
    heads_threshold: float | None = None
    """What the score must exceed, for the trigger ``heads``: each, the sum, or the number of
    standard deviations above the mean; None takes 0.5, 1 and 2."""
    webhook: Webhook | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The viewer's own notes, which are given back and not read."""

    @property
    def kind(self) -> WatchKind:
        """Which kind of watch these options make."""
        if self.condition is not None:
            return "alert"
        return "commentary" if self.instruction is not None else "question"

    def triggers(self, wording: Wording) -> tuple[TriggerName, ...]:
        """The chain of triggers in force, cheap ones first."""
        if self.condition is not None and not self.trigger and troubles_in(self.condition):
            return ("health",)
        if self.kind == "alert" and not self.trigger and wording.gates_by_silence:
            assert self.condition is not None
            if wording.question_for(self.condition).needs is None:
                return ("change", "silence", "yes_no")
        return self.trigger or DEFAULT_TRIGGERS[self.kind]

    @property
    def supersedes(self) -> bool:
        """Whether a newer reply breaks off the one that is being written."""
        return self.kind == "commentary" if self.supersede is None else self.supersede


def check_options(options: WatchOptions, settings: WatchesSection, model: EngineInfo) -> None:
    """Refuse options that make no watch with the served model.

    Raises:
        InvalidRequest, TooLarge: the message names the field and says what to do.
    """
    asked = {
        name: text
        for name in ("condition", "instruction", "question")
        if (text := getattr(options, name)) is not None
    }
    if len(asked) != 1:
        raise InvalidRequest(
            "a watch has exactly one of 'condition' (alert me when ...), 'instruction' (comment on "
            "...) and 'question' (answer when it can be told)",
            param="condition",
        )
    ((name, text),) = asked.items()
    if name != "instruction" and not text.strip():
        raise InvalidRequest(f"the watch's {name} is empty", param=name)
    for param, words in {**asked, "answer_prompt": options.answer_prompt or ""}.items():
        if len(words) > settings.max_condition_chars:
            raise TooLarge(
                f"'{param}' has {len(words)} characters; {settings.max_condition_chars} are "
                "allowed (setting watches.max_condition_chars): say it more briefly",
                param=param,
            )
    _check_numbers(options, settings)
    if options.json_schema is not None:
        check_schema(options.json_schema, max_bytes=settings.max_schema_bytes, param="json_schema")
    if "evidence" in options.trigger[:-1]:
        raise InvalidRequest(
            "'evidence' writes the answer, so it must be the last trigger of its chain",
            param="trigger",
        )
    _check_heads(options, model.of_checks.score_heads)
    _check_pause(options, model.wording)


def _check_pause(options: WatchOptions, wording: Wording) -> None:
    """Refuse a rule for a pause that no reply of the watch can have. `wording`: of the model that
    replies."""
    named = [
        name for name in ("pause_threshold", "pause_step") if getattr(options, name) is not None
    ]
    if not named:
        return
    if options.kind != "commentary":
        raise InvalidRequest(
            f"'{named[0]}' is about the pieces of a commentary: give an 'instruction', or leave it "
            "out",
            param=named[0],
        )
    if wording.pause is None:
        raise InvalidRequest(
            f"'{named[0]}' is about the mark with which a model was trained to end a piece of "
            "commentary, and the served one names none (watching.pause of its onlooker.json, "
            "docs/families.md): leave it out",
            param=named[0],
        )


def _check_heads(options: WatchOptions, known: Sequence[str]) -> None:
    """Refuse heads that the model does not have."""
    if "heads" not in options.trigger and options.heads is None:
        return
    if not known:
        raise InvalidRequest(
            "the trigger 'heads' reads heads that a model brings along in its folder, and the "
            "served one has none that can be read: it needs heads/heads.json and "
            "heads/heads.safetensors, and mode 'segments' (docs/families.md). 'yes_no', 'sum' and "
            "'outlier' ask the model in words",
            param="trigger",
        )
    if options.heads is None:
        return
    if not 1 <= len(options.heads) <= MAX_HEADS:
        raise InvalidRequest(f"'heads' names 1 to {MAX_HEADS} heads", param="heads")
    for name, weight in options.heads.items():
        if name not in known:
            raise InvalidRequest(
                f"the model has no head '{name[:80]}'; it has: {', '.join(known)}", param="heads"
            )
        if not (math.isfinite(weight) and -100.0 <= weight <= 100.0):
            raise InvalidRequest("'heads' has numbers from -100 to 100", param="heads")


def _check_numbers(options: WatchOptions, settings: WatchesSection) -> None:
    ranges = {
        "cooldown_s": (0.0, 86_400.0),
        "min_confidence": (0.0, 1.0),
        "max_alerts_per_minute": (0.0, settings.max_alerts_per_minute),
        "expires_after_s": (0.0, 10_000_000.0),
        "interval_s": (0.1, 86_400.0),
        "alpha": (0.5, 100.0),
        "quantile": (0.0, 1.0),
        "deviations": (0.5, 100.0),
        "silence_threshold": (0.0, 1.0),
        "silence_step": (-1.0, 1.0),
        "pause_threshold": (0.0, 1.0),
        "pause_step": (-1.0, 1.0),
        "heads_threshold": (-1000.0, 1000.0),
    }
    for name, (low, high) in ranges.items():
        value = getattr(options, name)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise InvalidRequest(f"'{name}' is a number from {low:g} to {high:g}", param=name)
