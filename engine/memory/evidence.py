"""What an answer rested on: the time that its context showed, why, and from where it came."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from onlooker.engine.interface import AnswerEnd, Evidence, EvidenceSource
from onlooker.engine.memory.plan import DEVICE, Reads, RequestReport
from onlooker.engine.memory.shown import ShownClip, in_turn, spans_s
from onlooker.engine.memory.stream_memory import Recall, StreamMemory


def with_evidence(
    end: AnswerEnd,
    report: RequestReport,
    recall: Recall,
    memory: StreamMemory,
    *,
    asked_s: float,
    once: Sequence[ShownClip],
    incomplete: bool,
) -> AnswerEnd:
    """`end`, with which time spans were in the context, which of them retrieval brought back, and
    what that took.

    Args:
        report: of the request that answered.
        asked_s: stream time of the question.
        once: what was computed for this answer only, the newest part of its context.
    """
    reads: Reads = {**report.read, **recall.reads}
    picked = {key for layer in report.picked for key in layer}
    # Of the older clips either all are placed, or some were picked.
    retrieved = [*recall.candidates.find(picked), *recall.placed]
    older = EvidenceSource.NAMED if recall.is_named else EvidenceSource.RETRIEVED
    fetched_bytes, fetched_ratio = _fetched(reads, recall, memory)
    found = [
        _Found(
            ShownClip.remembered(clip, asked_s),
            source,
            reads.get(clip.tokens.key, (DEVICE, 0))[0],
            is_partial=clip.tokens.shown_ratio < 1,
            is_compacted=clip.tokens.is_compacted,
        )
        for clips, source in ((retrieved, older), (recall.recent, EvidenceSource.RECENT))
        for clip in clips
    ]
    found += [_Found(shown, EvidenceSource.RECENT, DEVICE) for shown in once]
    turns = in_turn([one.shown for one in found])
    found = [replace(one, shown=shown) for one, shown in zip(found, turns, strict=True)]
    return replace(
        end,
        clip_spans_s=spans_s(one.shown for one in found),
        retrieved_spans_s=spans_s(one.shown for one in found if one.source is older),
        memory_incomplete=incomplete,
        evidence=tuple(_evidence(found)),
        fetched_bytes=fetched_bytes,
        fetched_ratio=fetched_ratio,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """A clip of a context, why it was there, and the tier from which it came."""

    shown: ShownClip
    source: EvidenceSource
    tier: str
    is_partial: bool = False
    is_compacted: bool = False


def _evidence(found: Sequence[_Found]) -> Iterator[Evidence]:
    """The spans of what is `found`, in its order; neighbours that were there for one reason and
    came from one tier make one span."""
    for (source, tier), run in groupby(found, key=lambda one: (one.source, one.tier)):
        clips = list(run)
        for start_s, end_s in spans_s(one.shown for one in clips):
            inside = [one for one in clips if start_s <= one.shown.start_s < end_s]
            yield Evidence(
                start_s,
                end_s,
                source,
                tier,
                is_partial=any(one.is_partial for one in inside),
                is_compacted=any(one.is_compacted for one in inside),
            )


def _fetched(
    reads: Reads, recall: Recall, memory: StreamMemory
) -> tuple[dict[str, int], float | None]:
    """Bytes that were read, by tier, and their share of the stream's KV (None where it has none). A
    token takes the same in every clip."""
    by_tier: dict[str, int] = defaultdict(int)
    num_read = 0
    recent = {clip.tokens.key for clip in recall.recent}
    for clip in memory.find(reads.keys() - recent):
        tier, num_bytes = reads[clip.tokens.key]
        by_tier[tier] += num_bytes
        num_read += len(clip.tokens.token_ids)
    return dict(by_tier), num_read / memory.num_tokens if memory.num_tokens else None
