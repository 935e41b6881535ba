"""KV segments are correct to the number: against stock vLLM and an independent reference."""

import dataclasses
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from onlooker import demo_model

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

MODEL = Path(os.environ.get("ONLOOKER_TEST_MODEL", Path(demo_model.__path__[0]) / "weights"))
NUM_CLIPS = 8
WINDOW = 3
QUESTION = "What colour is the circle?"
NUM_TOKENS = 8
TOLERANCE = 1e-4
"""Log probabilities, float32: rotary angles are the largest part of it."""


@pytest.fixture(scope="module")
def vllm() -> Iterator[Any]:
    from tests.vllm.in_process import SegmentVllm

    engine = SegmentVllm(MODEL)
    builder = _builder()
    builder.save_text("sink", _sink(engine))
    builder.question(engine.ids("x"))
    engine.run(builder)
    for index in range(NUM_CLIPS):
        _ingest(engine, index, range(index), "whole")
        _ingest(engine, index, range(max(0, index - WINDOW), index), "sliding")
    yield engine
    engine.engine.engine_core.shutdown()


@pytest.fixture(scope="module")
def reference() -> Any:
    from tests.vllm.reference import Reference

    return Reference(MODEL)


def _builder(salt: str | None = None) -> Any:
    from onlooker.engine.vllm_adapter.segments.composer import PromptBuilder

    return PromptBuilder(salt)


def _sink(vllm: Any) -> list[int]:
    from tests.vllm.in_process import SINK

    return list(vllm.ids(SINK))


def _question(vllm: Any) -> list[int]:
    from tests.vllm.in_process import ASK

    return list(vllm.ids(QUESTION + ASK))


def _clip(vllm: Any, index: int, kind: str) -> tuple[Any, Any]:
    from dataclasses import replace

    tokens, pixels = vllm.clip(index)
    return replace(tokens, key=f"{kind}/{index}"), pixels


def _ingest(
    vllm: Any, index: int, past: Sequence[int], kind: str, into: str = "", salt: str | None = None
) -> Any:
    builder = _builder(salt)
    builder.load_text("sink", _sink(vllm))
    for earlier in past:
        builder.load_clip(_clip(vllm, earlier, kind)[0])
    tokens, pixels = _clip(vllm, index, into or kind)
    builder.save_clip(tokens, pixels)
    return vllm.run(builder)


def _answer(vllm: Any, clips: Sequence[int], kind: str = "whole") -> Any:
    return vllm.run(_asking(vllm, clips, kind), max_tokens=NUM_TOKENS, logprobs=1)


def _asking(vllm: Any, clips: Sequence[int], kind: str = "whole") -> Any:
    builder = _builder()
    builder.load_text("sink", _sink(vllm))
    for index in clips:
        builder.load_clip(_clip(vllm, index, kind)[0])
    builder.question(_question(vllm))
    return builder


def _result(output: Any) -> tuple[list[int], list[float]]:
    completion = output.outputs[0]
    ids = list(completion.token_ids)
    chosen = zip(ids, completion.logprobs, strict=True)
    return ids, [step[token].logprob for token, step in chosen]


def _assert_same(
    found: tuple[list[int], list[float]], expected: tuple[list[int], list[float]]
) -> None:
    assert found[0] == expected[0]
    assert found[1] == pytest.approx(expected[1], abs=TOLERANCE)


# ---- against stock vLLM ----


def test_clips_ingested_one_by_one_answer_as_one_ordinary_request(vllm: Any) -> None:
    stock = vllm.stock(list(range(NUM_CLIPS)), QUESTION, NUM_TOKENS)
    _assert_same(_result(_answer(vllm, range(NUM_CLIPS))), _result(stock))


def test_the_comparison_notices_clips_in_another_order(vllm: Any) -> None:
    stock = _result(vllm.stock(list(range(NUM_CLIPS)), QUESTION, NUM_TOKENS))
    swapped = _result(_answer(vllm, [1, 0, *range(2, NUM_CLIPS)]))
    differs = max(abs(a - b) for a, b in zip(swapped[1], stock[1], strict=True))
    assert swapped[0] != stock[0] or differs > TOLERANCE


