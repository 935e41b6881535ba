"""What is told of an answer beside its text: tokens, times, evidence."""

from typing import Annotated

from pydantic import Field

from onlooker.core.protocol.base import Outbound


class InputTokenDetails(Outbound):
    cached_tokens: int = 0
    """Input tokens whose KV was reused rather than computed."""


DialogueTurns = Annotated[int, Field(ge=0, le=64)]
"""How many earlier questions and answers a question brings along."""


class Usage(Outbound):
    """Tokens of one answer."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_token_details: InputTokenDetails = InputTokenDetails()


class TopLogprob(Outbound):
    token: str
    logprob: float
    bytes: list[int]
    """The token's text in UTF-8."""


class TokenLogprob(TopLogprob):
    """A token of an answer and how likely it was."""

    top_logprobs: list[TopLogprob] = []


class EvidenceSpan(Outbound):
    """A span of stream time that was in the model's context: of each clip the time for which it
    stands, which goes on while the picture stays nearly the same."""

    start_s: float
    end_s: float
    source: str
    """``recent`` (the recent window), ``retrieved`` (brought back for this question), ``named``
    (the question named its time), ``diary`` (the diary told of it, and it was looked at again) or
    ``shown_again`` (a picture of it, for a second look)."""
    tier: str
    """The storage tier where it lay: ``device``, ``memory``, ``disk`` or ``redis``; ``album`` for
    pictures that were shown again. What was
    computed for this answer only, such as the newest frame, lay on the ``device``."""
    partial: bool = False
    """Whether the model computed some clip of the span without places of its picture that had
    hardly changed: what is seen there may be what an earlier clip showed."""
    compacted: bool = False
    """Whether some clip of the span was compacted when it had left the recent window, so that only
    a part is left of what the model computed of it."""
    picture: str | None = None
    """The path of a picture where the server keeps an album: the newest of the span where that is
    ``recent``, else its first."""


class MomentObject(Outbound):
    """A moment at which what was asked about happened, or began to be so."""

    at_s: float
    end_s: float
    """Stream times at which its clip begins and ends."""
    wall_time: float | None
    """Wall clock of `at_s`, in seconds since the Unix epoch; null where it is not known."""
    picture: str | None
    """The path of its picture, where the server keeps an album."""
    confidence: float
    """Probability (0-1) that it is so, by a check of its clip."""


class MisreadTimeObject(Outbound):
    """A time in an answer that the model cannot have read: nothing in view bears it."""

    said_s: float
    """What the model wrote, in seconds of stream time."""
    told_s: float | None
    """The time of a clip in view that the answer tells in its place; null where it tells what the
    model wrote."""


class AnswerFacts(Outbound):
    """What an answer was based on."""

    stream: str | None = None
    """The stream that was asked."""
    asked_s: float | None = None
    """Stream time of the question: nothing captured later can have changed the answer."""
    seen_until_s: float | None = None
    """Stream time up to which the model's context showed the stream: where its newest clip ends, or
    the last picture that was nearly the same; null without one."""
    clip_spans_s: list[tuple[float, float]] = []
    """Spans of stream time for which the model's context stood, as (start, end)."""
    retrieved_spans_s: list[tuple[float, float]] = []
    """Those of `clip_spans_s` that had left the recent window and were brought back."""
    memory_incomplete: bool = False
    """Whether something that should have been remembered could not be read."""
    evidence: list[EvidenceSpan] = []
    """The spans of `clip_spans_s` with why they were shown and where they came from."""
    moments: list[MomentObject] = []
    """Of a question about the past as a whole (when, how often, for the last time): the moments
    that the diary told of and that their clips confirm, in order of time."""
    moments_exact: bool | None = None
    """Whether all that the diary told of was checked, so that a count is exact as far as the diary
    is whole; null where the answer is no list of moments."""
    fetched_bytes: dict[str, int] = {}
    """Bytes of memory beyond the recent window that were read for this answer, by tier."""
    fetched_ratio: float | None = None
    """The bytes of `fetched_bytes` as a share of all that is remembered of the stream."""
    dialogue_turns: int = 0
    """How many earlier questions and answers the model was given with the question."""
    understood_as: str | None = None
    """What was asked for, where the question leaned on what was said before; null where it stands
    alone."""
    misread_times: list[MisreadTimeObject] = []
    """Times in the answer that the model cannot have read, in order."""
    forgotten_spans_s: list[tuple[float, float]] = []
    """Times that the question named and that were deleted, as (start, end)."""
    confidence: float | None = None
    """How likely the model's words were to it, from 0 to 1: the geometric mean of the probabilities
    of the answer's tokens. Null where the question did not ask for it (`confidence`)."""
    ttft_ms: float | None = None
    """Milliseconds from the acceptance of the question to its first piece of text."""
