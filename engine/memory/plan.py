"""What one request does with stored segments, and what came of it.

A prompt is ``[loaded and retrieved segments | computed tokens]``. The first part is contiguous from
token 0 and is never computed; any run of the second part may be saved as new segments:

    token   0 ........ N .............................. end
            | load/slot |  save (a new clip) | question |

The first part of a prompt that computes only some rows of a clip ends with the clip's other rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from onlooker.engine.memory.key_runs import KeyRuns
from onlooker.engine.memory.load_runs import LoadRuns
from onlooker.engine.memory.ranking import LayerTrace

DEVICE = "device"
"""The tier of segments that the model's worker holds ready."""

BEFORE_UNTIL = "before_until_s"
"""The entry of `SaveSpan.meta` in which a clip says where the cover of the clip before it ends, in
seconds of stream time."""

Reads = dict[str, tuple[str, int]]
"""What a request read: by a segment's key, the tier where the segment lay at first and its bytes of
KV."""


@dataclass(frozen=True, slots=True)
class Filling:
    """Rows of a segment that this prompt does not compute: they are those of another segment,
    turned to where they stand now. They are placed right before the segment's computed tokens,
    which see them; then they are kept with what has become of the anchors since."""

    key: str
    """The key of the other segment."""
    rows: list[int]
    """Rows of the segment that is filled."""
    from_rows: list[int]
    """Rows of the other segment, as many."""
    shift: int
    """How many rotary positions further the rows stand from their segment's first token than
    `from_rows` do from theirs."""
    anchors: list[int] = field(default_factory=list)
    """Rows of the segment that this prompt computes though their picture has not changed."""
    from_anchors: list[int] = field(default_factory=list)
    """Rows of the other segment that show the same, as many."""


@dataclass(frozen=True, slots=True)
class SaveSpan:
    """Tokens of this prompt to be kept as a segment."""

    key: str
    start: int
    num_tokens: int
    position: int
    offsets: list[list[int]] = field(default_factory=list)
    """Rotary offsets of the segment's tokens from `position`, [3][tokens] (t, h, w). The segment
    has `num_tokens` tokens, or more where it is filled."""
    retrievable: bool = True
    """Whether retrieval may pick the segment: clips yes, the sink and notes no."""
    start_s: float = 0.0
    end_s: float = 0.0
    """End of the stream time that the segment shows, which begins at `start_s`; in seconds."""
    meta: dict[str, str] = field(default_factory=dict)
    """What a prompt needs to place the segment again after a restart; stored with it."""
    rows: list[int] = field(default_factory=list)
    """Rows of the segment that this prompt computes, `num_tokens` of them; empty: all."""
    epoch: int = 0
    """The epoch of the right by which the stream is written. Where the workers know of a newer one
    the segment is not kept. 0: streams have no owners."""
    filling: Filling | None = None
    """Where the other rows come from; they stand in the prompt right before `start`."""

    @property
    def computed_offsets(self) -> list[list[int]]:
        """Rotary offsets of the tokens that this prompt computes, [3][num_tokens]."""
        if not self.rows:
            return self.offsets
        return [[axis[row] for row in self.rows] for axis in self.offsets]

    @property
    def filled(self) -> slice:
        """The tokens of this prompt where the rows stand that are not computed."""
        count = 0 if self.filling is None else len(self.filling.rows)
        return slice(self.start - count, self.start)


@dataclass(frozen=True, slots=True)
class MemorySlot:
    """A place that retrieval fills with a stored segment of exactly this size."""

    start: int
    num_tokens: int
    position: int


@dataclass(frozen=True, slots=True)
class RetrievalPlan:
    """What the queries of a question are to choose among, and what for."""

    slots: list[MemorySlot]
    """Places that each layer fills in one pass; none in a probe, whose report says what was
    chosen."""
    candidates: KeyRuns
    """Keys of the segments to choose from, in time order; at least as many as slots."""
    recent: KeyRuns
    """Keys of the recent window, which a probe may compare (see ``memory.recency_gate``)."""
    num_wanted: int
    """The most segments that a probe may choose."""
    traces: bool
    """Whether the report shall hold all scores of all layers (to calibrate a model)."""
    question_start: int
    """First prompt token of the question; its queries score the candidates."""
    question_tokens: int
    question_position: int
    """Rotary position of the question's first token."""


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """The whole plan of one request."""

    loads: LoadRuns = field(default_factory=LoadRuns)
    saves: list[SaveSpan] = field(default_factory=list)
    retrieval: RetrievalPlan | None = None
    reads: list[str] = field(default_factory=list)
    """Keys of other segments that are looked into, and have to be held ready first."""
    reads_heads: bool = False
    """Whether the model's score heads are applied to the hidden state of the prompt's last token,
    and the report shall hold what they give."""

    @property
    def num_covered_tokens(self) -> int:
        """Tokens from the start of the prompt whose KV is loaded rather than computed.

        Raises:
            ValueError: these tokens do not follow each other without a hole.
        """
        spans = [(run.start, run.num_covered_tokens) for run in self.loads.runs]
        if self.retrieval is not None:
            spans += [(slot.start, slot.num_tokens) for slot in self.retrieval.slots]
        spans += [(save.filled.start, save.start - save.filled.start) for save in self.saves]
        covered = 0
        for start, num_tokens in sorted(spans):
            if num_tokens and start != covered:
                raise ValueError(f"the covered part of a prompt has a hole at token {covered}")
            covered += num_tokens
        return covered


@dataclass(frozen=True, slots=True)
class RequestReport:
    """What came of one request's plan."""

    saved: list[str] = field(default_factory=list)
    """Keys of segments that were computed and kept whole."""
    missing: list[str] = field(default_factory=list)
    """Keys of segments that were asked for and are gone."""
    picked: list[list[str]] = field(default_factory=list)
    """Keys that retrieval placed, one list for each layer; from a probe, one list of what it
    chose."""
    read: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """What the request read of the stored segments (see `Reads`); empty where it saves some
    itself."""
    traced: list[LayerTrace] = field(default_factory=list)
    """All scores of the candidates, one entry for each layer, where the plan asked for them."""
    away: list[str] = field(default_factory=list)
    """Keys of segments that a probe has to look into and that are not held ready: it is to be made
    again, with these in its plan (see `RequestPlan.reads`)."""
    heads: Mapping[str, float] = field(default_factory=dict)
    """What each of the model's score heads gives (0-1), by its name, where the plan asked for
    it."""
