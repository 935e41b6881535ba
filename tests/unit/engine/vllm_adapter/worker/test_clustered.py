"""Many candidates are ranked as comparing each would rank them, whatever they look like."""

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from onlooker.engine.memory.key_runs import KeyRuns
from onlooker.engine.memory.ranking import ScoreName
from onlooker.engine.vllm_adapter.worker.index import Index, Likeness
from onlooker.engine.vllm_adapter.worker.ranker import LayerView, Ranker
from onlooker.engine.vllm_adapter.worker.scores import SCORES

LAYERS, KV_HEADS, HEAD_DIM = 2, 2, 16
DIMS = KV_HEADS * HEAD_DIM
COUNT = 8
STEM = "s/clip/"

Rows = NDArray[np.float32]
"""What the index keeps of clips in one layer, [clips, dims]."""


def scenes(random: np.random.Generator, count: int, noise: float = 0.2) -> Rows:
    """Scenes of about a minute, which do not come back."""
    starts = random.random(count) < 1 / 60
    starts[0] = True
    each = random.standard_normal((int(starts.sum()), DIMS), np.float32)
    clips = random.standard_normal((count, DIMS), np.float32)
    rows: Rows = each[starts.cumsum() - 1] + np.float32(noise) * clips
    return rows


def alike(random: np.random.Generator, count: int) -> Rows:
    """A camera that looks at a wall."""
    wall = random.standard_normal(DIMS, np.float32)
    return wall + _small(random, count)


def drifting(random: np.random.Generator, count: int) -> Rows:
    """A day that goes by without a cut."""
    return np.float32(0.02) * random.standard_normal((count, DIMS), np.float32).cumsum(0)


def rare(random: np.random.Generator, count: int) -> Rows:
    """A wall, and now and then something for one second."""
    rows = _small(random, count) + 1
    places = random.integers(count, size=12)
    rows[places] += random.standard_normal((12, DIMS), np.float32)
    return rows


def unlike(random: np.random.Generator, count: int) -> Rows:
    """Nothing is like anything."""
    return random.standard_normal((count, DIMS), np.float32)


def _small(random: np.random.Generator, count: int) -> Rows:
    return np.float32(0.01) * random.standard_normal((count, DIMS), np.float32)


Streams = Callable[[np.random.Generator, int], Rows]
STREAMS: list[Streams] = [scenes, alike, drifting, rare, unlike]


class Rig:
    """An index of one stream, and questions about it."""

    def __init__(self, stream: Streams, count: int, *, layers: tuple[int, ...] | None) -> None:
        self.random = np.random.default_rng(7)
        self.rows = [stream(self.random, count) for _ in range(LAYERS)]
        self.index = Index(likeness=Likeness(layers, min_rows=256))
        self.voters = None if layers is None else frozenset(layers)
        for number in range(count):
            self.put(number)

    def put(self, number: int) -> None:
        entries = np.stack([rows[number] for rows in self.rows])
        shape = (LAYERS, 1, KV_HEADS, HEAD_DIM)
        self.index.put(f"{STEM}{number:010d}", torch.from_numpy(entries.reshape(shape)))

    def looks(self, layers: Iterable[int], near: int | None) -> list[LayerView]:
        """What is asked for in `layers`: something like the clip `near`, or anything."""
        found = []
        for layer in layers:
            query = self.random.standard_normal((1, DIMS))
            if near is not None:
                query = 0.3 * query + self.rows[layer][near] - self.rows[layer].mean(0)
            queries = torch.from_numpy(query.astype("f").reshape(1, KV_HEADS, HEAD_DIM))
            found.append(LayerView(layer, queries))
        return found

    def ask(self, keys: KeyRuns, near: int | None, recent: KeyRuns | None = None) -> "Asked":
        layers = self.voters or {1}
        ranker = Ranker(
            self.index, SCORES["mean_key"], keys, recent or KeyRuns(), self.voters
        )  # fmt: skip
        looks, is_vote = self.looks(sorted(layers), near), self.voters is not None
        found = ranker.rank(looks, is_vote=is_vote, count=COUNT)
        whole = ranker.rank_all(looks, is_vote=is_vote)
        return Asked(
            found.best(COUNT, mass=None, temperature=1),
            whole.best(COUNT, mass=None, temperature=1),
            found.num_compared,
        )


