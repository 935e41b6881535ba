"""The seam between streams and a model: what an engine must do.

Two implementations: `onlooker.engine.fake.ScriptedEngine` (deterministic, no model) and
`onlooker.engine.vllm_adapter` (real). Everything above this file is the same for both.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from onlooker.cache_store.leases import Claim
from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import ResponseId, StreamId, new_response_id
from onlooker.core.media import Clip, Cover
from onlooker.core.protocol.base import FinalStatus
from onlooker.core.trace import TraceParent
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.functions import NO_TOOLS, CallMade, FunctionCall, Toolbox
from onlooker.engine.sampling import GREEDY, Sampling, TokenChance
from onlooker.engine.wording import DEFAULT_WORDING, Wording
from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.slo import Tier
from onlooker.scheduler.ticket import Served


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a client may want to know of the model behind the server."""

    model: str
    """The name under which the model is served."""
    mode: str
    """``fake``, ``resend`` or ``segments``."""
    frame_width: int
    frame_height: int
    """Pixels to which perception brings every frame."""
    tokens_per_clip: int
    max_clips: int
    """The most clips that one context holds."""
    knows: str
    """One sentence on what the model can be asked about."""
    wording: Wording = DEFAULT_WORDING
    """How the model is asked on behalf of watches."""
    dialogue_turns: int = 1
    """How many earlier questions and answers the model bears without answering worse."""
    max_images: int = 4
    """The most pictures that one question may bring along."""
    writes_json: bool = False
    """Whether an answer can be held to `Question.json_schema`."""
    calls_functions: bool = False
    """Whether an answer can call functions."""
    score_heads: tuple[str, ...] = ()
    """Names of the heads that the model brings along and that can be read by a check."""
    decider: "EngineInfo | None" = None
    """The smaller model that the checks of watches run on; None where it is this one."""
    nameplate_prompt: str | None = None
    """The system prompt of questions that bring none, behind which the model can be told what
    people call the stream and say of it; None where it is not to be told, since it answers worse
    with a prompt that it was not trained with."""
    survives: Guarantee = Guarantee.NONE
    """What a clip survives once the engine says that it is durable; NONE: it never is."""

    @property
    def of_checks(self) -> "EngineInfo":
        """The model that the checks of watches run on."""
        return self.decider or self


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier question and its answer, given back to the model as dialogue."""

    question: str
    answer: str
    asked_s: float
    """Stream time at which the question was asked, in seconds."""


_NOT_YET = StreamId("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question to a stream: the same object from the door that read it to the engine.

    A door fills in what was asked and how; the stream fills in what only it knows.
    """

    text: str
    response_id: ResponseId = field(default_factory=new_response_id)
    """The id of the question's answer."""
    at_s: float | None = None
    """Stream time that is asked about; None is now."""
    tier: Tier | None = None
    """The tier whose targets hold for the answer; None takes the stream's."""
    dialogue: tuple[Turn, ...] = ()
    understood: str | None = None
    """What was read of `text` where it leans on what was said before, as a question that stands
    alone: "when did the purple star appear?" of "when did it appear?". Where the answer is looked
    for in the diary, this is what is looked for."""
    instructions: str | None = None
    """System prompt; None takes the engine's own."""
    max_tokens: int = 128
    sampling: Sampling = GREEDY
    json_schema: Mapping[str, Any] | None = None
    """The JSON Schema of an object, to which the model is held token by token. Only an engine whose
    `EngineInfo.writes_json` is true takes one, and it raises `InvalidRequest` or `EngineFailed` for
    one that it cannot compile."""
    tools: Toolbox = NO_TOOLS
    """Functions that the answer may call. Only an engine whose `EngineInfo.calls_functions` is true
    takes any."""
    made: tuple[CallMade, ...] = ()
    """Calls that were made for this question before, in order."""
    images: tuple[Clip, ...] = ()
    """Pictures handed over with the question itself (``input_image``), outside any stream."""
    tells_confidence: bool = False
    """Whether whoever asks is told how likely the answer's words were to the model; `sampling` must
    ask for probabilities then."""
    budget_s: float | None = None
    """Seconds for checking what the diary says of the past; None: as the settings say."""
    from_diary: bool = True
    """Whether it may be answered from the diary."""
    newest_clips: int | None = None
    """Show only so many of the newest clips of `asked_s`, and bring nothing back; None: what the
    settings say. Resend mode shows its whole window, which its cache holds."""
    trace: TraceParent | None = None
    """The place in a trace that whoever asks has brought along."""

    # ---- filled in by the stream that is asked

    stream_id: StreamId = _NOT_YET
    asked_s: float = 0.0
    """Stream time at which the question was asked, in seconds. The answer depends only on frames
    captured at or before it: of every clip the engine shows what `Clip.until` leaves."""
    zero_wall_s: float | None = None
    """Wall clock (seconds since 1970) of stream time 0; None where it is not known."""
    asked_wall_s: float | None = None
    """Wall clock of whoever asks; None: that of `asked_s`."""
    pending: Clip | None = None
    """The stream's newest frame while it waits for its partner, as a clip of its own: it belongs
    after the stream's clips in this answer's context and is never remembered."""
    covers: tuple[Cover, ...] = ()
    """How long the stream's newest clips stand for what was there, `pending` among them, as far as
    was looked when the question was put. (Of every earlier clip the next one tells, see
    `Clip.before_until_s`.)"""
    care: Care = NO_CARE
    """How the question is to be served: class, deadlines and quality."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What an engine already remembers of a stream that is opened."""

    next_clip_index: int = 0
    """The index for the stream's next clip."""
    seen_until_s: float | None = None
    """Stream time at which the stream's newest clip ends; None for a new stream."""
    first_clip_index: int = 0
    """The index of the stream's oldest clip."""
    missing: frozenset[int] = frozenset()
    """Indices of the clips, between the oldest and the newest, of which nothing is remembered."""

    def has(self, clip_index: int) -> bool:
        """Whether the clip with this index is remembered."""
        is_within = self.first_clip_index <= clip_index < self.next_clip_index
        return is_within and clip_index not in self.missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What an engine forgot of a stream."""

    clip_indices: frozenset[int] = frozenset()
    """Indices of the clips that went."""
    num_notes: int = 0
    num_bytes: int = 0
    """Bytes of the keys and values (or, without stream memory, of the pictures) that went; copies
    in other tiers are not counted."""
    unreached: tuple[str, ...] = ()
    """Tiers that could not be reached yet. What they hold is hidden, and deleted once they can
    be."""
    has_more: bool = False
    """Whether more is to be forgotten than one call was to."""


Waiting = Mapping[StreamId, Sequence[int]]
"""Indices of clips, by stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What an engine's workers hold ready above the tiers of its store, all streams together."""

    num_segments: int
    num_bytes: int
    """Bytes that the segments take: keys, values and, for retrieval, keys without rotary
    position."""
    num_indexed: int
    """Clips that retrieval can find, ready or stored."""
    index_bytes: int
    """Bytes of the index by which retrieval ranks clips."""


