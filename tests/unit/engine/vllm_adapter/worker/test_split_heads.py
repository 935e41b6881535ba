"""Two workers with half of the heads each do what one with all heads does."""

import logging
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from onlooker.engine.memory.ranking import Ranking, RetrievalPolicy, ScoreName
from onlooker.engine.vllm_adapter.wire import Mover, RetrieveOp, WorkerPlan, WorkerReport
from onlooker.engine.vllm_adapter.worker.head_group import ALONE, HeadGroup
from tests.fakes.rendezvous import Rendezvous
from tests.unit.engine.vllm_adapter.worker.test_strided_mover import Rig, asking, key, loading

pytestmark = pytest.mark.filterwarnings("error")

RANKINGS = {
    "each layer by itself": Ranking(),
    "representatives": Ranking(score="representatives"),
    "pages": Ranking(score="page_mean"),
    "tokens": Ranking(score="late_interaction"),
    "tokens in 8 bits": Ranking(score="token_keys_8bit"),
    "tokens in one bit": Ranking(score="token_keys_1bit"),
    "voting layers": Ranking(voting_layers=(1, 3)),
    "a second look": Ranking(second_look="late_interaction", shortlist_clips=3),
    "a second look at pages": Ranking(second_look="page_mean", shortlist_clips=3),
}
ALIKE = {name: ranking for name, ranking in RANKINGS.items() if name != "representatives"}
"""Those that need nothing but means over heads. Which tokens stand for a clip is for each half of
the heads to say."""

Answer = list[tuple[WorkerReport, set[int]]]


class Halves:
    """Two workers with half of the heads each, with the same clips."""

    def __init__(self, mover: Mover, clips: range = range(8), **options: Any) -> None:
        self.meeting = Rendezvous()
        self.rigs = [Rig(mover, group=group, **options) for group in self.meeting.groups()]
        for rig in self.rigs if clips else ():
            rig.ingest(clips)

    def run(self, plan: WorkerPlan, slots: list[int]) -> Answer:
        return self.meeting.together([partial(rig.run, plan, slots) for rig in self.rigs])

    def ask(self, op: RetrieveOp) -> Answer:
        return self.run(WorkerPlan(retrievals=[op]), op.question_slots)

    @property
    def cache(self) -> torch.Tensor:
        """The KV of all heads."""
        return torch.cat([rig.layers.cache for rig in self.rigs], 2)


class Contrary(HeadGroup):
    """A worker for which the worst is best."""

    def mean(self, scores: torch.Tensor) -> torch.Tensor:
        return -HeadGroup.mean(self, scores)


def whole(mover: Mover, **options: Any) -> Rig:
    rig = Rig(mover, **options)
    rig.ingest(range(8))
    return rig