def test_ingest_in_small_chunks_gives_the_same_segments(vllm: Any) -> None:
    before = vllm.scheduler.max_num_scheduled_tokens
    vllm.scheduler.max_num_scheduled_tokens = 4
    try:
        _ingest(vllm, 5, range(5), "whole", into="in-chunks")
    finally:
        vllm.scheduler.max_num_scheduled_tokens = before
    whole, chunked = vllm.arena.get("whole/5"), vllm.arena.get("in-chunks/5")
    assert float((whole.keys - chunked.keys).abs().max()) <= 1e-5
    assert float((whole.values - chunked.values).abs().max()) <= 1e-5


def test_the_places_of_all_tokens_are_those_that_the_model_gives_them(vllm: Any) -> None:
    from vllm.multimodal.inputs import MultiModalFeatureSpec, MultiModalKwargsItem

    from onlooker.engine.vllm_adapter.segments.composer import POSITIONS_FIELD

    prompt, _ = _asking(vllm, range(NUM_CLIPS)).build()
    (carrier,) = prompt["mm_kwargs"]["video"]  # one feature, however many clips
    start = len(_sink(vllm))
    features = []
    for index in range(NUM_CLIPS):
        clip, _ = _clip(vllm, index, "whole")
        place = dataclasses.replace(clip.placeholder, offset=start + clip.placeholder.offset)
        grid = MultiModalKwargsItem(clip.grid)
        features.append(MultiModalFeatureSpec(grid, "video", str(index), place))
        start += len(clip.token_ids)

    def stock(model: Any) -> Any:
        base: Any = type(model).__mro__[1]
        return base.get_mrope_input_positions(model, prompt["prompt_token_ids"], features)

    (expected,) = vllm.llm.apply_model(stock)
    assert carrier[POSITIONS_FIELD].data.tolist() == expected[0].tolist()