@dataclass(frozen=True, slots=True)
class Stock:
    """What an engine tells of its memory."""

    durable: Waiting = field(default_factory=dict)
    """Those of the clips that were asked about which outlive the engine and this process."""
    tiers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Counts by tier of the store, then by name: totals since the engine was started, and what the
    tier holds now. The names are those of `cache_store.counters`, ``failed`` for records that could
    not be written to the tier, and ``queued_bytes`` for what waits to be."""
    moves: Mapping[str, int] = field(default_factory=dict)
    """Segments that went from one tier to another or to none, by what became of them: totals since
    the engine was started."""
    held: Held | None = None
    """What the workers hold ready; None from an engine without stream memory. Where several
    gateways share the workers, the first of them alone tells this, `tiers` and `moves`."""
    remembered: Mapping[StreamId, int] = field(default_factory=dict)
    """Bytes of keys and values that are remembered of each open stream, wherever they are; one copy
    counted."""
    is_kept: bool = True
    """Whether what was told to be durable is. False while the store may have lost some of it, and
    of a store that evicts by itself: then `EngineInfo.survives` does not hold."""


class IngestResult(msgspec.Struct, frozen=True):
    """What ingesting one clip cost. Counts, since bare times mislead on shared machines."""

    num_tokens: int
    """Tokens of the request, cached ones included."""
    num_cached_tokens: int
    """Tokens of the request whose KV was reused rather than computed."""
    served: Served | None = None
    """How the engine's scheduler served the request, where it tells."""


