"""`HostRig`: one worker on layers of a real model's shape, step by step."""

import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch

from onlooker.benchmarks.host.pretended_device import (
    PretendedDevice,
    PretendedStreams,
    PretendedTensor,
)
from onlooker.benchmarks.host.shaped_layers import BLOCK_TOKENS, LayersShape, ShapedLayers
from onlooker.engine.memory.index_split import coarse_row_bytes, in_units
from onlooker.engine.memory.key_runs import KeyRuns
from onlooker.engine.memory.plan import MemorySlot, RetrievalPlan, SaveSpan
from onlooker.engine.memory.ranking import RetrievalPolicy
from onlooker.engine.vllm_adapter.wire import (
    AdapterSettings,
    LoadOp,
    Mover,
    RetrieveOp,
    SaveOp,
    WorkerPlan,
    WorkerReport,
)
from onlooker.engine.vllm_adapter.worker.scores import SCORES
from onlooker.engine.vllm_adapter.worker.streams import (
    DeviceStreams,
    HostStreams,
    streams_of,
)
from onlooker.engine.vllm_adapter.worker.worker import SegmentWorker

CLIP_TOKENS = 80
NUM_CLIPS = 24
"""Clips that are remembered. An answer loads the newest and chooses among the others."""
NUM_INGESTED = 16
NUM_LOADED = 16
NUM_CHOSEN = 4
QUESTION_TOKENS = 20
_HOST_SAVING_BYTES = 24 << 20
"""Keys of two clips of the 8B model, where ordinary memory stands in for a GPU's: what is made of
more at once are fresh pages each time."""
_CONTEXT = (NUM_LOADED + NUM_CHOSEN) * CLIP_TOKENS + QUESTION_TOKENS
"""Tokens of an answer's context, as far as it is known when it begins."""


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one step took."""

    waits: dict[str, int]
    """How often the processor waited for the device, by the operation."""
    launches: int
    """Operations that the device was given for stream memory and by the layers."""
    host_s: float
    """Processor time of the step's thread, without what the device did."""
    elapsed_s: float
    report: WorkerReport

    @property
    def num_waits(self) -> int:
        return sum(self.waits.values())


