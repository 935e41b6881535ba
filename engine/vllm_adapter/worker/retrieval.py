"""Retrieval: which stored segments a request's question asks for.

In one pass (ReKV), each layer ranks the candidates by its own queries and fills the memory slots of
the prompt just before it attends. A *probe* is a request that only asks: it has no slots, and its
report says what was chosen, to be placed as it is in the request that follows.

Where layers vote, their scores are standardised and added up. In one pass a layer can only go by
the votes of layers before it and its own; those before the first voter choose by themselves.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from onlooker.engine.memory.key_runs import KeyRuns
from onlooker.engine.memory.plan import Reads
from onlooker.engine.memory.ranking import LayerTrace, RetrievalPolicy
from onlooker.engine.vllm_adapter.wire import Refusal, RetrieveOp
from onlooker.engine.vllm_adapter.worker.arena import Segment, SegmentArena
from onlooker.engine.vllm_adapter.worker.head_group import ALONE, HeadGroup
from onlooker.engine.vllm_adapter.worker.ranker import LayerView, Ranker
from onlooker.engine.vllm_adapter.worker.rotary import Rotary
from onlooker.engine.vllm_adapter.worker.scores import SCORES, compared
from onlooker.engine.vllm_adapter.worker.selection import Ranked, filled, standardised
from onlooker.engine.vllm_adapter.worker.tracing import traced

MAX_AWAY = 256
"""The most segments that a probe lacks and asks for at once."""

FindRows = Callable[[list[int]], torch.Tensor]
"""A function that finds the rows of this step's batch that belong to given KV slots."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What one layer put into one request's slots."""

    request_id: str
    chosen: list[str]
    """Keys of the chosen segments in time order, one for each slot."""
    keys: torch.Tensor
    values: torch.Tensor
    """Values, [tokens, kv_heads, head_dim]; so are `keys`, which are rotated to their new place."""
    slots: list[int]


@dataclass(slots=True)
class _Retrieval:
    """One request's candidates, and the votes so far."""

    op: RetrieveOp
    keys: KeyRuns
    """Keys of the candidates, then of the recent window where the gate compares it."""
    ranker: Ranker
    votes: list[LayerView] = field(default_factory=list)

    @property
    def num_candidates(self) -> int:
        return len(self.op.retrieval.candidates)