class FinishReason(StrEnum):
    """Why an answer ended. The first two words are vLLM's own."""

    STOP = "stop"
    """The answer was complete."""
    LENGTH = "length"
    """The answer came to its limit of tokens."""
    CANCELLED = "cancelled"
    ERROR = "error"

    @property
    def status(self) -> FinalStatus:
        """The word that clients and metrics use for the reason."""
        return _STATUSES[self]


_STATUSES: Mapping[FinishReason, FinalStatus] = {
    FinishReason.STOP: "completed",
    FinishReason.LENGTH: "incomplete",
    FinishReason.CANCELLED: "cancelled",
    FinishReason.ERROR: "failed",
}


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    """A piece of the answer's text."""

    text: str
    chances: tuple[TokenChance, ...] = ()
    """The tokens of the piece with their probabilities, where the question asked for them."""
    is_interim: bool = False
    """Whether it only says what is being done meanwhile, and is no part of the answer."""


class EvidenceSource(StrEnum):
    """Why a clip was in an answer's context."""

    RECENT = "recent"
    """The clip was in the recent window, or was the stream's newest frame, which still waited for
    its partner."""
    RETRIEVED = "retrieved"
    """The clip had left the window and was brought back."""
    NAMED = "named"
    """The question named the clip's time."""
    DIARY = "diary"
    """The diary told of the clip, and it was looked at again."""
    SHOWN_AGAIN = "shown_again"
    """A picture of the clip was shown beside its keys and values, for a second look. Filled in by
    the stream."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A span of stream time that an answer's context showed: of each clip the time for which it
    stands, as far as that had passed when the question was asked."""

    start_s: float
    end_s: float
    source: EvidenceSource
    tier: str
    """The place where the KV of the span lay: ``device`` (held ready by the model's worker, or
    computed for this answer), ``memory``, ``disk`` or ``redis``; of a picture that was shown
    again, ``album``."""
    is_partial: bool = False
    """Whether some clip of the span was computed without some places of its picture, since they had
    hardly changed: what is seen there may be what an earlier clip showed."""
    is_compacted: bool = False
    """Whether some clip of the span was compacted when it had left the recent window: of what the
    model computed of it, only a part is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMoment:
    """A moment at which something that was asked about happened, or began to be so."""

    at_s: float
    """Stream time at which its clip begins."""
    end_s: float
    wall_s: float
    """Wall clock of `at_s`, in seconds since 1970; as far as the server knows."""
    confidence: float
    """Probability (0-1) that it is so, by a check of its clip."""


@dataclass(frozen=True, slots=True)
class MisreadTime:
    """A time in an answer that the model cannot have read: nothing in view bears it."""

    said_s: float
    """What the model wrote, in seconds of stream time."""
    told_s: float | None
    """The stamp that was told in its place; None where what the model wrote stayed."""


@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """The last event of an answer that ran to its end."""

    finish_reason: FinishReason
    num_prompt_tokens: int
    num_cached_tokens: int
    num_output_tokens: int
    clip_spans_s: tuple[tuple[float, float], ...] = ()
    """Spans of stream time that were in the context, as (start, end) in seconds."""
    retrieved_spans_s: tuple[tuple[float, float], ...] = ()
    """Those of `clip_spans_s` that had left the recent window and were brought back for this
    question."""
    memory_incomplete: bool = False
    """Whether something that should have been remembered could not be read."""
    evidence: tuple[Evidence, ...] = ()
    """The clips of `clip_spans_s` by why they were shown and where they came from; neighbours that
    share both are one span. Empty from an engine without stream memory."""
    fetched_bytes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of KV that were read for this answer beyond the recent window, by the tier where they
    lay: clips that were brought back, and clips that were only compared."""
    fetched_ratio: float | None = None
    """`fetched_bytes` in all, as a share (0-1) of the KV of the whole stream; None where the stream
    has none."""
    moments: tuple[FoundMoment, ...] = ()
    """Of a question about the past as a whole, in order of time. Filled in by the stream."""
    moments_exact: bool | None = None
    """Whether all that the diary told of was checked; None where the answer is no list of
    moments."""
    forgotten_spans_s: tuple[tuple[float, float], ...] = ()
    """Times that the question named and that were deleted. Filled in by the stream."""
    knows_wall: bool = True
    """Whether the wall times of `moments` are those at which they were. Filled in by the stream."""
    pictured_from_s: float | None = None
    """Stream time from which on there are pictures of what was seen; None where there are none.
    Filled in by the stream."""
    calls: tuple[FunctionCall, ...] = ()
    """Functions that the answer calls; the caller runs them."""
    served: Served | None = None
    """How the engine's scheduler served the request, where it tells."""
    misread_times: tuple[MisreadTime, ...] = ()
    """Times in the answer that nothing in view bears, in order."""
    asked_s: float | None = None
    """Stream time of the question, in seconds. Filled in by the stream, not by the engine."""
    seen_until_s: float | None = None
    """Stream time up to which the context showed the stream; None where it showed none of it."""
    ttft_s: float | None = None
    """Seconds from the question's arrival to the first piece of the answer; None where there was no
    piece. Filled in by the stream."""
    reason: str | None = None
    """Why the answer was cut short, in words, such as that the stream was closed; None where it was
    not."""