def _tokens_loaded(vllm: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From now on, how many tokens each step loads."""
    from vllm.distributed.kv_transfer import get_kv_transfer_group

    worker, counts = get_kv_transfer_group().segment_worker, []
    load = worker._load

    def counted(ops: list[Any]) -> None:
        counts.append(sum(len(op.slots) for op in ops))
        load(ops)

    monkeypatch.setattr(worker, "_load", counted)
    return counts


def test_a_context_that_grows_stays_in_its_blocks_and_gives_the_same_segments(
    vllm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = _tokens_loaded(vllm, monkeypatch)
    for index in range(NUM_CLIPS):
        _ingest(vllm, index, range(index), "whole", into="grown", salt="one stream")
        grown, alone = vllm.arena.get(f"grown/{index}"), vllm.arena.get(f"whole/{index}")
        assert float((grown.keys - alone.keys).abs().max()) <= 1e-5
        assert float((grown.values - alone.values).abs().max()) <= 1e-5
    clip_tokens = len(_clip(vllm, 0, "whole")[0].token_ids)
    # At most the newest clip, which was computed, and what shares a block with it.
    assert max(counts[2:]) < clip_tokens + 2 * 32
    assert sum(counts) < NUM_CLIPS * (clip_tokens + 32) < sum(range(NUM_CLIPS)) * clip_tokens


def test_what_one_salt_left_in_blocks_no_other_finds(
    vllm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(5):
        _ingest(vllm, index, range(index), "whole", into="mine", salt="mine")
    counts = _tokens_loaded(vllm, monkeypatch)
    _ingest(vllm, 4, range(4), "whole", into="yours", salt="yours")
    _ingest(vllm, 4, range(4), "whole", into="nobody's")
    sink, clip_tokens = len(_sink(vllm)), len(_clip(vllm, 0, "whole")[0].token_ids)
    assert counts == [sink + 4 * clip_tokens] * 2


# ---- against the reference ----


class Recall:
    """The reference's own segments of the same clips."""

    def __init__(self, vllm: Any, reference: Any, window: int) -> None:
        self.reference, self.extent = reference, 0
        sink = _sink(vllm)
        self.sink, _ = reference.run(reference.text(sink), 0, [])
        self.start = len(sink)
        self.pieces: list[Any] = []
        for index in range(NUM_CLIPS):
            from tests.vllm.in_process import frames

            tokens = reference.clip(vllm.clip(index)[0].token_ids, frames(index))
            self.extent = tokens.extent
            past = self.past(self.pieces[max(0, index - window) :])
            self.pieces.append(reference.run(tokens, self.place(len(past) - 1), past)[0])

    def place(self, slot: int) -> int:
        return self.start + slot * self.extent

    def past(self, pieces: Sequence[Any]) -> list[tuple[Any, int]]:
        return [(self.sink, 0), *((piece, self.place(i)) for i, piece in enumerate(pieces))]

    def answer(self, vllm: Any, pieces: Sequence[Any]) -> tuple[list[int], list[float]]:
        found: tuple[list[int], list[float]] = self.reference.answer(
            _question(vllm), self.place(len(pieces)), self.past(pieces), NUM_TOKENS
        )
        return found


@pytest.fixture(scope="module")
def whole(vllm: Any, reference: Any) -> Recall:
    return Recall(vllm, reference, NUM_CLIPS)


@pytest.fixture(scope="module")
def sliding(vllm: Any, reference: Any) -> Recall:
    return Recall(vllm, reference, WINDOW)


SELECTIONS = [
    random.Random(seed).sample(range(NUM_CLIPS), random.Random(seed).randint(1, NUM_CLIPS))
    for seed in range(6)
]


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_any_selection_in_any_order_equals_the_reference(
    vllm: Any, whole: Recall, selection: list[int]
) -> None:
    expected = whole.answer(vllm, [whole.pieces[i] for i in selection])
    _assert_same(_result(_answer(vllm, selection)), expected)


@pytest.mark.parametrize("selection", [[0, 4, 7], list(range(NUM_CLIPS))], ids=str)
def test_clips_computed_under_a_sliding_window_equal_the_recursive_reference(
    vllm: Any, sliding: Recall, selection: list[int]
) -> None:
    for index, piece in enumerate(sliding.pieces):
        segment = vllm.arena.get(f"sliding/{index}")
        for layer, (keys, values) in enumerate(zip(piece.keys, piece.values, strict=True)):
            assert float((segment.plain_keys[layer] - keys).abs().max()) <= 1e-4
            assert float((segment.values[layer] - values).abs().max()) <= 1e-4
    expected = sliding.answer(vllm, [sliding.pieces[i] for i in selection])
    _assert_same(_result(_answer(vllm, selection, "sliding")), expected)


# ---- retrieval ----


def _retrieving(vllm: Any, num_slots: int, recent: Sequence[int]) -> Any:
    builder = _builder()
    builder.load_text("sink", _sink(vllm))
    older = [index for index in range(NUM_CLIPS) if index not in recent]
    builder.retrieve([_clip(vllm, index, "whole")[0] for index in older], num_slots)
    for index in recent:
        builder.load_clip(_clip(vllm, index, "whole")[0])
    builder.question(_question(vllm))
    return builder


def _picked(output: Any) -> list[list[int]]:
    from onlooker.engine.vllm_adapter.segments.spec import PARAMS_KEY

    picked = output.kv_transfer_params[PARAMS_KEY]["picked"]
    return [[int(key.split("/")[1]) for key in layer] for layer in picked]


def test_retrieving_all_clips_equals_no_retrieval(vllm: Any) -> None:
    output = vllm.run(_retrieving(vllm, NUM_CLIPS, []), max_tokens=NUM_TOKENS, logprobs=1)
    assert all(layer == list(range(NUM_CLIPS)) for layer in _picked(output))
    _assert_same(_result(output), _result(_answer(vllm, range(NUM_CLIPS))))


@pytest.mark.parametrize("num_slots", [1, 3])
def test_each_layer_attends_to_what_it_picked(vllm: Any, whole: Recall, num_slots: int) -> None:
    recent = [6, 7]
    output = vllm.run(_retrieving(vllm, num_slots, recent), max_tokens=NUM_TOKENS, logprobs=1)
    picked = _picked(output)
    assert all(len(layer) == num_slots and layer == sorted(layer) for layer in picked)
    slots = [[whole.pieces[layer[slot]] for layer in picked] for slot in range(num_slots)]
    expected = whole.answer(vllm, [*slots, *(whole.pieces[i] for i in recent)])
    _assert_same(_result(output), expected)


# ---- choosing ----


@pytest.fixture
def choosing(vllm: Any) -> Iterator[Any]:
    """Sets how the worker chooses; afterwards it is as before."""
    yield vllm.choose_by
    vllm.choose_by()


def _probe(vllm: Any, num_wanted: int, older: Sequence[int], recent: Sequence[int]) -> Any:
    builder = _builder()
    builder.load_text("sink", _sink(vllm))
    for index in recent:
        builder.load_clip(_clip(vllm, index, "whole")[0])
    builder.probe(
        [f"whole/{index}" for index in older], num_wanted, [f"whole/{index}" for index in recent]
    )
    builder.question(_question(vllm))
    return builder


def _probed(vllm: Any, num_wanted: int, recent: Sequence[int] = (6, 7)) -> list[int]:
    older = [index for index in range(NUM_CLIPS) if index not in recent]
    (chosen,) = _picked(vllm.run(_probe(vllm, num_wanted, older, recent)))
    return chosen


def _logits(question: Any, clip: Any, layer: int) -> Any:
    """The reference's attention logits without position, [heads, question, clip tokens]."""
    queries, keys = question.queries[layer], clip.keys[layer]
    keys = keys.repeat_interleave(queries.shape[1] // keys.shape[1], dim=1)
    return queries.transpose(0, 1) @ keys.permute(1, 2, 0) / queries.shape[-1] ** 0.5


SCORE_OF = {
    "mean_key": lambda logits: float(logits.mean()),
    "page_mean": lambda logits: max(float(part.mean()) for part in logits.split(16, dim=-1)),
    "late_interaction": lambda logits: float(logits.amax(-1).mean()),
}
"""Scores from all logits of a clip: what they mean, not how they are computed."""


def _votes(vllm: Any, whole: Recall, score: str, layers: Sequence[int]) -> list[float]:
    """Added up z-scores of clips 0-5, asked with clips 6 and 7 in view."""
    import statistics

    recent = [whole.pieces[6], whole.pieces[7]]
    tokens = whole.reference.text(_question(vllm))
    asked, _ = whole.reference.run(tokens, whole.place(2), whole.past(recent))
    total = [0.0] * 6
    for layer in layers:
        scores = [SCORE_OF[score](_logits(asked, whole.pieces[i], layer)) for i in range(6)]
        mean, deviation = statistics.mean(scores), statistics.pstdev(scores)
        total = [t + (s - mean) / deviation for t, s in zip(total, scores, strict=True)]
    return total


@pytest.mark.parametrize("score", list(SCORE_OF))
@pytest.mark.parametrize("layers", [(2,), (1, 3), None], ids=str)
def test_a_probe_chooses_what_the_reference_ranks_best(
    vllm: Any, whole: Recall, choosing: Any, score: str, layers: tuple[int, ...] | None
) -> None:
    choosing(ranking={"score": score, "voting_layers": layers})
    num_layers = len(whole.pieces[0].keys)
    votes = _votes(vllm, whole, score, range(num_layers) if layers is None else layers)
    order = sorted(range(6), key=lambda i: -votes[i])
    for num_wanted in (1, 3, 6):
        assert _probed(vllm, num_wanted) == sorted(order[:num_wanted])


def test_a_second_look_over_all_candidates_is_the_finer_score(vllm: Any, choosing: Any) -> None:
    choosing(ranking={"score": "late_interaction", "voting_layers": [2]})
    expected = _probed(vllm, 2)
    choosing(ranking={"second_look": "late_interaction", "voting_layers": [2]})
    assert _probed(vllm, 2) == expected


def test_a_second_look_stays_within_the_shortlist_and_reads_no_more(
    vllm: Any, choosing: Any
) -> None:
    from onlooker.engine.vllm_adapter.segments.spec import PARAMS_KEY

    choosing(ranking={"voting_layers": [2]})
    short = _probed(vllm, 2)
    choosing(ranking={"second_look": "page_mean", "shortlist_clips": 2, "voting_layers": [2]})
    output = vllm.run(_probe(vllm, 1, range(6), [6, 7]))
    assert set(_picked(output)[0]) <= set(short)
    read = output.kv_transfer_params[PARAMS_KEY]["read"]
    assert set(read) == {"sink", *(f"whole/{index}" for index in (*short, 6, 7))}


def test_mass_brings_back_no_more_than_it_takes(vllm: Any, whole: Recall, choosing: Any) -> None:
    import torch

    choosing(ranking={"voting_layers": [2]}, mass=0.5)
    shares = torch.softmax(torch.tensor(_votes(vllm, whole, "mean_key", [2])), 0)
    order = shares.argsort(descending=True).tolist()
    wanted = 1 + sum(bool(shares[order[: n + 1]].sum() < 0.5) for n in range(6))
    assert wanted < 5
    assert _probed(vllm, 5) == sorted(order[:wanted])


def test_in_one_pass_what_mass_does_not_need_shows_the_newest(
    vllm: Any, whole: Recall, choosing: Any
) -> None:
    choosing(mass=0.01)  # one clip is enough
    output = vllm.run(_retrieving(vllm, 3, [6, 7]), max_tokens=NUM_TOKENS, logprobs=1)
    picked = _picked(output)
    assert all({4, 5} <= set(layer) or layer == [3, 4, 5] for layer in picked)
    slots = [[whole.pieces[layer[slot]] for layer in picked] for slot in range(3)]
    expected = whole.answer(vllm, [*slots, whole.pieces[6], whole.pieces[7]])
    _assert_same(_result(output), expected)


def test_layers_after_a_voter_share_its_choice(vllm: Any, whole: Recall, choosing: Any) -> None:
    choosing(ranking={"voting_layers": [2]})
    output = vllm.run(_retrieving(vllm, 2, [6, 7]), max_tokens=NUM_TOKENS, logprobs=1)
    picked = _picked(output)
    assert picked[2] == picked[3] == picked[-1]
    slots = [[whole.pieces[layer[slot]] for layer in picked] for slot in range(2)]
    expected = whole.answer(vllm, [*slots, whole.pieces[6], whole.pieces[7]])
    _assert_same(_result(output), expected)


def test_the_gate_brings_back_nothing_when_the_window_matches_best(
    vllm: Any, whole: Recall, choosing: Any
) -> None:
    choosing(ranking={"voting_layers": [2]}, gates=True)
    tokens = whole.reference.text(_question(vllm))
    outcomes = set()
    for window in range(NUM_CLIPS):
        past = whole.past([whole.pieces[window]])
        asked, _ = whole.reference.run(tokens, whole.place(1), past)
        scores = [float(_logits(asked, piece, 2).mean()) for piece in whole.pieces]
        is_now = max(scores) == scores[window]
        assert (_probed(vllm, 2, recent=(window,)) == []) is is_now
        outcomes.add(is_now)
    assert outcomes == {True, False}


def test_representatives_are_those_that_the_clip_s_own_queries_attend_to(
    vllm: Any, whole: Recall, choosing: Any
) -> None:
    import torch

    choosing(ranking={"score": "representatives"})
    _ingest(vllm, 5, range(5), "whole", into="represented")
    ((_, slab, row),) = [
        (g.members, g.slab, int(g.rows[0])) for g in vllm.arena.index.groups(["represented/5"])
    ]
    piece = whole.pieces[5]
    for layer, keys in enumerate(piece.keys):
        logits = _logits(piece, piece, layer).sum(0)
        attended = torch.stack([logits[token:, token].mean() for token in range(len(keys))])
        best = attended.topk(4).indices.sort().values
        assert float((slab.data[layer, row] - keys[best]).abs().max()) <= 1e-4


# ---- trouble ----


def test_preemption_in_the_middle_of_an_answer_changes_nothing(vllm: Any) -> None:
    expected = _result(_answer(vllm, [0, 3, 6]))
    request = vllm.add(_asking(vllm, [0, 3, 6]), max_tokens=NUM_TOKENS, logprobs=1)
    for _ in range(3):
        vllm.step()
    assert vllm.scheduler.reset_prefix_cache(reset_running_requests=True)
    outputs: list[Any] = []
    while not outputs:
        outputs = vllm.step()
    assert outputs[0].request_id == request
    _assert_same(_result(outputs[0]), expected)


def test_an_ingest_that_is_preempted_half_way_gives_the_same_segment(vllm: Any) -> None:
    before = vllm.scheduler.max_num_scheduled_tokens
    vllm.scheduler.max_num_scheduled_tokens = 4
    try:
        builder = _builder()
        builder.load_text("sink", _sink(vllm))
        for earlier in range(5):
            builder.load_clip(_clip(vllm, earlier, "whole")[0])
        tokens, pixels = _clip(vllm, 5, "preempted")
        builder.save_clip(tokens, pixels)
        vllm.add(builder)
        vllm.step()
        vllm.step()
        assert vllm.scheduler.reset_prefix_cache(reset_running_requests=True)
        while not vllm.step():
            pass
    finally:
        vllm.scheduler.max_num_scheduled_tokens = before
    whole, preempted = vllm.arena.get("whole/5"), vllm.arena.get("preempted/5")
    assert float((whole.keys - preempted.keys).abs().max()) <= 1e-5
    assert float((whole.plain_keys - preempted.plain_keys).abs().max()) <= 1e-5


def test_an_aborted_answer_leaves_nothing_behind(vllm: Any) -> None:
    expected = _result(_answer(vllm, range(NUM_CLIPS)))
    count, free = len(vllm.arena), vllm.scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
    request = vllm.add(_asking(vllm, range(NUM_CLIPS)), max_tokens=200)
    for _ in range(3):
        vllm.step()
    vllm.engine.abort_request([request])
    vllm.step()
    assert not vllm.engine.has_unfinished_requests()
    assert len(vllm.arena) == count
    assert vllm.scheduler.kv_cache_manager.block_pool.get_num_free_blocks() == free
    _assert_same(_result(_answer(vllm, range(NUM_CLIPS))), expected)


def test_a_missing_segment_fails_its_request_and_no_other(vllm: Any) -> None:
    expected = _result(_answer(vllm, [0, 3, 6]))
    vllm.arena.put("gone/2", vllm.arena.get("whole/2"))
    broken = _asking(vllm, [2], "gone")
    vllm.arena.drop(["gone/2"])
    bad = vllm.add(broken, max_tokens=NUM_TOKENS)
    good = vllm.add(_asking(vllm, [0, 3, 6]), max_tokens=NUM_TOKENS, logprobs=1)
    ended: dict[str, Any] = {}
    while len(ended) < 2:
        ended |= {output.request_id: output for output in vllm.step()}
    assert ended[bad].outputs[0].finish_reason == "error"
    _assert_same(_result(ended[good]), expected)


def test_a_stored_segment_is_never_changed_by_using_it(vllm: Any) -> None:
    segment = vllm.arena.get("whole/3")
    keys, values = segment.keys.clone(), segment.values.clone()
    for _ in range(3):
        _answer(vllm, [5, 3])
    assert bool((vllm.arena.get("whole/3").keys == keys).all())
    assert bool((vllm.arena.get("whole/3").values == values).all())


def test_a_check_leaves_the_stored_memory_bit_identical(vllm: Any) -> None:
    """The two forms of check: how a reply begins, and how well a given reply fits."""
    from onlooker.core.ids import StreamId
    from onlooker.engine.checks import Check
    from onlooker.engine.vllm_adapter.checks import check_sampling

    def memory() -> dict[str, tuple[bytes, bytes]]:
        segments = {key: vllm.arena.get(key) for key in [f"whole/{i}" for i in range(NUM_CLIPS)]}
        return {
            key: (segment.keys.numpy().tobytes(), segment.values.numpy().tobytes())
            for key, segment in {**segments, "sink": vllm.arena.get("sink")}.items()
        }

    before, count = memory(), len(vllm.arena)
    yes_no = [vllm.ids("yes"), vllm.ids("no")]
    asked = Check(StreamId("x"), QUESTION, 0.0, answers=(("yes",), ("no",)))
    given = Check(StreamId("x"), QUESTION, 0.0, given="red")
    for check, groups in ((asked, yes_no), (given, [])):
        prompt, spec = _asking(vllm, [5, 6, 7]).build()
        sampling = check_sampling(check, groups, kv_transfer_params=spec.to_params())
        vllm.engine.add_request(f"check-{len(groups)}", prompt, sampling)
        while not vllm.step():
            pass
    assert memory() == before
    assert len(vllm.arena) == count


def test_a_clip_is_encoded_once_and_never_for_an_answer(vllm: Any) -> None:
    counts: list[int] = []

    def count_calls(model: Any) -> None:
        plain = model.visual.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            counts.append(1)
            return plain(*args, **kwargs)

        model.visual.forward = forward

    def restore(model: Any) -> None:
        del model.visual.forward

    vllm.llm.apply_model(count_calls)
    try:
        for index in (0, 1, 2):
            _ingest(vllm, index, range(index), "whole", into="counted")
        assert len(counts) == 3
        _answer(vllm, [0, 1, 2])
        vllm.run(_retrieving(vllm, 2, [6, 7]), max_tokens=2)
        assert len(counts) == 3
    finally:
        vllm.llm.apply_model(restore)