class LayerRetriever:
    """Runs the retrievals of one step, see the module.

    Args:
        reads: is filled with which segments were read and where they lay, by request.
        group: the workers that have the other heads.
        beside: segments that were fetched for requests, also where the arena has no room for them.
    """

    def __init__(
        self,
        ops: list[RetrieveOp],
        arena: SegmentArena,
        rotary: Rotary,
        *,
        num_layers: int,
        policy: RetrievalPolicy,
        reads: dict[str, Reads] | None = None,
        group: HeadGroup = ALONE,
        beside: Mapping[str, Mapping[str, Segment]] | None = None,
    ) -> None:
        self._group = group
        self._beside = beside or {}
        self._arena = arena
        self._rotary = rotary
        self._policy = policy
        self._reads = {} if reads is None else reads
        self._score = SCORES[policy.ranking.score]
        voters = policy.ranking.voting_layers
        self._voters = None if voters is None else frozenset(voters)
        self._last_voter = num_layers - 1 if voters is None else max(voters)
        self._retrievals: list[_Retrieval] = []
        self._seen: set[int] = set()
        """Layers that have chosen."""
        self.probed: dict[str, list[str]] = {}
        """Keys that probes chose, by request, in time order."""
        self.traced: dict[str, list[LayerTrace]] = {}
        """All scores of the candidates, one entry for each layer, by the request that wants
        them."""
        self.away: dict[str, list[str]] = {}
        """Keys of segments that a request has to look into and that are not held ready."""
        self.lost: dict[str, tuple[list[int], list[str]]] = {}
        """Requests of which some segment is not held ready that a layer is to place: their blocks,
        and keys of segments that cannot be compared."""
        self.unfit: dict[str, Refusal] = {}
        """Requests that chose a segment of another size than its slot, by request: nothing is
        placed of them any more, and they must fail."""
        recents = [op.retrieval.recent if policy.gates else KeyRuns() for op in ops]
        missing = [
            arena.index.missing(op.retrieval.candidates + recent)
            for op, recent in zip(ops, recents, strict=True)
        ]
        # What one worker cannot rank none does: they would wait for it in every layer.
        known = group.all([not lacking for lacking in missing])
        for op, recent, lacking, is_known in zip(ops, recents, missing, known, strict=True):
            if not is_known:
                self._miss(op, lacking)
                continue
            candidates = op.retrieval.candidates
            ranker = Ranker(arena.index, self._score, candidates, recent, self._voters, group=group)
            self._retrievals.append(_Retrieval(op, candidates + recent, ranker))

    def choose(self, layer: int, query: torch.Tensor, find_rows: FindRows) -> Iterator[Placement]:
        """Choose what `layer` puts into each request's slots. `query`: [tokens, heads, head_dim],
        this step's queries with rotary position."""
        self._seen.add(layer)
        for retrieval in self._retrievals:
            op = retrieval.op
            is_asked = bool(op.place_slots) or self._votes(layer)
            if not is_asked and not op.retrieval.traces:
                continue
            rows = find_rows(op.question_slots)
            positions = torch.tensor(op.question_positions).expand(3, -1)
            queries = self._rotary.remove(query[rows].cpu(), positions)
            if op.retrieval.traces:
                trace = traced(
                    self._arena,
                    op.retrieval.candidates,
                    layer,
                    queries,
                    self._rotary,
                    self._group,
                )
                self.traced.setdefault(op.request_id, []).append(trace)
            if not is_asked:
                continue
            look = LayerView(layer, queries)
            if self._votes(layer):
                retrieval.votes.append(look)
            if not op.place_slots:
                if layer == self._last_voter:
                    self.probed[op.request_id] = self._asked(retrieval)
                continue
            if op.request_id in self.unfit:
                continue
            placed = self._place(retrieval, layer, self._chosen(retrieval, look))
            if op.request_id in self.unfit:
                continue
            if placed is None:
                self.lost[op.request_id] = op.block_ids, []
            else:
                yield placed

    def unseen(self, num_layers: int) -> list[RetrieveOp]:
        """Retrievals that were not run in all of the model's `num_layers`."""
        is_done = len(self._seen) == num_layers
        return [] if is_done else [retrieval.op for retrieval in self._retrievals]

    def _miss(self, op: RetrieveOp, lacking: Sequence[str]) -> None:
        """Note that segments would have to be read from the store below: a probe says which, and
        what was to place some is lost."""
        if op.place_slots:
            self.lost[op.request_id] = op.block_ids, list(lacking)
        else:
            self.away[op.request_id] = list(lacking[:MAX_AWAY])

    def _votes(self, layer: int) -> bool:
        """Whether `layer` votes. In a probe all layers do where none are named."""
        return self._voters is None or layer in self._voters

    def _chosen(self, retrieval: _Retrieval, own: LayerView) -> list[int]:
        """Which candidates a layer places, in time order."""
        shared = self._voters is not None and bool(retrieval.votes)
        num_slots = len(retrieval.op.place_slots)
        ranked = self._ranked(retrieval, retrieval.votes if shared else [own], shared, num_slots)
        chosen = self._best(ranked.before(retrieval.num_candidates), num_slots)
        return filled(chosen, retrieval.num_candidates, num_slots)

    def _asked(self, retrieval: _Retrieval) -> list[str]:
        """Keys that a probe chooses, in time order; none where the recent window matches as well as
        any older clip."""
        wanted = retrieval.op.retrieval.num_wanted
        ranked = self._ranked(retrieval, retrieval.votes, True, wanted)
        older = ranked.before(retrieval.num_candidates)
        recent = ranked.scores[ranked.places >= retrieval.num_candidates]
        if len(recent) and (not len(older) or recent.max() >= older.scores.max()):
            return []
        return [retrieval.keys[place] for place in self._best(older, wanted)]

    def _best(self, ranked: Ranked, count: int) -> list[int]:
        temperature = self._policy.ranking.temperature
        return ranked.best(count, mass=self._policy.mass, temperature=temperature)

    def _ranked(
        self, retrieval: _Retrieval, looks: Sequence[LayerView], is_vote: bool, count: int
    ) -> Ranked:
        """The scores of `looks` as one, after the second look, if there is one."""
        second_look = self._policy.ranking.second_look
        num_short = count
        if second_look is not None:
            num_short = max(self._policy.ranking.shortlist_clips, count)
        ranked = retrieval.ranker.rank(looks, is_vote=is_vote, count=num_short)
        if second_look is None:
            return ranked
        top = torch.topk(ranked.scores, min(len(ranked), num_short)).indices
        short = ranked.places[top].sort().values
        keys = [retrieval.keys[place] for place in short.tolist()]
        beside = self._beside.get(retrieval.op.request_id, {})
        segments = self._arena.get_held(keys, self._reads_of(retrieval), beside)
        (is_there,) = self._group.all([segments is not None])
        if segments is None or not is_there:
            if segments is None:
                self._miss(retrieval.op, keys)  # all, so that none makes room for the others
            return ranked
        finer = SCORES[second_look]
        found = []
        for look in looks:
            plain = (one.plain_in(look.layer, self._rotary) for one in segments)
            keys = [one for one in plain if one is not None]
            found.append(compared(finer, look.queries, keys, self._group))
        again = torch.stack([standardised(one) for one in found]).sum(0) if is_vote else found[0]
        # The others count as no better than the worst that was looked at again.
        return Ranked(short, again, len(retrieval.keys) - len(short), again.min()[None])

    def _place(self, retrieval: _Retrieval, layer: int, places: list[int]) -> Placement | None:
        """Keys and values of the candidates at `places`, for the slots of `layer`; None when one of
        them is not held ready."""
        op = retrieval.op
        chosen = [retrieval.keys[place] for place in places]
        segments = self._arena.get_held(chosen, self._reads_of(retrieval))
        if segments is None:
            return None
        for key, segment, slot in zip(chosen, segments, op.place_slots, strict=True):
            if segment.num_tokens != len(slot):
                # Written all the same, it would go past the slots into blocks of others.
                reason = (
                    f"segment {key} has {segment.num_tokens} tokens and its slot {len(slot)}: "
                    "clips of several sizes are chosen by a probe, not in one pass"
                )
                self.unfit[op.request_id] = Refusal(op.request_id, reason, op.block_ids)
                return None
        delta = torch.tensor(
            [
                place.position - segment.base
                for segment, place in zip(segments, op.retrieval.slots, strict=True)
                for _ in range(segment.num_tokens)
            ]
        )
        return Placement(
            request_id=op.request_id,
            chosen=chosen,
            keys=self._rotary.shift(torch.cat([s.keys[layer] for s in segments]), delta),
            values=torch.cat([s.values[layer] for s in segments]),
            slots=[slot for place in op.place_slots for slot in place],
        )

    def _reads_of(self, retrieval: _Retrieval) -> Reads:
        return self._reads.setdefault(retrieval.op.request_id, {})