class HostRig:
    """A worker and its layers, on a pretended device, on a real one, or on the host.

    Args:
        rows_here: clips whose rows of the index the device has room for; the rows of older ones go
            to the host, and a question compares as few of them whole as it may choose. None: room
            for all.
        has_room: whether the pool has room for what is saved beyond the first clips; else that goes
            by the ring.
    """

    def __init__(
        self,
        shape: LayersShape,
        mover: Mover,
        *,
        is_pretended: bool,
        device: torch.device | None = None,
        policy: RetrievalPolicy | None = None,
        rows_here: int | None = None,
        has_room: bool = True,
    ) -> None:
        self._real = None if device is None or device.type == "cpu" else device
        self.device = PretendedDevice() if is_pretended else None
        num_tokens = 2 * (_CONTEXT + BLOCK_TOKENS) + NUM_LOADED * CLIP_TOKENS
        self.shape = shape
        num_blocks = -(-num_tokens // BLOCK_TOKENS)
        self.layers = ShapedLayers(shape, num_blocks=num_blocks, put=self._put, device=self._real)
        self._given_before: dict[tuple[int, ...], tuple[dict[str, torch.Tensor], torch.Tensor]] = {}
        clip_bytes = CLIP_TOKENS * shape.token_bytes
        settings = AdapterSettings(
            mover=mover,
            policy=policy or RetrievalPolicy(),
            pool_bytes=(NUM_CLIPS + NUM_INGESTED if has_room else NUM_CLIPS) * clip_bytes,
            ring_bytes=NUM_INGESTED * clip_bytes,
        )
        if self.device is None and self._real is None:
            settings = replace(settings, saving_bytes=_HOST_SAVING_BYTES)
        if rows_here is not None:
            settings = _with_index(settings, shape, rows_here)
        self.worker = SegmentWorker(settings, shape.rotary, self._streams)
        with self.entered(), torch.no_grad():
            if self.device is not None:
                self.device.calibrate()
            self.worker.attach(self.layers.seams)
        self.ingest(range(NUM_CLIPS - NUM_LOADED, NUM_CLIPS))
        self.ingest(range(NUM_CLIPS - NUM_LOADED))

    def decode(self) -> StepCost:
        """Two answers compute a token each."""
        return self._step(WorkerPlan(), range(2))

    def ingest(self, clips: Iterable[int]) -> StepCost:
        """Clips of these numbers are seen, all in one step."""
        saves = [
            SaveOp(f"clip {clip}", _span(clip), 0, list(_slots(place)))
            for place, clip in enumerate(clips)
        ]
        count = len(saves) * CLIP_TOKENS
        return self._step(WorkerPlan(saves=saves), range(count))

    def answer(self, count: int) -> StepCost:
        """As many questions are asked at once; each loads a window and chooses clips."""
        plan = WorkerPlan()
        slots: list[int] = []
        for number in range(count):
            first = number * (_CONTEXT + BLOCK_TOKENS)
            plan.loads.append(_load(number, first))
            plan.retrievals.append(_retrieval(number, first + NUM_LOADED * CLIP_TOKENS))
            slots += plan.retrievals[-1].question_slots
        return self._step(plan, slots)

    def load(self) -> StepCost:
        """A window is loaded, for a prompt of one token."""
        return self._step(WorkerPlan(loads=[_load(0, 0)]), [_CONTEXT])

    def plain(self, num_clips: int) -> StepCost:
        """A step of the tokens of so many clips, or of one token, that remembers nothing."""
        return self._step(WorkerPlan(), range(num_clips * CLIP_TOKENS or 1))

    def close(self) -> None:
        """End what the worker runs."""
        self.worker.close()

    def _step(self, plan: WorkerPlan, slots: Sequence[int]) -> StepCost:
        """One step of vLLM's, in its order. The layers' own work is the device's."""
        tokens, mapping = self._given(tuple(slots))
        with self.entered(), torch.no_grad():
            if self.device is not None:
                self.device.reset()
            began_s, began_host_s = time.perf_counter(), time.thread_time()
            self.worker.begin(plan)
            self.worker.load()
            self.layers.run(tokens, mapping)
            self.worker.end()
            elapsed_s = time.perf_counter() - began_s
            host_s = time.thread_time() - began_host_s
        bad = self.worker.take_bad_blocks()
        assert not bad, "the step did not do what its plan says"
        device = self.device
        return StepCost(
            {} if device is None else dict(device.waits),
            0 if device is None else device.num_launches,
            host_s if device is None else host_s - device.spent_s,
            elapsed_s,
            self.worker.take_report(),
        )

    def _given(self, slots: tuple[int, ...]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """What the model computes for a step, and the slots where it lies. Both are brought to the
        device with the first such step, so that nobody waits for that in the others."""
        if slots not in self._given_before:
            tokens = self.layers.tokens(len(slots))
            self._given_before[slots] = tokens, self._put(torch.tensor(slots))
        return self._given_before[slots]

    def _streams(self, device: torch.device) -> DeviceStreams:
        if self._real is not None:
            return streams_of(self._real)
        return HostStreams() if self.device is None else PretendedStreams(self.device)

    def _put(self, tensor: torch.Tensor) -> torch.Tensor:
        if self._real is not None:
            return tensor.to(self._real)
        return tensor if self.device is None else PretendedTensor(tensor)

    def entered(self) -> "nullcontext[None] | PretendedDevice":
        """A context in which the device can be used."""
        return nullcontext() if self.device is None else self.device


def _with_index(settings: AdapterSettings, shape: LayersShape, rows_here: int) -> AdapterSettings:
    """Room of the device for the rows of so many clips and the coarse ones of all others."""
    score = SCORES[settings.policy.ranking.score]
    one = torch.zeros(1, CLIP_TOKENS, shape.num_kv_heads, shape.head_dim, dtype=shape.dtype)
    row_bytes = shape.num_layers * in_units(score.entries(one, None).nbytes)
    coarse_bytes = coarse_row_bytes(shape.num_layers, shape.num_kv_heads, shape.head_dim)
    num_below = NUM_CLIPS + NUM_INGESTED - rows_here
    return replace(
        settings,
        policy=settings.policy.model_copy(update={"scan_clips": NUM_CHOSEN}),
        index_bytes=rows_here * row_bytes + num_below * coarse_bytes,
        index_host_bytes=num_below * row_bytes,
    )


def _key(clip: int) -> str:
    return f"model/tenant/stream/0/clip/{clip:010d}"


def _slots(place: int) -> range:
    return range(place * CLIP_TOKENS, (place + 1) * CLIP_TOKENS)


def _span(clip: int) -> SaveSpan:
    side = 9
    offsets = [
        [0] * CLIP_TOKENS,
        [token // side for token in range(CLIP_TOKENS)],
        [token % side for token in range(CLIP_TOKENS)],
    ]
    return SaveSpan(_key(clip), 0, CLIP_TOKENS, 100, offsets)


def _load(number: int, first: int) -> LoadOp:
    clips = range(NUM_CLIPS - NUM_LOADED, NUM_CLIPS)
    return LoadOp(
        request_id=f"answer {number}",
        keys=[_key(clip) for clip in clips],
        positions=[16 * place for place in range(NUM_LOADED)],
        skip=0,
        slots=list(range(first, first + NUM_LOADED * CLIP_TOKENS)),
        block_ids=[],
        tells_reads=True,
    )


def _retrieval(number: int, first: int) -> RetrieveOp:
    places = [range(_first, _first + CLIP_TOKENS) for _first in _starts(first)]
    asked = first + NUM_CHOSEN * CLIP_TOKENS
    plan = RetrievalPlan(
        slots=[MemorySlot(0, CLIP_TOKENS, 300 + 16 * place) for place in range(NUM_CHOSEN)],
        candidates=KeyRuns.of([_key(clip) for clip in range(NUM_CLIPS - NUM_LOADED)]),
        recent=KeyRuns(),
        num_wanted=NUM_CHOSEN,
        traces=False,
        question_start=0,
        question_tokens=QUESTION_TOKENS,
        question_position=500,
    )
    return RetrieveOp(
        request_id=f"answer {number}",
        retrieval=plan,
        place_slots=[list(place) for place in places],
        question_slots=list(range(asked, asked + QUESTION_TOKENS)),
        question_positions=list(range(500, 500 + QUESTION_TOKENS)),
        block_ids=[1],
    )


def _starts(first: int) -> list[int]:
    return [first + place * CLIP_TOKENS for place in range(NUM_CHOSEN)]