class Asked:
    """What a search found, and what comparing all finds."""

    def __init__(self, found: list[int], best: list[int], num_compared: int) -> None:
        self.found, self.best, self.num_compared = found, best, num_compared

    @property
    def recall(self) -> float:
        return len(set(self.found) & set(self.best)) / len(self.best)


def runs(*spans: tuple[int, int]) -> KeyRuns:
    """Keys of the clips from each first number up to, and without, each last."""
    return KeyRuns([(f"{STEM}{first:010d}", last - first) for first, last in spans])


def recall_of(rig: Rig, keys: KeyRuns, numbers: Iterable[int]) -> float:
    """The mean share that is found, by questions about anything and about the clips `numbers`."""
    asked = [rig.ask(keys, None) for _ in range(12)] + [rig.ask(keys, one) for one in numbers]
    assert all(one.num_compared for one in asked)
    return float(np.mean([one.recall for one in asked]))


@pytest.mark.parametrize("layers", [None, (0, 1)])
@pytest.mark.parametrize("stream", STREAMS)
def test_a_search_finds_what_comparing_all_finds(
    stream: Streams, layers: tuple[int, ...] | None
) -> None:
    rig = Rig(stream, 2000, layers=layers)
    chosen = np.linalg.norm(rig.rows[1] - rig.rows[1].mean(0), axis=1).argsort()[-12:]
    assert recall_of(rig, runs((0, 2000)), chosen.tolist()) >= 0.99


def test_a_stream_twice_as_long_is_searched_by_hardly_more() -> None:
    short, long = (Rig(scenes, count, layers=(1,)) for count in (3000, 6000))
    compared = [
        np.mean([rig.ask(runs((0, count)), None).num_compared for _ in range(6)])
        for rig, count in ((short, 3000), (long, 6000))
    ]
    assert compared[1] < 1.3 * compared[0]


def test_only_the_times_that_are_asked_about_are_found() -> None:
    rig = Rig(scenes, 2000, layers=None)
    keys = runs((300, 900), (1200, 1700))
    asked = [rig.ask(keys, near) for near in (350, 700, 1300, 1600)]
    assert all(one.num_compared for one in asked)
    assert [one.recall for one in asked] == [1, 1, 1, 1]
    assert all(0 <= place < len(keys) for one in asked for place in one.found)


@pytest.mark.parametrize("gone", [range(500, 1000), range(0, 2000, 3)])
def test_what_was_deleted_is_not_found_and_the_rest_is(gone: range) -> None:
    rig = Rig(scenes, 2000, layers=None)
    for number in gone:
        rig.index.discard(f"{STEM}{number:010d}")
    left = sorted(set(range(2000)) - set(gone))
    keys = KeyRuns.of(f"{STEM}{number:010d}" for number in left)
    assert recall_of(rig, keys, left[::200]) >= 0.99


def test_a_clip_that_is_stored_anew_is_found_by_what_it_shows_now() -> None:
    rig = Rig(scenes, 2000, layers=None)
    rig.rows[1][77] = 5 * rig.rows[1][1500]
    rig.put(77)
    asked = rig.ask(runs((0, 2000)), 77)
    assert 77 in asked.found


def test_the_same_clips_in_the_same_order_are_ranked_the_same() -> None:
    first, second = (Rig(scenes, 2000, layers=None) for _ in range(2))
    assert first.ask(runs((0, 2000)), 5).found == second.ask(runs((0, 2000)), 5).found


def test_the_recent_window_is_ranked_beside_what_was_found() -> None:
    rig = Rig(scenes, 2000, layers=(0, 1))
    ranker = Ranker(
        rig.index, SCORES["mean_key"], runs((0, 1900)), runs((1900, 2000)), rig.voters
    )  # fmt: skip
    looks = rig.looks((0, 1), 1950)
    found = ranker.rank(looks, is_vote=True, count=COUNT)
    whole = ranker.rank_all(looks, is_vote=True)
    mine = found.scores[found.places > 1899]
    torch.testing.assert_close(mine, whole.scores[1900:], rtol=0.05, atol=0.05)


