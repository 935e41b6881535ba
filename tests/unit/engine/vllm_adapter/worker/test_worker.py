"""The worker's half of a step, on layers without a model."""

import logging
from dataclasses import replace

import pytest
import torch

from onlooker.engine.memory.key_runs import KeyRuns
from onlooker.engine.memory.plan import MemorySlot, RetrievalPlan, SaveSpan
from onlooker.engine.vllm_adapter.wire import (
    AdapterSettings,
    LoadOp,
    Refusal,
    RetrieveOp,
    SaveOp,
    WorkerPlan,
    WorkerReport,
)
from onlooker.engine.vllm_adapter.worker import layer_hook_mover
from onlooker.engine.vllm_adapter.worker.worker import SegmentWorker
from tests.fakes.attention import FakeAttention, make_rotary, rows_of

CLIP = 4
"""Tokens of a clip."""

CANDIDATES = ["s/1", "s/2", "s/3"]

QUESTION = list(range(100, 106))
"""KV slots of the question's tokens."""


class Rig:
    """A worker and its layers; clips 1 to 3 are stored."""

    def __init__(self) -> None:
        self.model = FakeAttention()
        self.worker = SegmentWorker(AdapterSettings(), make_rotary())
        self.worker.attach(self.model.seams)
        for index, key in enumerate(CANDIDATES):
            self.run(WorkerPlan(saves=[saving(key, range(index * CLIP, (index + 1) * CLIP))]))
        self.worker.take_report()

    def run(
        self, plan: WorkerPlan, *, slots: list[int] | None = None, replayed: set[int] | None = None
    ) -> tuple[WorkerReport, set[int]]:
        """One step; returns its report and the blocks that it calls bad."""
        if slots is None:
            slots = [slot for op in plan.saves for slot in op.slots]
            slots += [slot for op in plan.retrievals for slot in op.question_slots]
        self.worker.begin(plan)
        self.worker.load()
        self.model.step(slots, padded=3, replayed=replayed)
        self.worker.end()
        return self.worker.take_report(), self.worker.take_bad_blocks()


@pytest.fixture
def rig() -> Rig:
    return Rig()


ALL = {0, 1, 2}
"""All layers."""


def saving(key: str, slots: range, *, first: int = 0, request_id: str = "clip") -> SaveOp:
    span = SaveSpan(key, 0, CLIP, 0, offsets=[list(range(CLIP))] * 3)
    return SaveOp(request_id, span, first, list(slots))


def asking(request_id: str = "question", *, blocks: tuple[int, ...] = (8, 9)) -> RetrieveOp:
    """A question with one memory slot, at KV slots 200 to 203."""
    return _retrieval(request_id, [list(range(200, 200 + CLIP))], blocks)


def probing(request_id: str = "probe") -> RetrieveOp:
    return _retrieval(request_id, [], (8, 9))


def _retrieval(request_id: str, places: list[list[int]], blocks: tuple[int, ...]) -> RetrieveOp:
    plan = RetrievalPlan(
        slots=[MemorySlot(10, CLIP, 10) for _ in places],
        candidates=KeyRuns.of(CANDIDATES),
        recent=KeyRuns(),
        num_wanted=1,
        traces=False,
        question_start=20,
        question_tokens=len(QUESTION),
        question_position=20,
    )
    positions = list(range(20, 20 + len(QUESTION)))
    return RetrieveOp(request_id, plan, places, QUESTION, positions, list(blocks))


def test_a_clip_is_kept_as_all_layers_computed_it(rig: Rig) -> None:
    report, bad = rig.run(WorkerPlan(saves=[saving("s/4", range(40, 44))]))
    segment = rig.worker.arena.get("s/4")
    assert segment is not None
    for layer in range(3):
        expected = rows_of(layer, torch.arange(40, 44), 1)
        assert torch.equal(segment.keys[layer], expected)
    assert (report.saved, bad) == ({"clip": ["s/4"]}, set())


def test_a_clip_of_a_gateway_that_has_lost_its_stream_is_not_kept(rig: Rig) -> None:
    """Several gateways write through one worker. One that hung for longer than its lease lasts had
    this under way, and it would stand in the place of what the next owner remembers."""
    key = "model/acme/door/7/clip/0000000004"
    late = saving(key, range(40, 44))
    late = replace(late, span=replace(late.span, epoch=1))
    rig.worker.claims.own("acme/door", 2)
    report, bad = rig.run(WorkerPlan(saves=[late]))
    assert rig.worker.arena.get(key) is None
    assert (report.saved, bad) == ({}, set())
    owners = replace(late, span=replace(late.span, epoch=2))
    report, _ = rig.run(WorkerPlan(saves=[owners]))
    assert report.saved == {"clip": [key]}


def test_a_question_fills_its_slots_in_every_layer(rig: Rig) -> None:
    report, bad = rig.run(WorkerPlan(retrievals=[asking()]))
    assert [len(layer) for layer in report.picked["question"]] == [1, 1, 1]
    assert bad == set()
    for cache in rig.model.caches:
        assert bool(cache[1, 200 : 200 + CLIP].any())


@pytest.mark.parametrize("skipped", [ALL, {0}, {1}, {2}])
def test_a_question_whose_layers_did_not_all_choose_fails(
    rig: Rig, skipped: set[int], caplog: pytest.LogCaptureFixture
) -> None:
    """A replayed graph goes past the hooks: the memory slots keep what their blocks held, and the
    answer would be about that."""
    with caplog.at_level(logging.ERROR):
        _, bad = rig.run(WorkerPlan(retrievals=[asking()]), replayed=skipped)
    assert bad == {8, 9}
    assert "did not run in all layers" in caplog.text