@pytest.mark.parametrize("mover", ["layers", "strided"])
@pytest.mark.parametrize("ranking", ALIKE)
def test_halves_choose_and_place_what_the_whole_does(mover: Mover, ranking: str) -> None:
    policy = RetrievalPolicy(ranking=ALIKE[ranking])
    one, halves = whole(mover, policy=policy), Halves(mover, policy=policy)
    for op in (asking(range(7)), asking(range(7), num_slots=0, recent=range(7, 8))):
        expected, _ = one.run(WorkerPlan(retrievals=[op]), op.question_slots)
        for report, bad in halves.ask(op):
            assert report.picked == expected.picked
            assert bad == set()
    torch.testing.assert_close(halves.cache, one.layers.cache, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mover", ["layers", "strided"])
@pytest.mark.parametrize("score", ["mean_key", "token_keys_8bit", "token_keys_1bit"])
def test_an_index_of_the_layers_that_vote_chooses_as_one_of_all(
    mover: Mover, score: ScoreName
) -> None:
    ranking = Ranking(score=score, voting_layers=(1, 3))
    op = asking(range(7), num_slots=0, recent=range(7, 8))
    found, sizes = [], []
    for probes in (False, True):
        rig = whole(mover, policy=RetrievalPolicy(ranking=ranking, probes=probes))
        found.append(rig.run(WorkerPlan(retrievals=[op]), op.question_slots)[0].picked)
        sizes.append(rig.worker.arena.index.num_bytes)
    assert found[0] == found[1] != {}
    assert sizes[1] < sizes[0] / 2


@pytest.mark.parametrize("mover", ["layers", "strided"])
def test_halves_agree_also_where_each_chooses_its_own_tokens_of_a_clip(mover: Mover) -> None:
    policy = RetrievalPolicy(ranking=RANKINGS["representatives"], mass=0.5)
    (mine, bad), (theirs, _) = Halves(mover, policy=policy).ask(asking(range(7)))
    assert mine.picked == theirs.picked != {}
    assert bad == set()


def test_without_meeting_halves_would_choose_otherwise() -> None:
    """Else the tests above would prove nothing."""
    halves = Halves("layers")
    op = asking(range(7))
    one = whole("layers").run(WorkerPlan(retrievals=[op]), op.question_slots)[0]
    for rig in halves.rigs:
        rig.worker._group = ALONE
    assert any(report.picked != one.picked for report, _ in halves.ask(op))


def test_clips_of_several_sizes_are_compared_by_all_heads() -> None:
    policy = RetrievalPolicy(ranking=RANKINGS["pages"])
    one, halves = whole("layers", policy=policy), Halves("layers", policy=policy)
    for rig in (one, *halves.rigs):
        rig.ingest(range(8, 9), size=18)  # of two pages
    op = asking(range(9), num_slots=0)
    expected, _ = one.run(WorkerPlan(retrievals=[op]), op.question_slots)
    assert [report.picked for report, _ in halves.ask(op)] == [expected.picked] * 2


def test_traces_are_of_all_heads() -> None:
    op = asking(range(7), num_slots=0)
    op = replace(op, retrieval=replace(op.retrieval, traces=True))
    expected, _ = whole("layers").run(WorkerPlan(retrievals=[op]), op.question_slots)
    for report, _ in Halves("layers").ask(op):
        for found, right in zip(report.traced["ask 0"], expected.traced["ask 0"], strict=True):
            for name in ("mean_key", "page_mean", "late_interaction"):
                assert found[name] == pytest.approx(right[name], abs=1e-5)


@pytest.mark.parametrize("mover", ["layers", "strided"])
def test_what_one_half_cannot_rank_both_give_up(mover: Mover) -> None:
    halves = Halves(mover)
    halves.rigs[1].worker.arena.drop([key(3)])
    (mine, bad), (theirs, their_bad) = halves.ask(asking(range(7)))
    assert bad | their_bad == {8, 0}
    mine.join(theirs)
    assert mine.missing == {"ask 0": [key(3)]}
    assert mine.picked == {}
    assert all(not bad for _, bad in halves.ask(asking(range(4, 8)))), "others are as good as ever"


def test_where_one_half_cannot_choose_on_the_device_neither_does() -> None:
    one, halves = whole("strided"), Halves("strided")
    rig = halves.rigs[1]
    segment = rig.worker.arena.get(key(2))
    assert segment is not None
    assert rig.worker._device is not None
    rig.worker._device.pool.wait()
    keys, values = segment.keys.clone(), segment.values.clone()
    rig.worker.arena.put(key(2), type(segment)(keys, values, segment.base, None, segment.offsets))
    op = asking(range(7))
    expected, _ = one.run(WorkerPlan(retrievals=[op]), op.question_slots)
    for report, bad in halves.ask(op):
        assert report.picked == expected.picked
        assert bad == set()
    torch.testing.assert_close(halves.cache, one.layers.cache, atol=1e-5, rtol=0)


def test_a_second_look_at_what_one_half_has_lost_ends_and_fails_its_request() -> None:
    ranking = Ranking(second_look="late_interaction", shortlist_clips=7)
    halves = Halves("layers", policy=RetrievalPolicy(ranking=ranking))
    del halves.rigs[1].worker.arena._segments[key(3)]  # the index knows it still
    op = asking(range(7), num_slots=7)
    (_, bad), (_, their_bad) = halves.ask(op)
    assert bad | their_bad == {8, 0}


def test_a_question_for_which_halves_have_chosen_otherwise_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    halves = Halves("layers")
    group = halves.rigs[1].worker._group
    halves.rigs[1].worker._group = Contrary(group.share, group.gather)
    with caplog.at_level(logging.ERROR):
        answers = halves.ask(asking(range(7)))
    assert [bad for _, bad in answers] == [{8, 0}] * 2
    assert "placed different segments" in caplog.text


@pytest.mark.parametrize("mover", ["layers", "strided"])
def test_halves_meet_as_often_as_there_are_layers_to_choose_in(mover: Mover) -> None:
    halves = Halves(mover)
    before = halves.meeting.num_meetings
    halves.run(WorkerPlan(loads=[loading([1, 2])]), [500])
    assert halves.meeting.num_meetings == before, "nothing is chosen"
    halves.ask(asking(range(7)))
    layers, agreements = 7, 2
    assert halves.meeting.num_meetings - before == layers + agreements


def test_a_budget_is_for_all_heads_together() -> None:
    halves = Halves("strided", range(0), pool_bytes=1 << 20)
    tokens = [rig.worker._device.pool.num_tokens for rig in halves.rigs if rig.worker._device]
    one = whole("strided", pool_bytes=1 << 20).worker._device
    assert one is not None
    assert tokens == [one.pool.num_tokens] * 2


_LAYERS = 7
_ROW_BYTES, _COARSE_BYTES = _LAYERS * 192, _LAYERS * 64
"""Of the entries of a clip of six tokens, of half of the heads."""

_TOKENS = RetrievalPolicy(ranking=Ranking(score="late_interaction"))
_PARTLY_ON_HOST = {
    "index_bytes": 2 * 6 * (_ROW_BYTES + _COARSE_BYTES),
    "index_host_bytes": 2 * 6 * _ROW_BYTES,
}
"""Room for the entries of six clips on the device, and of six on the host, for both halves."""


def _halves_of_twelve(scan_clips: int, policy: RetrievalPolicy = _TOKENS) -> Halves:
    policy = policy.model_copy(update={"scan_clips": scan_clips})
    return Halves("strided", range(12), policy=policy, **_PARTLY_ON_HOST)


def _see_first_clip_last(rig: Rig) -> None:
    """Have the entries of the first clip lie on the device of this worker, as the newest."""
    index = rig.worker.arena.index
    (group,) = index.groups([key(0)])
    index.put(key(0), torch.stack([group.entries(layer)[0] for layer in range(_LAYERS)]))


def _num_sunk(halves: Halves) -> list[int]:
    return [rig.worker.moves()["index_sunk"] for rig in halves.rigs]


@pytest.mark.parametrize("second_look", [None, "mean_key"])
@pytest.mark.parametrize("is_contrary", [False, True])
def test_halves_whose_index_lies_on_the_host_in_part_choose_what_the_whole_does(
    second_look: ScoreName | None, is_contrary: bool
) -> None:
    ranking = Ranking(score="late_interaction", second_look=second_look, shortlist_clips=3)
    policy = RetrievalPolicy(ranking=ranking)
    halves, one = _halves_of_twelve(6, policy), Rig("strided", policy=policy)
    one.ingest(range(12))
    if is_contrary:
        _see_first_clip_last(halves.rigs[1])
    for op in (asking(range(11)), asking(range(11), num_slots=0, recent=range(11, 12))):
        expected, _ = one.run(WorkerPlan(retrievals=[op]), op.question_slots)
        for report, bad in halves.ask(op):
            assert report.picked == expected.picked
            assert bad == set()
    assert _num_sunk(halves) == [6, 6 + is_contrary]


@pytest.mark.parametrize("is_contrary", [False, True])
def test_halves_agree_on_whom_they_compare_whole_of_those_on_the_host(is_contrary: bool) -> None:
    halves = _halves_of_twelve(2)
    if is_contrary:
        _see_first_clip_last(halves.rigs[1])
    for op in (asking(range(11)), asking(range(11), num_slots=0, recent=range(11, 12))):
        (mine, bad), (theirs, their_bad) = halves.ask(op)
        assert mine.picked == theirs.picked != {}
        assert bad | their_bad == set()
    chosen = [rig.worker.arena.index.groups([key(2)])[0] for rig in halves.rigs]
    assert all(one.below is not None for one in chosen)  # type: ignore[attr-defined]
