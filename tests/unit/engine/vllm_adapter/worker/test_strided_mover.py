"""KV moved in all layers at once, in both layouts: it is what moving it layer by layer gives."""

import gc
import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from onlooker.benchmarks.host.shaped_layers import LayersShape, Layout, ShapedLayers
from onlooker.cache_store.config import CacheStoreSection
from onlooker.engine.memory.key_runs import KeyRuns
from onlooker.engine.memory.plan import Filling, MemorySlot, RetrievalPlan, SaveSpan
from onlooker.engine.memory.ranking import Ranking, RetrievalPolicy
from onlooker.engine.vllm_adapter.wire import (
    AdapterSettings,
    FetchOp,
    LoadOp,
    Mover,
    RetrieveOp,
    SaveOp,
    WorkerPlan,
    WorkerReport,
)
from onlooker.engine.vllm_adapter.worker.arena import Segment
from onlooker.engine.vllm_adapter.worker.device_shelf import DeviceShelf
from onlooker.engine.vllm_adapter.worker.head_group import ALONE, HeadGroup
from onlooker.engine.vllm_adapter.worker.save_ring import SaveRing
from onlooker.engine.vllm_adapter.worker.streams import DeviceEvent, HostStreams
from onlooker.engine.vllm_adapter.worker.strided_mover import StridedMover
from onlooker.engine.vllm_adapter.worker.worker import SegmentWorker
from tests.fakes.late_streams import LateStreams
from tests.fakes.waiting import in_time

