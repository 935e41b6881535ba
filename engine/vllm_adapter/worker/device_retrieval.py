"""`DeviceRetriever`: retrieval in which the device chooses and places, and nobody waits for it.

It does what `LayerRetriever` does, see there, with operations of fixed shapes: scores against the
index on the device, the best of them there, and their KV read from the pool by numbers that only
the device knows. At the end of the step one copy tells the host what was chosen in all layers.

It takes what the settings of most models ask for: candidates of one size that lie in the pool, no
second look, no traces. What it does not take, `LayerRetriever` does.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from onlooker.engine.memory.key_runs import KeyRuns
from onlooker.engine.memory.plan import DEVICE, Reads
from onlooker.engine.memory.ranking import RetrievalPolicy
from onlooker.engine.vllm_adapter.wire import RetrieveOp
from onlooker.engine.vllm_adapter.worker.arena import Segment, SegmentArena
from onlooker.engine.vllm_adapter.worker.head_group import ALONE, HeadGroup
from onlooker.engine.vllm_adapter.worker.index import SegmentGroup
from onlooker.engine.vllm_adapter.worker.pool import TokenPool
from onlooker.engine.vllm_adapter.worker.rotary import Rotary, Rotation
from onlooker.engine.vllm_adapter.worker.rows import StepRows
from onlooker.engine.vllm_adapter.worker.scores import SCORES, assembled, of_best_part
from onlooker.engine.vllm_adapter.worker.selection import best, standardised
from onlooker.engine.vllm_adapter.worker.streams import DeviceStreams

Write = Callable[[int, torch.Tensor, torch.Tensor], None]
"""A function that writes into some KV slots of one layer what they are to have, [slots, kv_heads, 2
* head_dim]; all on the device."""


@dataclass(slots=True)
class _Asked:
    """One retrieval, with what the device needs of it."""

    op: RetrieveOp
    keys: KeyRuns
    """Keys of the candidates, then of the recent window where the gate compares it."""
    segments: list[Segment]
    """The candidates, kept so that their runs are not given away; none for a probe."""
    tokens: torch.Tensor
    """The tokens of each candidate in the pool, [candidates, tokens]."""
    bases: torch.Tensor
    place_slots: torch.Tensor
    place_positions: torch.Tensor
    """New positions of what is placed, [memory slots], counted from the first of `place_turns`."""
    place_turns: Rotation
    """What moves a segment by any number of positions that may be needed, in order."""
    groups: list[tuple[SegmentGroup, torch.Tensor]] = field(default_factory=list)
    """Groups of the index, and the places of their members among `keys`."""
    question: slice = field(default_factory=lambda: slice(0))
    """Where the tokens of its question stand among those of all questions."""
    total: torch.Tensor | None = None
    """The votes so far, added up."""
    picks: list[torch.Tensor] = field(default_factory=list)
    """Places of what was chosen, [memory slots] for each layer."""

    @property
    def num_candidates(self) -> int:
        return len(self.op.retrieval.candidates)


@dataclass(slots=True)
class _Questions:
    """The tokens of all questions, one after the other."""

    slots: torch.Tensor
    turns: Rotation
    """What takes the position out of their queries."""
    rows: torch.Tensor | None = None
    """Their rows in the step."""
    are_there: torch.Tensor | None = None
    """Whether each was computed in the step."""

    def queries(self, query: torch.Tensor, step_rows: StepRows) -> torch.Tensor:
        """Their queries in a layer, without position, [tokens, heads, head_dim]."""
        if self.rows is None:
            self.rows, self.are_there = step_rows.find_unchecked(self.slots)
        return self.turns.apply(query.index_select(0, self.rows))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one retrieval."""

    op: RetrieveOp
    picked: list[list[str]]
    """Keys that were placed, for each layer; of a probe one list of what it chose."""
    reads: Reads
    is_torn: bool
    """Whether some token of the question was not computed in the step."""


