"""What a request tells the connector about its prompt, as plain data that crosses processes.

A prompt is ``[loaded and retrieved segments | computed tokens]``. The first part is contiguous from
token 0 and is never computed; any run of the second part may be saved as new segments:

    token   0 ........ N .............................. end
            | load/slot |  save (a new clip) | question |
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onlooker.engine.memory.key_runs import KeyRuns

PARAMS_KEY = "onlooker_segments"
"""Where the spec stands in a request's ``kv_transfer_params``, and the result in its output."""


@dataclass(frozen=True, slots=True)
class LoadSpan:
    """A stored segment placed in this prompt."""

    key: str
    start: int
    """First prompt token that it covers."""
    num_tokens: int
    position: int
    """Rotary position of its first token here."""


@dataclass(frozen=True, slots=True)
class SaveSpan:
    """Tokens of this prompt to be kept as a segment."""

    key: str
    start: int
    num_tokens: int
    position: int
    offsets: list[list[int]] = field(default_factory=list)
    """Rotary offsets of its tokens from `position`, [3][num_tokens] (t, h, w)."""
    retrievable: bool = True
    """Whether retrieval may pick it: clips yes, the sink no."""
    start_s: float = 0.0
    end_s: float = 0.0
    """Stream time that it shows."""
    meta: dict[str, str] = field(default_factory=dict)
    """What a prompt needs to place it again after a restart, stored with it."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place that retrieval fills with a stored segment of exactly this size."""

    start: int
    num_tokens: int
    position: int


@dataclass(frozen=True, slots=True)
class RetrievalSpec:
    """What the queries of a question are to choose among, and what for."""

    slots: list[Slot]
    """Filled by each layer in one pass; none: a probe, whose report says what was chosen."""
    candidates: KeyRuns
    """Keys of the segments to choose from, in time order; at least as many as slots."""
    recent: KeyRuns
    """Keys of the recent window, which a probe may compare (see ``memory.recency_gate``)."""
    num_wanted: int
    """The most that a probe may choose."""
    traces: bool
    """Whether the report shall hold all scores of all layers (to calibrate a model)."""
    question_start: int
    """First prompt token of the question; its queries score the candidates."""
    question_tokens: int
    question_position: int
    """Rotary position of the question's first token."""


@dataclass(frozen=True, slots=True)
class SegmentSpec:
    """The whole plan of one request."""

    loads: list[LoadSpan] = field(default_factory=list)
    saves: list[SaveSpan] = field(default_factory=list)
    retrieval: RetrievalSpec | None = None

    @property
    def num_covered_tokens(self) -> int:
        """Tokens from the start of the prompt whose KV is loaded rather than computed."""
        spans = [(span.start, span.num_tokens) for span in self.loads]
        if self.retrieval is not None:
            spans += [(slot.start, slot.num_tokens) for slot in self.retrieval.slots]
        covered = 0
        for start, num_tokens in sorted(spans):
            if start != covered:
                raise ValueError(f"the covered part of a prompt has a hole at token {covered}")
            covered += num_tokens
        return covered

    def to_params(self) -> dict[str, Any]:
        """As ``kv_transfer_params``: one string, as vLLM looks at every value of a nested one."""
        retrieval = None
        if self.retrieval is not None:
            asked = self.retrieval
            slots = [_values(slot) for slot in asked.slots]
            others = _values(asked)[3:]
            retrieval = [slots, asked.candidates.runs, asked.recent.runs, *others]
        plain = (
            [_values(span) for span in self.loads],
            [_values(span) for span in self.saves],
            retrieval,
        )
        return {PARAMS_KEY: json.dumps(plain, separators=(",", ":"))}

    @classmethod
    def from_params(cls, params: Mapping[str, Any] | None) -> "SegmentSpec | None":
        """Read back what `to_params` wrote; None for a request that has no plan."""
        text = (params or {}).get(PARAMS_KEY)
        if text is None:
            return None
        loads, saves, retrieval = json.loads(text)
        found = None
        if retrieval is not None:
            slots, candidates, recent, *others = retrieval
            found = RetrievalSpec(
                [Slot(*values) for values in slots], KeyRuns(candidates), KeyRuns(recent), *others
            )
        return cls(
            [LoadSpan(*values) for values in loads],
            [SaveSpan(*values) for values in saves],
            found,
        )


def _values(span: LoadSpan | SaveSpan | Slot | RetrievalSpec) -> list[Any]:
    """The fields in their order; `dataclasses.astuple` would copy all that is in them."""
    return [getattr(span, name) for name in span.__slots__]
