"""What an answer rested on: the time that its context showed, why, and from where it came."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from onlooker.engine.interface import AnswerEnd, Evidence, EvidenceSource
from onlooker.engine.memory.plan import DEVICE, Reads, RequestReport
from onlooker.engine.memory.stream_memory import Recall, StreamMemory
from onlooker.engine.memory.timeline import RememberedClip
from onlooker.engine.memory.window import spans_s


def with_evidence(
    end: AnswerEnd,
    report: RequestReport,
    recall: Recall,
    memory: StreamMemory,
    *,
    incomplete: bool,
) -> AnswerEnd:
    """`end`, with which time spans were in the context, which of them retrieval brought back, and
    what that took. `report` is that of the request that answered."""
    reads: Reads = {**report.read, **recall.reads}
    picked = {key for layer in report.picked for key in layer}
    # Of the older clips either all are placed, or some were picked.
    retrieved = [*recall.candidates.find(picked), *recall.placed]
    older = EvidenceSource.NAMED if recall.is_named else EvidenceSource.RETRIEVED
    fetched_bytes, fetched_ratio = _fetched(reads, recall, memory)
    return replace(
        end,
        clip_spans_s=spans_s([*retrieved, *recall.recent]),
        retrieved_spans_s=spans_s(retrieved),
        memory_incomplete=incomplete,
        evidence=(
            *_evidence(retrieved, older, reads),
            *_evidence(recall.recent, EvidenceSource.RECENT, reads),
        ),
        fetched_bytes=fetched_bytes,
        fetched_ratio=fetched_ratio,
    )


def _evidence(
    clips: Sequence[RememberedClip], source: EvidenceSource, reads: Reads
) -> list[Evidence]:
    """The spans of `clips`, which are in time order; neighbours that came from one tier make one
    span."""
    found: list[Evidence] = []
    run: list[RememberedClip] = []
    tiers = [reads.get(clip.tokens.key, (DEVICE, 0))[0] for clip in clips]
    for index, (clip, tier) in enumerate(zip(clips, tiers, strict=True)):
        run.append(clip)
        if index + 1 == len(clips) or tiers[index + 1] != tier:
            found += [Evidence(start_s, end_s, source, tier) for start_s, end_s in spans_s(run)]
            run = []
    return found


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