class DeviceRetriever:
    """Runs the retrievals of one step that it takes, see the module."""

    def __init__(
        self,
        ops: Sequence[RetrieveOp],
        arena: SegmentArena,
        pool: TokenPool,
        rotary: Rotary,
        streams: DeviceStreams,
        *,
        num_layers: int,
        policy: RetrievalPolicy,
        group: HeadGroup = ALONE,
    ) -> None:
        self._rotary = rotary
        self._group = group
        self._policy = policy
        self._score = SCORES[policy.ranking.score]
        self._pool = pool
        voters = policy.ranking.voting_layers
        self._voters = None if voters is None else frozenset(voters)
        self._num_layers = num_layers
        self._seen: set[int] = set()
        self._asked: list[_Asked] = []
        self.others: list[RetrieveOp] = []
        """Retrievals that are not for this way."""
        found = [self._taken(op, arena, streams) for op in ops]
        # Workers with other heads go the same way, or they would wait for each other for ever.
        taken = group.all([asked is not None for asked in found])
        for op, asked, is_taken in zip(ops, found, taken, strict=True):
            if asked is None or not is_taken:
                self.others.append(op)
            else:
                found_in = arena.index.groups(asked.keys, group)
                asked.groups = [(one, streams.up(one.members.numpy())) for one in found_in]
                self._asked.append(asked)
        self._questions: _Questions | None = None
        if self._asked:
            pool.join()
            self._questions = self._all_questions(streams)

    def choose(self, layer: int, query: torch.Tensor, step_rows: StepRows, write: Write) -> None:
        """Choose what `layer` puts into each request's slots, and put it there. `query`: [tokens,
        heads, head_dim], this step's queries with rotary position."""
        self._seen.add(layer)
        votes = self._voters is None or layer in self._voters
        chosen_for = [asked for asked in self._asked if asked.op.place_slots or votes]
        if self._questions is None or not chosen_for:
            return
        queries = self._questions.queries(query, step_rows)
        for asked in chosen_for:
            scores = self._compared(asked, layer, queries[asked.question])
            if votes and (self._voters is not None or not asked.op.place_slots):
                vote = standardised(scores)
                asked.total = vote if asked.total is None else asked.total + vote
            if not asked.op.place_slots:
                continue
            shared = self._voters is not None and asked.total is not None
            ranked = asked.total if shared else scores
            assert ranked is not None
            picks = self._chosen(asked, ranked[: asked.num_candidates])
            asked.picks.append(picks)
            self._place(asked, layer, picks, write)

    def unseen(self) -> list[RetrieveOp]:
        """Retrievals that were not run in all layers."""
        is_done = len(self._seen) == self._num_layers
        return [] if is_done else [asked.op for asked in self._asked]

    def outcomes(self) -> list[Outcome]:
        """What came of the retrievals, when all layers have run. Waits for the device, once."""
        if self._questions is None or (are_there := self._questions.are_there) is None:
            return []
        told = [are_there]
        for asked in self._asked:
            told += asked.picks
            if not asked.op.place_slots and asked.total is not None:
                told.append(asked.total)
        # One number format holds them all without loss: places are small, scores are float32.
        sizes = [one.numel() for one in told]
        host = torch.cat([one.flatten().to(torch.float64) for one in told]).cpu()
        parts = iter(host.split(sizes))
        there = next(parts)
        return [self._outcome(asked, there, parts) for asked in self._asked]

    def _outcome(
        self, asked: _Asked, there: torch.Tensor, parts: Iterator[torch.Tensor]
    ) -> Outcome:
        is_torn = not there[asked.question].numpy().all()
        if asked.op.place_slots:
            places = [next(parts).long().tolist() for _ in asked.picks]
            picked = [[asked.keys[place] for place in layer] for layer in places]
            used = {place for layer in places for place in layer}
            reads = {
                asked.keys[place]: (DEVICE, asked.segments[place].kv_bytes)
                for place in sorted(used)
            }
            return Outcome(asked.op, picked, reads, is_torn)
        if asked.total is None:
            return Outcome(asked.op, [], {}, is_torn)
        older, recent = (
            next(parts)
            .float()
            .split([asked.num_candidates, len(asked.keys) - asked.num_candidates])
        )
        if len(recent) and recent.max() >= older.max():
            return Outcome(asked.op, [[]], {}, is_torn)
        chosen = best(
            older,
            asked.op.retrieval.num_wanted,
            mass=self._policy.mass,
            temperature=self._policy.ranking.temperature,
        )
        return Outcome(asked.op, [[asked.keys[place] for place in chosen]], {}, is_torn)

    def _taken(self, op: RetrieveOp, arena: SegmentArena, streams: DeviceStreams) -> _Asked | None:
        """What the device needs for `op`; None where it is not for this way."""
        retrieval = op.retrieval
        if self._policy.ranking.second_look is not None or retrieval.traces:
            return None
        keys = retrieval.candidates
        if self._policy.gates:
            keys += retrieval.recent
        if arena.index.missing(keys):
            return None
        segments: list[Segment] = []
        if op.place_slots and len(retrieval.candidates) > len(arena):
            return None  # not all can be in the pool
        if op.place_slots:
            found = arena.ready(retrieval.candidates)
            if found is None or len(found) < len(op.place_slots):
                return None
            sizes = {one.num_tokens for one in found} | {len(slot) for slot in op.place_slots}
            if len(sizes) > 1 or any(one.run is None for one in found):
                return None
            segments = found
        size = segments[0].num_tokens if segments else 0
        firsts = np.asarray([one.run.first for one in segments if one.run is not None], np.int64)
        bases = np.asarray([one.base for one in segments], np.int64)
        places = [slot.position for slot in retrieval.slots[: len(op.place_slots)]]
        # Which of these is needed only the device will know.
        least = min(places, default=0) - int(bases.max(initial=0))
        most = max(places, default=0) - int(bases.min(initial=0))

        def up(numbers: object) -> torch.Tensor:
            return streams.up(np.asarray(numbers, np.int64))

        return _Asked(
            op,
            keys,
            segments,
            up(firsts[:, None] + np.arange(size)),
            up(bases),
            up([slot for place in op.place_slots for slot in place]),
            up([place - least for place in places]),
            self._rotary.shifts(up(np.arange(least, most + 1))),
        )

    def _all_questions(self, streams: DeviceStreams) -> _Questions:
        """The questions of all retrievals that are taken, which are told where theirs stands."""
        slots: list[int] = []
        positions: list[int] = []
        for asked in self._asked:
            asked.question = slice(len(slots), len(slots) + len(asked.op.question_slots))
            slots += asked.op.question_slots
            positions += asked.op.question_positions
        places = np.asarray([positions] * 3, np.int64)
        turns = self._rotary.removals(streams.up(places))
        return _Questions(streams.up(np.asarray(slots, np.int64)), turns)

    def _compared(self, asked: _Asked, layer: int, queries: torch.Tensor) -> torch.Tensor:
        """One layer's scores of all keys."""
        if len(asked.groups) == 1:
            group, _ = asked.groups[0]
            return of_best_part(self._group.mean(group.parts(self._score, layer, queries)))
        found = [
            (members, group.parts(self._score, layer, queries)) for group, members in asked.groups
        ]
        return assembled(found, len(asked.keys), self._group)

    def _chosen(self, asked: _Asked, scores: torch.Tensor) -> torch.Tensor:
        """Places of what fills the memory slots, ascending: the best, and where mass needs fewer
        the newest of the others."""
        num_slots = len(asked.op.place_slots)
        top = torch.topk(scores, num_slots)
        if self._policy.mass is None:
            return top.indices.sort().values
        temperature = self._policy.ranking.temperature
        shares = torch.softmax(scores.double() / temperature, 0).index_select(0, top.indices)
        reached = shares.cumsum(0)
        # The first always stays, and each before which the mass is not reached yet.
        stays = torch.cat([reached[:1] == reached[:1], reached[:-1] < self._policy.mass])
        newness = torch.arange(len(scores), device=scores.device)
        preferred = newness.index_add(0, top.indices, stays.long() * len(scores))
        return torch.topk(preferred, num_slots).indices.sort().values

    def _place(self, asked: _Asked, layer: int, picks: torch.Tensor, write: Write) -> None:
        tokens = asked.tokens.index_select(0, picks)
        kv = self._pool.device[:, layer].index_select(0, tokens.flatten())
        moved = asked.place_positions - asked.bases.index_select(0, picks)
        keys = kv[..., : kv.shape[-1] // 2].unflatten(0, tokens.shape)
        asked.place_turns.chosen(moved).each().apply_to(keys)
        write(layer, asked.place_slots, kv)