def test_mass_counts_those_that_were_not_compared() -> None:
    rig = Rig(scenes, 2000, layers=(0, 1))
    ranker = Ranker(rig.index, SCORES["mean_key"], runs((0, 2000)), KeyRuns(), rig.voters)
    looks = rig.looks((0, 1), 1234)
    found = ranker.rank(looks, is_vote=True, count=64)
    whole = ranker.rank_all(looks, is_vote=True)
    assert found.num_others
    for mass in (0.02, 0.1):
        some = found.best(64, mass=mass, temperature=1)
        expected = whole.best(64, mass=mass, temperature=1)
        assert abs(len(some) - len(expected)) <= max(1, 0.2 * len(expected))


def test_few_candidates_are_all_compared() -> None:
    rig = Rig(scenes, 2000, layers=None)
    assert rig.ask(runs((100, 200)), None).num_compared == 0


def test_a_long_stream_takes_no_more_than_its_rows_promise() -> None:
    rig = Rig(unlike, 2000, layers=None)
    assert rig.index.num_bytes <= 2000 * rig.index.max_row_bytes


def test_a_stream_that_rolls_on_stays_as_large_as_it_is() -> None:
    rig = Rig(scenes, 800, layers=(1,))
    sizes = []
    for number in range(8000):
        if number % 2000 == 1999:
            sizes.append(rig.index.num_bytes)
        rig.index.discard(f"{STEM}{number:010d}")
        entries = torch.from_numpy(rig.random.standard_normal((LAYERS, 1, KV_HEADS, HEAD_DIM)))
        rig.index.put(f"{STEM}{number + 800:010d}", entries.float())
    assert max(sizes[1:]) <= 1.2 * sizes[0]


@pytest.mark.parametrize("score", ["token_keys_8bit", "token_keys_1bit"])
def test_tokens_are_compared_of_those_that_are_best_by_their_means(score: ScoreName) -> None:
    random, scan, count = np.random.default_rng(3), 300, 3000
    index = Index(likeness=Likeness((0,), min_rows=scan), means=SCORES[score].means)
    keys = torch.from_numpy(0.3 * random.standard_normal((count, 6, 1, 16)).astype("f"))
    thing = torch.from_numpy(2.0 * random.standard_normal(16).astype("f"))
    keys[1234, 4, 0] += thing
    for number, one in enumerate(keys):
        index.put(f"{STEM}{number:010d}", SCORES[score].entries(one[None], None))
    asked, recent = runs((0, count - 8)), runs((count - 8, count))
    ranker = Ranker(index, SCORES[score], asked, recent, frozenset({0}))
    look = LayerView(0, thing.expand(3, 1, 16))
    found = ranker.rank([look], is_vote=True, count=8)
    assert len(found) == scan + 8
    assert found.num_others == count - 8 - scan
    assert found.before(count - 8).best(1, mass=None, temperature=1) == [1234]
    by_mean = Ranker(index, SCORES[score], asked, recent, None)
    whole = by_mean.rank_all([look], is_vote=False)
    shown = whole.scores[found.places]
    assert np.corrcoef(shown.numpy(), found.scores.numpy())[0, 1] > 0.9999


def test_a_search_goes_on_where_only_the_oldest_clips_are_compacted() -> None:
    """Their keys are of another kind than those of the newer ones, which are compared one by
    one."""
    rig = Rig(scenes, 2000, layers=(0, 1))
    for number in range(1990, 2000):
        entries = np.stack([rows[number] for rows in rig.rows])
        shape = (LAYERS, 1, KV_HEADS, HEAD_DIM)
        rig.index.put(f"s/newer/{number:010d}", torch.from_numpy(entries.reshape(shape)))
    keys = runs((0, 1990)) + KeyRuns([(f"s/newer/{1990:010d}", 10)])
    for near in (1234, 1995):
        asked = rig.ask(keys, near)
        assert asked.num_compared, "not all were compared"
        assert asked.recall >= 0.9
    ranker = Ranker(rig.index, SCORES["mean_key"], keys, KeyRuns(), rig.voters)
    found = ranker.rank(rig.looks((0, 1), 1995), is_vote=True, count=COUNT)
    assert {*range(1990, 2000)} <= {*found.places.tolist()}, "the newer ones are all compared"
