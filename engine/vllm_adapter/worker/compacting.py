"""`Compacting`: measures stored segments, and makes smaller ones of them, beside the steps.

What stays of a segment is decided by the server, for all workers alike, since each has other heads.
A worker measures (in a thread), makes the new segments (in a thread), and takes them up (between
two steps). The new segment has a key of its own: whoever reads the old one goes on doing so until
the server lets go of it, and after a crash either of the two is whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from onlooker.engine.memory.compaction import Blend, Measure
from onlooker.engine.memory.plan import SaveSpan
from onlooker.engine.vllm_adapter.wire import CompactOp, MeasureOp
from onlooker.engine.vllm_adapter.worker.arena import Segment, SegmentArena
from onlooker.engine.vllm_adapter.worker.claims import Claims
from onlooker.engine.vllm_adapter.worker.inquiries import Inquiries
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.vault import Vault

ASKING = 16
"""Tokens at the end of a stream's newest clip whose attention is measured."""

_MAX_STREAMS = 1024
"""Streams of whose newest clips queries are kept."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A segment that is ready to be taken up."""

    span: SaveSpan
    segment: Segment
    entries: torch.Tensor
    was_held: bool
    """Whether the segment of which it was made was held ready."""


class Compacting:
    """See the module.

    Args:
        settle: waits, in a thread, until what was saved can be read.
        claims: whose segments are taken up; None: everybody's.
    """

    def __init__(
        self,
        arena: SegmentArena,
        vault: Vault | None,
        rotary: Rotary,
        inquiries: Inquiries,
        settle: Callable[[], None],
        claims: Claims | None = None,
    ) -> None:
        self._arena = arena
        self._vault = vault
        self._rotary = rotary
        self._inquiries = inquiries
        self._settle = settle
        self._claims = claims or Claims()
        self._made: dict[str, dict[str, _Made]] = {}
        """By the name of the question, of which each gateway has its own."""
        self._queries: dict[str, torch.Tensor] = {}

    def note_queries(self, key: str, queries: torch.Tensor) -> None:
        """Keep the queries of a clip that was saved, [layers, tokens, heads, head_dim] without
        position, until its stream has a newer one."""
        stem = key.rpartition("/")[0]
        self._queries.pop(stem, None)
        if len(self._queries) >= _MAX_STREAMS:
            del self._queries[next(iter(self._queries))]
        self._queries[stem] = queries[:, -ASKING:].clone()

    def forget(self, prefix: str) -> None:
        """Let go of what is known of a stream."""
        for stem in [stem for stem in self._queries if stem.startswith(prefix)]:
            del self._queries[stem]

    def measure(self, name: str, op: MeasureOp | None) -> dict[str, list[float]] | None:
        """Measure segments, by their keys; see `wire.measure_segments`. Those that cannot be read
        are left out."""
        if op is not None:
            held = self._arena.found_here([op.newest, *op.asked])
            asking = self._queries.get(op.newest.rpartition("/")[0])
            self._inquiries.begin(f"measure {name}", lambda: self._measured(op, held, asking))
        found: dict[str, list[float]] | None = self._inquiries.answer(f"measure {name}")
        return found

    def compact(self, name: str, ops: Sequence[CompactOp] | None) -> list[str] | None:
        """Make segments; see `wire.compact_segments`."""
        if ops is not None:
            self._made.pop(name, None)
            held = self._arena.found_here(op.key for op in ops)
            self._inquiries.begin(f"compact {name}", lambda: self._make(ops, held))
        made: dict[str, _Made] | None = self._inquiries.answer(f"compact {name}")
        if made is None:
            return None
        self._made[name] = made
        return list(made)

    def take_up(self, keys: Sequence[str]) -> None:
        """Hold those of the segments that were made whose keys these are, and hand them to the
        store; see `wire.take_up_segments`."""
        names = [name for name, made in self._made.items() if not made.keys().isdisjoint(keys)]
        made = {key: one for name in names for key, one in self._made.pop(name).items()}
        for key in keys:
            one = made[key]
            if self._claims.has_passed(key, one.span.epoch):
                continue
            if one.was_held:
                self._arena.put(key, one.segment, one.entries)
            else:
                self._arena.add_entries(key, one.entries)
            if self._vault is not None:
                self._vault.save(one.span, one.segment, one.entries)

    # ---- in a thread

    def _read(self, keys: Sequence[str], held: dict[str, Segment]) -> dict[str, Segment]:
        self._settle()
        found = {key: held[key] for key in keys if key in held}
        lacking = [key for key in keys if key not in held]
        if lacking and self._vault is not None:
            found |= {key: one for key, (one, _) in self._vault.load(lacking).items()}
        return found

    def _measured(
        self, op: MeasureOp, held: dict[str, Segment], asking: torch.Tensor | None
    ) -> dict[str, list[float]]:
        keys = list(op.asked)
        if op.measure == "attention" and asking is None:
            # Where queries were not kept, keys stand in for them.
            newest = self._read([op.newest], held).get(op.newest)
            if newest is None:
                return {}
            asking = self._plain(newest)[:, -ASKING:]
        return {
            key: self._measure(segment, op.measure, op.asked[key], asking).tolist()
            for key, segment in self._read(keys, held).items()
        }

    def _measure(
        self,
        segment: Segment,
        measure: Measure,
        pairs: Sequence[tuple[int, int]],
        asking: torch.Tensor | None,
    ) -> torch.Tensor:
        if measure == "value_norm":
            norms = segment.values.float().norm(dim=-1)  # [layers, tokens, heads]
            return (norms / norms.mean(1, keepdim=True).clamp(min=1e-12)).mean((0, 2))
        if measure == "attention":
            assert asking is not None
            return attention(asking, self._plain(segment))
        if measure == "likeness" and pairs:
            one, other = torch.tensor(pairs).T
            parts = [self._plain(segment).float(), segment.values.float()]
            alike = [
                torch.nn.functional.cosine_similarity(part[:, one], part[:, other], dim=-1)
                for part in parts
            ]
            return torch.stack(alike).mean((0, 1, 3))
        return torch.zeros(0)

    def _make(self, ops: Sequence[CompactOp], held: dict[str, Segment]) -> dict[str, _Made]:
        found: dict[str, _Made] = {}
        read = self._read([op.key for op in ops], held)
        for op in ops:
            if (whole := read.get(op.key)) is not None:
                segment, entries = self._compacted(whole, op.span, op.left)
                found[op.span.key] = _Made(op.span, segment, entries, op.key in held)
        return found

    def _compacted(
        self, whole: Segment, span: SaveSpan, left: Sequence[Blend]
    ) -> tuple[Segment, torch.Tensor]:
        """The segment of what is left, and what the index keeps of it."""
        rows = torch.tensor([row for row, _ in left])
        all_plain = self._plain(whole)
        keys, values, plain = (
            part.index_select(1, rows) for part in (whole.keys, whole.values, all_plain)
        )
        places = torch.tensor(span.offsets) + whole.base
        for at, (row, members) in enumerate(left):
            if members == [row]:
                continue
            for part, source in ((values, whole.values), (plain, all_plain)):
                part[:, at] = source[:, members].float().mean(1).to(part.dtype)
            turned = self._rotary.remove(plain[:, at : at + 1], -places[:, at : at + 1])
            keys[:, at : at + 1] = turned
        is_by_token = self._arena.score.is_by_token
        entries = self._arena.entries(plain if is_by_token else all_plain)
        if whole.plain_keys is None:
            return Segment(keys, values, whole.base, None, span.offsets), entries
        return Segment(keys, values, whole.base, plain), entries

    def _plain(self, segment: Segment) -> torch.Tensor:
        """The keys of a segment without position."""
        if segment.plain_keys is not None:
            return segment.plain_keys
        return self._rotary.remove(segment.keys, torch.tensor(segment.offsets) + segment.base)


def attention(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """The share of their attention that `queries`, [layers, queries, heads, head_dim], give to each
    of `keys`, [layers, tokens, kv_heads, head_dim]: [tokens], the mean over all of them. Both are
    without position: what is near is not looked at for that."""
    grouped = queries.float().unflatten(2, (keys.shape[2], -1))
    logits = torch.einsum("lqhgd,lkhd->lhgqk", grouped, keys.float()) * keys.shape[-1] ** -0.5
    return logits.softmax(-1).mean((0, 1, 2, 3))