AnswerEvent = AnswerDelta | AnswerEnd

Progress = Callable[[str], None]
"""A function that is told in plain words what a slow start is waiting for."""


class Engine(Protocol):
    """A model that remembers clips of many streams and answers questions about them.

    All methods run on the event loop and never block it. Calls for different streams may overlap
    freely; for one stream the caller has at most one `ingest` under way, in clip order, while any
    number of answers may run.
    """

    @property
    def info(self) -> EngineInfo: ...

    async def start(self, progress: Progress) -> None:
        """Load the model. Called before anything else, and again after `close` to start anew: all
        streams are to be opened again then.

        Raises:
            ConfigError: the model cannot be served (no such folder, no weights, wrong family).
        """
        ...

    async def close(self) -> None:
        """Stop the engine; every running answer ends. Idempotent."""
        ...

    def healthy(self) -> bool:
        """Whether the engine can still take work. False is final until it is started again."""
        ...

    def load(self) -> EngineLoad:
        """How busy the engine is now, as far as it tells."""
        ...

    async def open_stream(self, stream_id: StreamId, claim: Claim | None = None) -> Remembered:
        """Make room for a stream, or go on with one that was stored before a restart. `claim`: the
        right by which this server writes for it, where several servers share a store."""
        ...

    async def close_stream(self, stream_id: StreamId, *, forget: bool = True) -> None:
        """Let go of a stream and, with `forget`, of all that is stored of it. Without `forget`, a
        stream that is opened again under the same name goes on where it was, as far as the engine
        stored it. Unknown streams are ignored."""
        ...

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        """Take a clip into the stream's memory; returns when the model has seen it. It tells how
        long the clip before it stands for what was there (`Clip.before_until_s`).

        Clips come in order, except that those which are not remembered may come again later.

        Raises:
            EngineFailed: this clip was lost, the stream goes on.
            EngineDead: the engine is gone.
        """
        ...

    async def forget(
        self,
        stream_id: StreamId,
        start_s: float,
        end_s: float,
        *,
        is_aged: bool = False,
        max_clips: int | None = None,
    ) -> Forgotten:
        """Delete, in every tier, the clips of an open stream that show anything of a span of stream
        time, and the notes that may tell of it: those of questions that were asked after the span's
        start, or with `is_aged` those asked within it. Nothing that is asked or ingested afterwards
        sees any of it. No `ingest` of the stream may be under way.

        Args:
            is_aged: the clips are deleted since they are old. What was said of them is deleted when
                it is old itself.
            max_clips: the most clips, the oldest first, that this call is to delete; None: all.

        Raises:
            EngineDead: the engine is gone.
        """
        ...

    def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        """Answer a question: yields deltas, then exactly one `AnswerEnd`.

        Closing the iterator (``aclose`` or cancelling the task that reads it) aborts the request.

        Raises:
            TooLarge: the question does not fit the context.
            EngineFailed: this answer failed; others go on.
            EngineDead: the engine is gone.
        """
        ...

    async def check(self, check: Check) -> CheckResult:
        """Look at a stream's newest clips without leaving a trace: nothing is remembered, and
        nothing that is remembered changes. Any number may run at once; they share engine steps.

        Raises:
            TooLarge: the check does not fit the context.
            EngineFailed: this check failed; others go on.
            EngineDead: the engine is gone.
        """
        ...

    async def take_stock(self, waiting: Waiting) -> Stock:
        """Tell what the store and the workers hold, and which of the clips in `waiting` are durable
        by now.

        Raises:
            EngineDead: the engine is gone.
        """
        ...