SHAPE = LayersShape(
    name="tiny", num_layers=7, num_heads=4, num_kv_heads=2, head_dim=8, dtype=torch.float32
)
CLIP = 6
OFFSETS = [[0] * CLIP, [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]
QUESTION = 3
LAYOUTS: tuple[Layout, ...] = ("LBNHC", "LBHNC")
POOL = 64 * CLIP * SHAPE.token_bytes


class Rig:
    """A worker on layers without a model; `group`: with its share of their heads."""

    def __init__(
        self,
        mover: Mover,
        *,
        layout: Layout = "LBNHC",
        policy: RetrievalPolicy | None = None,
        streams: Callable[[torch.device], Any] = lambda device: LateStreams(),
        pool_bytes: int = POOL,
        shelf_bytes: int = 0,
        ring_bytes: int = 0,
        saving_bytes: int = 1 << 20,
        store: CacheStoreSection | None = None,
        group: HeadGroup = ALONE,
        index_bytes: int | None = None,
        index_host_bytes: int = 0,
    ) -> None:
        whole = ShapedLayers(SHAPE, num_blocks=40, layout=layout)
        self.layers = whole
        self._tokens = whole.tokens(640)
        if (size := group.share.size) > 1:
            half = replace(
                SHAPE, num_heads=SHAPE.num_heads // size, num_kv_heads=SHAPE.num_kv_heads // size
            )
            self.layers = ShapedLayers(half, num_blocks=40, layout=layout)
            self._tokens = {
                name: some.chunk(size, 1)[group.share.rank] for name, some in self._tokens.items()
            }
        settings = AdapterSettings(
            mover=mover, policy=policy or RetrievalPolicy(), pool_bytes=pool_bytes,
            shelf_bytes=shelf_bytes, ring_bytes=ring_bytes, saving_bytes=saving_bytes,
            arena_bytes=None if store is None else pool_bytes * (1 if mover == "strided" else 2),
            store=store, index_bytes=index_bytes, index_host_bytes=index_host_bytes,
        )  # fmt: skip
        # Frequencies of three axes for half of a head of 8.
        rotary = SHAPE.rotary
        self.worker = SegmentWorker(
            settings,
            type(rotary)(rotary.inv_freq, (2, 1, 1), is_interleaved=True, is_neox=True),
            streams,
            group,
        )
        self.worker.attach(self.layers.seams)

    def run(
        self, plan: WorkerPlan, slots: list[int], *, replayed: bool = False
    ) -> tuple[WorkerReport, set[int]]:
        """One step; each slot always gets the KV of its own number."""
        tokens = {name: some[slots] for name, some in self._tokens.items()}
        self.worker.begin(plan)
        self.worker.load(is_whole_graph=replayed)
        self.layers.run(tokens, torch.tensor(slots), self._reach)
        self.worker.end()
        return self.worker.take_report(), self.worker.take_bad_blocks()

    def _reach(self, index: int) -> None:
        self.worker.reach(self.layers.seams[index].name)

    def ingest(self, clips: range, *, size: int = CLIP) -> WorkerReport:
        saves = [saving(clip, size=size) for clip in clips]
        report, bad = self.run(WorkerPlan(saves=saves), [slot for op in saves for slot in op.slots])
        assert not bad
        return report


def saving(clip: int, *, first: int = 0, count: int | None = None, size: int = CLIP) -> SaveOp:
    offsets = [(row * 3)[:size] for row in OFFSETS]
    span = SaveSpan(key(clip), 0, size, clip * 3, offsets)
    start = clip * 10
    return SaveOp(f"see {clip}", span, first, list(range(start + first, start + (count or size))))


def key(clip: int) -> str:
    return f"m/t/s/0/clip/{clip:010d}"


def loading(clips: list[int], *, skip: int = 0, positions: list[int] | None = None) -> LoadOp:
    count = len(clips) * CLIP
    return LoadOp(
        "answer", [key(clip) for clip in clips], positions or [5 * n for n in range(len(clips))],
        skip, list(range(300 + skip, 300 + count)), [7], True,
    )  # fmt: skip


def asking(
    clips: range, *, num_slots: int = 2, recent: range = range(0), number: int = 0
) -> RetrieveOp:
    first = 400 + 50 * number
    plan = RetrievalPlan(
        slots=[MemorySlot(0, CLIP, 20 + 4 * n) for n in range(num_slots)],
        candidates=KeyRuns.of([key(clip) for clip in clips]),
        recent=KeyRuns.of([key(clip) for clip in recent]),
        num_wanted=2,
        traces=False,
        question_start=0,
        question_tokens=QUESTION,
        question_position=60,
    )
    places = [list(range(first + n * CLIP, first + (n + 1) * CLIP)) for n in range(num_slots)]
    asked = list(range(first + 40, first + 40 + QUESTION))
    return RetrieveOp(f"ask {number}", plan, places, asked, [60, 61, 62], [8, number])


def both(**options: Any) -> tuple[Rig, Rig]:
    """Rigs of either way, with the same six clips."""
    rigs = Rig("layers", **options), Rig("strided", **options)
    for rig in rigs:
        rig.ingest(range(6))
    return rigs


def assert_alike(plain: Rig, strided: Rig) -> None:
    torch.testing.assert_close(strided.layers.cache, plain.layers.cache, atol=1e-5, rtol=0)


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    found: Layout = request.param
    return found


def filling(clip: int, *, source: int, count: int, anchors: Sequence[int] = ()) -> SaveOp:
    """The op of a clip of which the first `count` rows are computed, and the others are the first
    ones of `source`; it has `anchors` at the same rows."""
    rows = list(range(CLIP))
    taken = Filling(key(source), rows[count:], rows[: CLIP - count], 2, *[list(anchors)] * 2)
    span = SaveSpan(key(clip), 0, count, 40, OFFSETS, rows=rows[:count], filling=taken)
    return SaveOp(f"see {clip}", span, 0, list(range(clip * 10, clip * 10 + count)))


def kept_by(rig: Rig, clip: int) -> Segment:
    if (device := rig.worker._device) is not None:
        device.pool.wait()
    found = rig.worker.arena.get(key(clip))
    assert found is not None
    return found


@pytest.mark.parametrize("pool_bytes", [POOL, 0])
def test_a_filled_clip_has_the_rows_of_another_turned_to_where_it_stands(
    layout: Layout, pool_bytes: int
) -> None:
    rigs = both(layout=layout, pool_bytes=pool_bytes)
    op = filling(8, source=2, count=CLIP - 2)
    for rig in rigs:
        report, _ = rig.run(WorkerPlan(saves=[op]), op.slots)
        assert report.saved == {"see 8": [key(8)]}
    rotary = rigs[0].worker._rotary
    for rig in rigs:
        found, other = kept_by(rig, 8), kept_by(rig, 2)
        assert found.num_tokens == CLIP
        turned = rotary.shift(other.keys[:, :2], torch.full((2,), 40 + 2 - other.base))
        torch.testing.assert_close(found.keys[:, CLIP - 2 :], turned)
        assert torch.equal(found.values[:, CLIP - 2 :], other.values[:, :2])
        for layer in range(SHAPE.num_layers):
            plain = found.plain_in(layer, rotary)
            assert plain is not None
            there = rotary.remove(found.keys[layer], torch.tensor(OFFSETS) + 40)
            torch.testing.assert_close(plain, there)
    one, two = (kept_by(rig, 8) for rig in rigs)
    torch.testing.assert_close(one.keys, two.keys)
    assert torch.equal(one.values, two.values)


def goes_by(
    values: torch.Tensor, row: int, anchors: Sequence[int], among: list[int]
) -> list[float]:
    """By how much a row goes by each anchor, of values [rows, kv_heads, head_dim] in a layer. It
    was filled with others, `among` which all the anchors count, too."""
    flat = values.flatten(1)
    mean = flat[among].mean(0)
    spread = sum(float((flat[one] - mean).square().sum()) for one in among) / len(among)
    near = [math.exp(-2 * float((flat[row] - flat[a]).square().sum()) / spread) for a in anchors]
    return [one / sum(near) for one in near]


def test_filled_rows_have_changed_as_those_anchors_that_were_like_them(layout: Layout) -> None:
    rigs = both(layout=layout)
    anchors = [0, 2, 3]
    op = filling(8, source=2, count=CLIP - 2, anchors=anchors)
    for rig in rigs:
        report, _ = rig.run(WorkerPlan(saves=[op]), op.slots)
        assert report.saved == {"see 8": [key(8)]}
    rotary = rigs[0].worker._rotary
    after = torch.tensor(OFFSETS) + 40
    for rig in rigs:
        found, other = kept_by(rig, 8), kept_by(rig, 2)
        shifted = rotary.shift(other.keys, torch.full((CLIP,), 40 + 2 - other.base))
        for layer in range(SHAPE.num_layers):
            plain = rotary.remove(found.keys[layer], after)
            key_drift = (plain - rotary.remove(shifted[layer], after))[anchors]
            value_drift = (found.values[layer] - other.values[layer])[anchors]
            there = rotary.remove(shifted[layer, :2], after[:, CLIP - 2 :])
            for row in (0, 1):
                shares = goes_by(other.values[layer], row, anchors, [0, 1, *anchors])
                assert max(shares) - min(shares) > 0.1
                by = torch.tensor(shares)[:, None, None]
                moved = there[row] + (by * key_drift).sum(0)
                torch.testing.assert_close(plain[CLIP - 2 + row], moved, atol=1e-4, rtol=0)
                moved = other.values[layer, row] + (by * value_drift).sum(0)
                torch.testing.assert_close(
                    found.values[layer, CLIP - 2 + row], moved, atol=1e-4, rtol=0
                )
    one, two = (kept_by(rig, 8) for rig in rigs)
    torch.testing.assert_close(one.keys, two.keys)
    torch.testing.assert_close(one.values, two.values)


@pytest.mark.parametrize("pool_bytes", [POOL, 0])
@pytest.mark.parametrize("skip", [0, 2])
def test_some_rows_of_a_clip_are_placed_by_themselves(
    layout: Layout, pool_bytes: int, skip: int
) -> None:
    rigs = both(layout=layout, pool_bytes=pool_bytes)
    rows = [3, 0, 5]
    for rig in rigs:
        slots = list(range(300 + skip, 303))
        op = LoadOp("see 8", [key(2)], [70], skip, slots, [7], False, rows)
        _, bad = rig.run(WorkerPlan(loads=[loading([1]), op]), [500])
        assert not bad
        other = kept_by(rig, 2)
        turned = rig.worker._rotary.shift(other.keys[:, rows], torch.full((3,), 70 - other.base))
        there = torch.tensor(slots)
        for layer, cache in enumerate(rig.layers.cache):
            keys, values = cache.transpose(1, 2)[there // 16, there % 16].chunk(2, -1)
            torch.testing.assert_close(keys, turned[layer, skip:])
            assert torch.equal(values, other.values[layer, rows[skip:]])
    assert_alike(*rigs)


def test_a_clip_whose_source_is_gone_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    for rig in both():
        rig.worker.arena.drop([key(2)])
        op = filling(8, source=2, count=CLIP - 1)
        with caplog.at_level(logging.ERROR):
            report, bad = rig.run(WorkerPlan(saves=[op]), op.slots)
        assert (report.saved, bad) == ({}, set())
        assert rig.worker.arena.get(key(8)) is None
    assert caplog.text.count("the one that it is filled from is gone") == 2


def test_clips_are_kept_as_layer_by_layer(layout: Layout) -> None:
    plain, strided = both(layout=layout)
    device = strided.worker._device
    assert device is not None
    device.pool.wait()
    for clip in range(6):
        one, other = plain.worker.arena.get(key(clip)), strided.worker.arena.get(key(clip))
        assert one is not None
        assert other is not None
        assert other.run is not None
        assert torch.equal(one.keys, other.keys)
        assert torch.equal(one.values, other.values)
        assert one.plain_keys is not None
        plain_keys = [other.plain_in(n, plain.worker._rotary) for n in range(SHAPE.num_layers)]
        assert all(
            torch.allclose(some, keys, atol=1e-6)
            for some, keys in zip(plain_keys, one.plain_keys, strict=True)
            if some is not None
        )
        assert other.plain_keys is None, "keys without position are made when they are asked for"
        indexed = [rig.worker.arena.index.groups([key(clip)])[0] for rig in (plain, strided)]
        for layer in range(SHAPE.num_layers):
            entries = [group.entries(layer) for group in indexed]
            torch.testing.assert_close(entries[1], entries[0], atol=1e-6, rtol=0)


def test_a_clip_in_parts_is_kept_whole(layout: Layout) -> None:
    rigs = Rig("layers", layout=layout), Rig("strided", layout=layout)
    for rig in rigs:
        for first, count in ((0, 2), (2, 5), (1, 4), (4, 6)):  # the third came after preemption
            op = saving(0, first=first, count=count)
            report, _ = rig.run(WorkerPlan(saves=[op]), op.slots)
        assert report.saved == {"see 0": [key(0)]}
    found = [rig.worker.arena.get(key(0)) for rig in rigs]
    device = rigs[1].worker._device
    assert device is not None
    device.pool.wait()
    assert found[0] is not None
    assert found[1] is not None
    assert torch.equal(found[0].keys, found[1].keys)


@pytest.mark.parametrize("skip", [0, 2])
@pytest.mark.parametrize("positions", [None, [3, 0, 9]])
def test_segments_are_placed_as_layer_by_layer(
    layout: Layout, skip: int, positions: list[int] | None
) -> None:
    rigs = both(layout=layout)
    for rig in rigs:
        op = loading([1, 0, 3], skip=skip, positions=positions)
        report, bad = rig.run(WorkerPlan(loads=[op]), [500])
        assert (set(report.read["answer"]), bad) == ({key(0), key(1), key(3)}, set())
    assert_alike(*rigs)
    assert bool(rigs[0].layers.cache[:, 300 // 16].any())


CLIP_BYTES = CLIP * SHAPE.token_bytes


def shelf_of(rig: Rig) -> DeviceShelf:
    assert rig.worker._device is not None
    return rig.worker._device.shelf


@pytest.mark.parametrize("skip", [0, 2])
def test_segments_are_placed_from_the_shelf_and_the_pool_as_layer_by_layer(
    layout: Layout, skip: int
) -> None:
    rigs = both(layout=layout, shelf_bytes=3 * CLIP_BYTES)
    for rig in rigs:
        op = loading([1, 5, 0, 3], skip=skip, positions=[3, 0, 9, 40])
        report, bad = rig.run(WorkerPlan(loads=[op]), [500])
        assert (len(report.read["answer"]), bad) == (4, set())
    assert_alike(*rigs)
    shelf = shelf_of(rigs[1])
    assert (shelf.num_read, shelf.num_let_go) == (2, 3), "of six clips the newest three lie there"
    moves = rigs[1].worker.moves()
    assert (moves["shelf_read"], moves["shelf_let_go"]) == (2, 3)


def test_what_was_read_from_the_shelf_stays_there_longest() -> None:
    rig = Rig("strided", shelf_bytes=3 * CLIP_BYTES)
    rig.ingest(range(3))
    rig.run(WorkerPlan(loads=[loading([0])]), [500])
    rig.ingest(range(3, 5))
    before = shelf_of(rig).num_read
    rig.run(WorkerPlan(loads=[loading([0, 1, 2, 3, 4])]), [500])
    assert shelf_of(rig).num_read - before == 3, "clips 0, 3 and 4"


def test_a_clip_that_was_seen_again_is_not_placed_as_it_was() -> None:
    plain, strided = both(shelf_bytes=6 * CLIP_BYTES)
    for rig in (plain, strided):
        again = SaveOp("see 1", saving(1).span, 0, saving(7).slots)
        rig.run(WorkerPlan(saves=[again]), again.slots)
        rig.run(WorkerPlan(loads=[loading([1])]), [500])
    assert_alike(plain, strided)


def test_what_was_fetched_is_told_by_where_it_lay_also_if_it_is_not_placed() -> None:
    rig = Rig("layers", pool_bytes=3 * CLIP_BYTES, store=CacheStoreSection())
    rig.ingest(range(8))
    assert rig.worker.arena.ready([key(0), key(1)]) is None, "else the test could not fail"
    fetch = FetchOp("answer", [key(0), key(1), key(7)], False)
    report, _ = rig.run(WorkerPlan(fetches=[fetch]), [500])

    def run_on() -> None:
        told = report
        while not told.fetched:
            told, _ = rig.run(WorkerPlan(), [500])

    in_time("the fetch", run_on)
    report, bad = rig.run(WorkerPlan(loads=[loading([7])]), [500])
    tiers = {name: tier for name, (tier, _) in report.read["answer"].items()}
    assert (tiers, bad) == ({key(0): "memory", key(1): "memory", key(7): "device"}, set())
    assert rig.worker.moves()["read_in_step"] == 0
    rig.worker.close()


def test_what_was_forgotten_makes_room_on_the_shelf_first() -> None:
    rig = Rig("strided", shelf_bytes=3 * CLIP_BYTES)
    rig.ingest(range(3))
    rig.worker.arena.drop([key(2)])
    gc.collect()
    rig.ingest(range(3, 4))
    assert shelf_of(rig).num_let_go == 0
    rig.run(WorkerPlan(loads=[loading([0, 1, 3])]), [500])
    assert shelf_of(rig).num_read == 3


def test_a_clip_that_is_larger_than_the_shelf_lies_in_the_pool_alone() -> None:
    rigs = both(shelf_bytes=CLIP_BYTES - 1)
    for rig in rigs:
        rig.run(WorkerPlan(loads=[loading([0, 1])]), [500])
    assert_alike(*rigs)
    assert shelf_of(rigs[1]).num_read == 0


RANKINGS = {
    "mean_key": RetrievalPolicy(),
    "late_interaction": RetrievalPolicy(ranking=Ranking(score="late_interaction")),
    "page_mean": RetrievalPolicy(ranking=Ranking(score="page_mean")),
    "votes": RetrievalPolicy(ranking=Ranking(voting_layers=(1, 4))),
    "little mass": RetrievalPolicy(mass=0.2),
    "half the mass": RetrievalPolicy(mass=0.5, ranking=Ranking(temperature=0.3)),
    "all mass": RetrievalPolicy(mass=1.0),
    "gate": RetrievalPolicy(gates=True),
    "second look": RetrievalPolicy(
        ranking=Ranking(second_look="late_interaction", shortlist_clips=3)
    ),
}


@pytest.mark.parametrize("ranking", RANKINGS)
def test_each_layer_chooses_and_places_as_layer_by_layer(layout: Layout, ranking: str) -> None:
    rigs = both(layout=layout, policy=RANKINGS[ranking])
    reports = []
    for rig in rigs:
        ops = [asking(range(5), recent=range(5, 6)), asking(range(1, 6), number=1)]
        plan = WorkerPlan(loads=[loading([0, 1])], retrievals=ops)
        report, bad = rig.run(plan, [slot for op in ops for slot in op.question_slots])
        assert bad == set()
        reports.append(report)
    assert reports[0].picked == reports[1].picked
    assert reports[0].read == reports[1].read
    assert_alike(*rigs)


@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("recent", [range(0), range(4, 6)])
def test_a_probe_chooses_as_layer_by_layer(ranking: str, recent: range) -> None:
    found = []
    for rig in both(policy=RANKINGS[ranking]):
        op = asking(range(4), num_slots=0, recent=recent)
        found.append(rig.run(WorkerPlan(retrievals=[op]), op.question_slots)[0].picked)
    assert found[0] == found[1]
    assert set(found[0]) == {"ask 0"}


def test_candidates_of_several_sizes_are_left_to_the_other_way() -> None:
    rigs = both()
    for rig in rigs:
        rig.ingest(range(6, 7), size=CLIP - 1)
    found = []
    for rig in rigs:
        op = asking(range(7), num_slots=0)
        placed = asking(range(6), number=1)
        plan = WorkerPlan(retrievals=[op, placed])
        report, bad = rig.run(plan, [*op.question_slots, *placed.question_slots])
        assert bad == set()
        found.append(report.picked)
    assert found[0] == found[1]


def test_layers_that_are_replayed_give_clips_all_the_same() -> None:
    """A graph goes past the hooks, and the cache has it."""
    _, strided = both()
    for layer in strided.layers.seams:
        layer._layer.impl.do_kv_cache_update = layer._update
        layer._layer.impl.forward = lambda *_: None
    report = strided.ingest(range(6, 7))
    assert report.saved == {"see 6": [key(6)]}


def test_a_retrieval_in_a_replayed_step_fails(caplog: pytest.LogCaptureFixture) -> None:
    _, strided = both()
    for layer in strided.layers.seams:
        layer._layer.impl.forward = lambda *_: None
    op = asking(range(5))
    with caplog.at_level(logging.ERROR):
        _, bad = strided.run(WorkerPlan(retrievals=[op]), op.question_slots)
    assert bad == {8, 0}


def test_a_question_of_which_a_token_was_not_computed_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, strided = both()
    op = asking(range(5))
    with caplog.at_level(logging.ERROR):
        _, bad = strided.run(WorkerPlan(retrievals=[op]), op.question_slots[:-1])
    assert bad == {8, 0}
    assert "was not computed in its step" in caplog.text


def test_each_layer_waits_for_its_own_group_of_what_is_loaded() -> None:
    _, strided = both()
    cache = strided.layers.cache
    seen: list[list[bool]] = []

    def reach(index: int) -> None:
        strided.worker.reach(strided.layers.seams[index].name)
        seen.append(cache[:, 300 // 16, :, 300 % 16].any(-1).any(-1).tolist())

    strided.worker.begin(WorkerPlan(loads=[loading([0, 1])]))
    strided.worker.load()
    assert not bool(cache[:, 300 // 16, :, 300 % 16].any()), "nobody has waited yet"
    strided.layers.run(strided.layers.tokens(1), torch.tensor([500]), reach)
    strided.worker.end()
    for index, there in enumerate(seen):
        assert there == [layer // 2 <= index // 2 for layer in range(SHAPE.num_layers)]


def test_a_graph_that_asks_for_no_layer_has_all_of_them_loaded_first() -> None:
    _, strided = both()
    strided.worker.begin(WorkerPlan(loads=[loading([0, 1])]))
    strided.worker.load(is_whole_graph=True)
    assert bool(strided.layers.cache[:, 300 // 16, :, 300 % 16].any(-1).all())


def test_a_clip_counts_as_kept_before_its_copy_is_made_and_is_placed_after_it() -> None:
    strided = Rig("strided")
    assert set(strided.ingest(range(2)).saved) == {"see 0", "see 1"}
    assert strided.worker._device is not None
    streams: Any = strided.worker._device.streams
    assert len(streams.queues["save"]) == 1, "one copy for both, which nobody has waited for"
    plain = Rig("layers")
    plain.ingest(range(2))
    for rig in (plain, strided):
        rig.run(WorkerPlan(loads=[loading([0, 1])]), [500])
    assert_alike(plain, strided)


def test_what_the_pool_has_no_room_for_is_kept_beside_it_and_placed_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain, strided = both(pool_bytes=3 * CLIP * SHAPE.token_bytes)
    kept = [strided.worker.arena.get(key(clip)) for clip in range(6)]
    assert [one.run is not None for one in kept if one is not None] == [True] * 3 + [False] * 3
    assert caplog.text.count("memory.arena_gib") == 1, "it is told once"
    assert strided.worker.moves()["unpooled"] > 1, "and counted each time"
    for rig in (plain, strided):
        rig.run(WorkerPlan(loads=[loading([1, 5, 2, 4], skip=1)]), [500])
    assert_alike(plain, strided)
    found = []
    for rig in (plain, strided):
        op = asking(range(6))
        found.append(rig.run(WorkerPlan(retrievals=[op]), op.question_slots)[0].picked)
    assert found[0] == found[1]
    assert_alike(plain, strided)


def ring_of(rig: Rig) -> SaveRing:
    assert rig.worker._device is not None
    return rig.worker._device.ring


def kept_in_full_pool(*, ring_clips: int) -> Rig:
    """A rig that has seen six clips, for three of which the pool has no room."""
    rig = with_ring(ring_clips)
    rig.ingest(range(6))
    return rig


def with_ring(ring_clips: int) -> Rig:
    return Rig("strided", pool_bytes=3 * CLIP_BYTES, ring_bytes=ring_clips * CLIP_BYTES)


def held(rig: Rig) -> list[Segment]:
    found = rig.worker.arena.ready([key(clip) for clip in range(6)])
    assert found is not None
    return found


def tidy(rig: Rig) -> None:
    """Have all that lies in the ring be brought to ordinary memory."""

    def step() -> None:
        while ring_of(rig)._leaving:
            rig.run(WorkerPlan(), [500])

    in_time("the ring's thread", step)


def test_what_the_pool_has_no_room_for_gets_to_ordinary_memory_by_the_ring() -> None:
    plain, strided, gate = Rig("layers"), with_ring(3), threading.Event()
    ring_of(strided)._thread.submit(gate.wait)
    for rig in (plain, strided):
        rig.ingest(range(6))
    assert all(one.run is not None for one in held(strided)), "the device can place all of them"
    strided.run(WorkerPlan(loads=[loading([0, 5, 4])]), [500])
    plain.run(WorkerPlan(loads=[loading([0, 5, 4])]), [500])
    assert_alike(plain, strided)
    gate.set()
    tidy(strided)
    assert [one.run is None for one in held(strided)] == [False] * 3 + [True] * 3
    for mine, theirs in zip(held(strided), held(plain), strict=True):
        assert torch.equal(mine.keys, theirs.keys)
        assert torch.equal(mine.values, theirs.values)
    strided.run(WorkerPlan(loads=[loading([5, 3])]), [500])
    plain.run(WorkerPlan(loads=[loading([5, 3])]), [500])
    assert_alike(plain, strided)
    assert strided.worker.moves()["ring_waited"] == 0
    strided.worker.close()


def test_the_ring_is_used_again_and_whoever_waits_for_it_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    strided, plain, gate = with_ring(2), Rig("layers"), threading.Event()
    ring = ring_of(strided)
    ring._thread.submit(gate.wait)

    def is_waited_for() -> None:
        while not ring.num_waited:
            pass

    ingesting = threading.Thread(target=strided.ingest, args=[range(6)])
    ingesting.start()
    in_time("a step to wait for the ring", is_waited_for)
    gate.set()
    ingesting.join()
    plain.ingest(range(6))
    for rig in (strided, plain):
        for clip in range(6, 15):
            rig.ingest(range(clip, clip + 1))
    tidy(strided)
    for rig in (strided, plain):
        rig.run(WorkerPlan(loads=[loading([14, 5, 12, 9])]), [500])
    assert_alike(plain, strided)
    assert strided.worker.moves()["ring_waited"] >= 1
    assert caplog.text.count("memory.ring_gib") == 1, "it is told once"
    strided.worker.close()


def test_a_clip_that_is_dropped_while_it_lies_in_the_ring_stays_dropped() -> None:
    strided = kept_in_full_pool(ring_clips=3)
    strided.worker.arena.drop([key(4)])
    for _ in range(3):
        strided.ingest(range(5, 6))
        in_time("the ring's thread", lambda: [one[2].result() for one in ring_of(strided)._leaving])
    strided.run(WorkerPlan(), [500])
    assert key(4) not in strided.worker.arena.found_here([key(4)])
    strided.worker.close()


def test_the_store_gets_what_went_by_the_ring() -> None:
    rig = Rig(
        "strided", pool_bytes=CLIP_BYTES, ring_bytes=2 * CLIP_BYTES, store=CacheStoreSection()
    )  # fmt: skip
    vault = rig.worker.vault
    assert vault is not None
    rig.ingest(range(6))
    assert vault.flush(10)
    found = vault.load([key(clip) for clip in range(6)])
    plain = Rig("layers")
    plain.ingest(range(6))
    for clip, theirs in enumerate(held(plain)):
        mine, _ = found[key(clip)]
        assert torch.equal(mine.keys, theirs.keys)
        assert torch.equal(mine.values, theirs.values)
    rig.worker.close()


def test_clips_of_one_step_are_kept_where_there_is_room_only_in_pieces() -> None:
    rigs = Rig("layers"), Rig("strided", pool_bytes=6 * CLIP_BYTES)
    for rig in rigs:
        rig.ingest(range(6))
        rig.worker.arena.drop([key(1), key(4)])
        rig.ingest(range(6, 8))
        rig.run(WorkerPlan(loads=[loading([0, 6, 7, 5])]), [500])
    assert_alike(*rigs)
    assert rigs[1].worker.moves()["unpooled"] == 0
    assert [kept_by(rigs[1], clip).run is None for clip in (6, 7)] == [False] * 2


def test_each_clip_of_a_step_gives_its_room_back_by_itself() -> None:
    rig = Rig("strided", pool_bytes=6 * CLIP_BYTES)
    rig.ingest(range(6))
    for dropped, seen in ((3, 6), (0, 7), (5, 8)):
        rig.worker.arena.drop([key(dropped)])
        rig.ingest(range(seen, seen + 1))
    assert rig.worker.moves()["unpooled"] == 0
    rig.ingest(range(9, 10))
    assert rig.worker.moves()["unpooled"] == 1


def test_no_more_clips_make_room_for_those_of_a_step_than_there_are_of_these() -> None:
    rig = Rig("strided", pool_bytes=6 * CLIP_BYTES, store=CacheStoreSection())
    assert rig.worker.vault is not None
    rig.ingest(range(5))
    assert rig.worker.vault.flush(10), "what is still to be written makes no room"
    rig.ingest(range(5, 8))
    found = [rig.worker.arena.found_here([key(clip)]) != {} for clip in range(8)]
    assert found == [False] * 2 + [True] * 6
    assert rig.worker.moves()["unpooled"] == 0
    rig.worker.close()


@pytest.mark.parametrize("sizes", [(CLIP, CLIP, 4, CLIP), (5, 4, 4)])
def test_clips_of_several_sizes_and_parts_of_one_are_kept_from_one_step(
    layout: Layout, sizes: tuple[int, ...]
) -> None:
    rigs = Rig("layers", layout=layout), Rig("strided", layout=layout)
    for rig in rigs:
        part = saving(9, first=0, count=2)
        saves = [part, *(saving(clip, size=size) for clip, size in enumerate(sizes))]
        rig.run(WorkerPlan(saves=saves), [slot for op in saves for slot in op.slots])
        saves = [saving(9, first=2), saving(8)]
        report, _ = rig.run(WorkerPlan(saves=saves), [slot for op in saves for slot in op.slots])
        assert report.saved == {"see 8": [key(8)], "see 9": [key(9)]}
    for clip in (*range(len(sizes)), 8, 9):
        mine, theirs = (kept_by(rig, clip) for rig in rigs)
        assert torch.equal(mine.keys, theirs.keys)
        assert torch.equal(mine.values, theirs.values)
        indexed = [rig.worker.arena.index.groups([key(clip)])[0] for rig in rigs]
        for layer in range(SHAPE.num_layers):
            entries = [group.entries(layer) for group in indexed]
            torch.testing.assert_close(entries[1], entries[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("num_clips", "groups"), [(4, [4, 2]), (2, [2, 2, 2]), (0, [1] * 6)])
def test_index_entries_are_made_of_as_many_clips_at_once_as_there_is_memory_for(
    monkeypatch: pytest.MonkeyPatch, num_clips: int, groups: list[int]
) -> None:
    key_bytes = CLIP * SHAPE.num_layers * SHAPE.num_kv_heads * SHAPE.head_dim * 4
    rig = Rig("strided", saving_bytes=max(1, num_clips * key_bytes))
    made, entries = [], StridedMover._entries

    def noted(mover: StridedMover, ops: list[SaveOp], kv: torch.Tensor) -> Any:
        made.append(len(ops))
        return entries(mover, ops, kv)

    monkeypatch.setattr(StridedMover, "_entries", noted)
    rig.ingest(range(6))
    assert made == groups


def test_room_in_the_pool_is_used_again() -> None:
    strided = Rig("strided", pool_bytes=3 * CLIP * SHAPE.token_bytes)
    assert strided.worker._device is not None
    pool = strided.worker._device.pool
    strided.ingest(range(3))
    pool.wait()
    assert pool.num_free_tokens == 0
    strided.worker.arena.drop([key(1), key(2)])
    assert pool.num_free_tokens == 2 * CLIP
    strided.ingest(range(3, 4), size=2 * CLIP)
    found = strided.worker.arena.get(key(3))
    assert found is not None
    assert found.run is not None, "two runs that touch are one"


def test_caches_that_are_not_of_one_allocation_are_read_layer_by_layer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layers = ShapedLayers(SHAPE, num_blocks=40)
    for layer in layers.seams:
        layer._layer.kv_cache = layer._layer.kv_cache.clone()
    worker = SegmentWorker(AdapterSettings(mover="strided"), SHAPE.rotary)
    with caplog.at_level(logging.WARNING):
        worker.attach(layers.seams)
    assert not isinstance(worker._mover, StridedMover)
    assert "layer by layer" in caplog.text


def test_everything_is_done_at_once_on_a_host() -> None:
    strided = Rig("strided", streams=lambda device: HostStreams())
    plain = Rig("layers")
    for rig in (plain, strided):
        rig.ingest(range(6))
        op = asking(range(5))
        plan = WorkerPlan(loads=[loading([0, 1])], retrievals=[op])
        rig.run(plan, op.question_slots)
    assert_alike(plain, strided)


def stored(mover: Mover) -> Rig:
    """A rig that holds three clips ready, with a store below it, and has seen six."""
    rig = Rig(mover, pool_bytes=3 * CLIP * SHAPE.token_bytes, store=CacheStoreSection())
    assert rig.worker.vault is not None
    for clip in range(6):
        rig.ingest(range(clip, clip + 1))
        assert rig.worker.vault.flush(10), "what is still to be written makes no room"
    return rig


@pytest.mark.parametrize("clips", [[0, 5, 1], [0, 5, 1, 2]])
def test_clips_that_made_room_come_back_from_the_store(clips: list[int]) -> None:
    rigs = stored("layers"), stored("strided")
    assert rigs[1].worker._device is not None
    assert rigs[1].worker._device.pool.num_free_tokens == 0
    for rig in rigs:
        report, bad = rig.run(WorkerPlan(loads=[loading(clips)]), [500])
        assert bad == set()
        assert {read[0] for read in report.read["answer"].values()} == {"device", "memory"}
    assert_alike(*rigs)
    held = rigs[1].worker.arena.ready([key(1)])
    assert held is not None
    assert held[0].run is not None, "it is in the pool again"
    for rig in rigs:
        rig.worker.close()


def test_what_is_deleted_before_it_was_written_stays_deleted() -> None:
    rig = stored("strided")
    vault = rig.worker.vault
    assert vault is not None
    segment = rig.worker.arena.get(key(5))
    assert segment is not None
    may_go_on = threading.Event()
    vault.save(saving(5).span, segment, None, after=cast("DeviceEvent", may_go_on))
    deleting = threading.Thread(target=vault.forget_stream, args=["m/t/s/0/"])
    deleting.start()
    may_go_on.set()
    deleting.join()
    assert vault.flush(10)
    assert vault.load([key(5)]) == {}
    rig.worker.close()