def test_a_clip_of_another_size_is_not_written_past_its_slot(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernels that write KV check nothing: a clip that is longer than its slot would end up in
    the blocks of other requests, or end the process."""
    for key in CANDIDATES:
        large = SaveSpan(key, 0, CLIP + 2, 0, offsets=[list(range(CLIP + 2))] * 3)
        rig.run(WorkerPlan(saves=[SaveOp("clip", large, 0, list(range(CLIP + 2)))]))
    before = [cache.clone() for cache in rig.model.caches]
    with caplog.at_level(logging.ERROR):
        report, bad = rig.run(WorkerPlan(retrievals=[asking()]))
    assert bad == {8, 9}
    assert "question" not in report.picked
    assert "has 6 tokens and its slot 4" in caplog.text
    for cache, was in zip(rig.model.caches, before, strict=True):
        assert torch.equal(cache[1, 200:], was[1, 200:])


def test_a_load_of_another_size_than_planned_fails_its_request_alone(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    short = LoadOp("short", ["s/1"], [0], 0, list(range(220, 223)), [20], False)
    right = LoadOp("right", ["s/2"], [0], 0, list(range(230, 230 + CLIP)), [21], False)
    with caplog.at_level(logging.ERROR):
        _, bad = rig.run(WorkerPlan(loads=[short, right]))
    assert bad == {20}
    assert "segments of 4 tokens for places of 3 tokens" in caplog.text
    assert bool(rig.model.caches[0][1, 230 : 230 + CLIP].any())
    assert not bool(rig.model.caches[0][1, 220:230].any())


@pytest.mark.parametrize(("at_once", "written"), [(1, [2, 4, 4]), (7, [6, 4]), (8, [6, 4])])
def test_what_many_windows_need_is_placed_in_parts(
    rig: Rig, at_once: int, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, slots = ["s/2", "s/1", "s/3"], [220, 221, *range(230, 238)]
    load = WorkerPlan(loads=[LoadOp("window", keys, [7, 0, 40], 2, slots, [20], False)])
    whole = Rig()
    whole.run(load)
    monkeypatch.setattr(layer_hook_mover, "LOADED_AT_ONCE", at_once)
    sizes: list[int] = []
    layer = rig.model.seams[0]
    write = layer.write

    def counted(keys: torch.Tensor, values: torch.Tensor, slots: torch.Tensor) -> None:
        sizes.append(len(slots))
        write(keys, values, slots)

    monkeypatch.setattr(layer, "write", counted)
    _, bad = rig.run(load)
    assert (sizes, bad) == (written, set())
    assert all(map(torch.equal, rig.model.caches, whole.model.caches))


def test_a_probe_whose_layers_did_not_all_look_fails(rig: Rig) -> None:
    report, bad = rig.run(WorkerPlan(retrievals=[probing()]), replayed=ALL)
    assert bad == {8, 9}
    assert report.picked == {}
    report, bad = rig.run(WorkerPlan(retrievals=[probing()]))
    assert (len(report.picked["probe"]), bad) == (1, set())


def test_a_retrieval_that_was_made_after_the_forward_pass_fails(rig: Rig) -> None:
    """vLLM loads after it in steps in which no request has anything to load."""
    rig.worker.begin(WorkerPlan(retrievals=[asking()]))
    rig.model.step(QUESTION)
    rig.worker.load()
    rig.worker.end()
    assert rig.worker.take_bad_blocks() == {8, 9}


def test_the_step_after_a_replayed_one_is_as_good_as_ever(rig: Rig) -> None:
    rig.run(WorkerPlan(retrievals=[asking()]), replayed=ALL)
    report, bad = rig.run(WorkerPlan(retrievals=[asking()]))
    assert (len(report.picked["question"]), bad) == (3, set())


@pytest.mark.parametrize("skipped", [ALL, {0}, {2}])
def test_a_clip_that_not_all_layers_gave_is_not_kept(
    rig: Rig, skipped: set[int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        report, bad = rig.run(WorkerPlan(saves=[saving("s/4", range(40, 44))]), replayed=skipped)
    assert rig.worker.arena.get("s/4") is None
    assert (report.saved, bad) == ({}, set()), "the request itself is right"
    assert "was not kept" in caplog.text


def test_a_clip_whose_last_token_was_replayed_is_not_kept(rig: Rig) -> None:
    """A graph takes steps in which every request computes one token."""
    rig.run(WorkerPlan(saves=[saving("s/4", range(40, 43))]))
    report, _ = rig.run(WorkerPlan(saves=[saving("s/4", range(43, 44), first=3)]), replayed=ALL)
    assert report.saved == {}
    assert rig.worker.arena.get("s/4") is None
    report, _ = rig.run(WorkerPlan(saves=[saving("s/4", range(40, 44))]))
    assert report.saved == {"clip": ["s/4"]}, "seen again, it is"


def test_a_refused_request_fails_and_no_other(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    refusal = Refusal("torn", "a question is torn", [11, 12])
    with caplog.at_level(logging.ERROR):
        report, bad = rig.run(WorkerPlan(retrievals=[asking()], refusals=[refusal]))
    assert bad == {11, 12}
    assert len(report.picked["question"]) == 3
    assert "a question is torn" in caplog.text
