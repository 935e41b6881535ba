"""KV segments are correct to the number: against stock vLLM and an independent reference."""

import dataclasses
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onlooker import demo_model
from tests.vllm.rig import (
    NUM_CLIPS,
    NUM_TOKENS,
    QUESTION,
    SCORE_OF,
    TOLERANCE,
    WINDOW,
    Rebuilt,
    answer,
    asking,
    assert_same,
    assert_stored,
    clip_of,
    ingest,
    ingest_all,
    ingesting,
    logits_of,
    new_prompt,
    picks,
    question_ids,
    result_of,
    retrieving,
    save_sink,
    sink_ids,
    votes_of,
)

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

MODEL = Path(os.environ.get("ONLOOKER_TEST_MODEL", Path(demo_model.__path__[0]) / "weights"))


@pytest.fixture(scope="module")
def vllm() -> Iterator[Any]:
    from tests.vllm.in_process import SegmentVllm

    engine = SegmentVllm(MODEL)
    save_sink(engine)
    ingest_all(engine)
    yield engine
    engine.engine.engine_core.shutdown()


@pytest.fixture(scope="module")
def reference() -> Any:
    from tests.vllm.reference import Reference

    return Reference(MODEL)


# ---- against stock vLLM ----


def test_clips_ingested_one_by_one_answer_as_one_ordinary_request(vllm: Any) -> None:
    stock = vllm.stock(list(range(NUM_CLIPS)), QUESTION, NUM_TOKENS)
    assert_same(result_of(answer(vllm, range(NUM_CLIPS))), result_of(stock))


def test_the_comparison_notices_clips_in_another_order(vllm: Any) -> None:
    stock = result_of(vllm.stock(list(range(NUM_CLIPS)), QUESTION, NUM_TOKENS))
    swapped = result_of(answer(vllm, [1, 0, *range(2, NUM_CLIPS)]))
    differs = max(abs(a - b) for a, b in zip(swapped[1], stock[1], strict=True))
    assert swapped[0] != stock[0] or differs > TOLERANCE


def test_ingest_in_small_chunks_gives_the_same_segments(vllm: Any) -> None:
    before = vllm.scheduler.max_num_scheduled_tokens
    vllm.scheduler.max_num_scheduled_tokens = 4
    try:
        ingest(vllm, 5, range(5), "whole", into="in-chunks")
    finally:
        vllm.scheduler.max_num_scheduled_tokens = before
    whole, chunked = vllm.arena.get("whole/5"), vllm.arena.get("in-chunks/5")
    assert float((whole.keys - chunked.keys).abs().max()) <= 1e-5
    assert float((whole.values - chunked.values).abs().max()) <= 1e-5


def test_the_places_of_all_tokens_are_those_that_the_model_gives_them(vllm: Any) -> None:
    from vllm.multimodal.inputs import MultiModalFeatureSpec, MultiModalKwargsItem

    from onlooker.engine.vllm_adapter.segments.composer import POSITIONS_FIELD

    prompt, _ = asking(vllm, range(NUM_CLIPS)).build()
    (carrier,) = prompt["mm_kwargs"]["video"]  # one feature, however many clips
    start = len(sink_ids(vllm))
    features = []
    for index in range(NUM_CLIPS):
        clip, _ = clip_of(vllm, index, "whole")
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
        ingest(vllm, index, range(index), "whole", into="grown", salt="one stream")
        grown, alone = vllm.arena.get(f"grown/{index}"), vllm.arena.get(f"whole/{index}")
        assert float((grown.keys - alone.keys).abs().max()) <= 1e-5
        assert float((grown.values - alone.values).abs().max()) <= 1e-5
    clip_tokens = len(clip_of(vllm, 0, "whole")[0].token_ids)
    # At most the newest clip, which was computed, and what shares a block with it.
    assert max(counts[2:]) < clip_tokens + 2 * 32
    assert sum(counts) < NUM_CLIPS * (clip_tokens + 32) < sum(range(NUM_CLIPS)) * clip_tokens


def test_what_one_salt_left_in_blocks_no_other_finds(
    vllm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(5):
        ingest(vllm, index, range(index), "whole", into="mine", salt="mine")
    counts = _tokens_loaded(vllm, monkeypatch)
    ingest(vllm, 4, range(4), "whole", into="yours", salt="yours")
    ingest(vllm, 4, range(4), "whole", into="nobody's")
    sink, clip_tokens = len(sink_ids(vllm)), len(clip_of(vllm, 0, "whole")[0].token_ids)
    assert counts == [sink + 4 * clip_tokens] * 2


# ---- against the reference ----


@pytest.fixture(scope="module")
def whole(vllm: Any, reference: Any) -> Rebuilt:
    return Rebuilt(vllm, reference, NUM_CLIPS)


@pytest.fixture(scope="module")
def sliding(vllm: Any, reference: Any) -> Rebuilt:
    return Rebuilt(vllm, reference, WINDOW)


SELECTIONS = [
    random.Random(seed).sample(range(NUM_CLIPS), random.Random(seed).randint(1, NUM_CLIPS))
    for seed in range(6)
]


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_any_selection_in_any_order_equals_the_reference(
    vllm: Any, whole: Rebuilt, selection: list[int]
) -> None:
    expected = whole.answer(vllm, [whole.pieces[i] for i in selection])
    assert_same(result_of(answer(vllm, selection)), expected)


@pytest.mark.parametrize("selection", [[0, 4, 7], list(range(NUM_CLIPS))], ids=str)
def test_clips_computed_under_a_sliding_window_equal_the_recursive_reference(
    vllm: Any, sliding: Rebuilt, selection: list[int]
) -> None:
    assert_stored(vllm, "sliding", sliding.pieces)
    expected = sliding.answer(vllm, [sliding.pieces[i] for i in selection])
    assert_same(result_of(answer(vllm, selection, "sliding")), expected)


@settings(
    max_examples=12, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_any_prompt_computed_in_any_chunks_equals_the_reference(
    vllm: Any, whole: Rebuilt, sliding: Rebuilt, data: st.DataObject
) -> None:
    kind, own = data.draw(st.sampled_from([("whole", whole), ("sliding", sliding)]))
    clips = data.draw(st.lists(st.integers(0, NUM_CLIPS - 1), max_size=12))  # some twice
    chunk = data.draw(st.sampled_from([1, 3, 7, 2048]))
    before = vllm.scheduler.max_num_scheduled_tokens
    vllm.scheduler.max_num_scheduled_tokens = chunk
    try:
        found = result_of(answer(vllm, clips, kind))
    finally:
        vllm.scheduler.max_num_scheduled_tokens = before
    assert_same(found, own.answer(vllm, [own.pieces[i] for i in clips]))


def test_a_note_stands_between_the_sink_and_the_clips(vllm: Any, whole: Rebuilt) -> None:
    note = vllm.ids("What colour is it? red\n")
    builder = new_prompt()
    builder.load_text("sink", sink_ids(vllm))
    builder.save_text("note", note)
    builder.question(note[-1:])
    vllm.run(builder)
    builder = new_prompt()
    builder.load_text("sink", sink_ids(vllm))
    builder.load_text("note", note)
    for index in (4, 1):
        builder.load_clip(clip_of(vllm, index, "whole")[0])
    builder.question(question_ids(vllm))
    found = result_of(vllm.run(builder, max_tokens=NUM_TOKENS, logprobs=1))
    reference = whole.reference
    piece, _ = reference.run(reference.text(note), whole.start, [(whole.sink, 0)])
    first = whole.start + len(note)
    places = [first, first + whole.extent]
    clips = zip((whole.pieces[4], whole.pieces[1]), places, strict=True)
    past = [(whole.sink, 0), (piece, whole.start), *clips]
    expected = reference.answer(question_ids(vllm), first + 2 * whole.extent, past, NUM_TOKENS)
    assert_same(found, expected)


# ---- retrieval ----


@settings(
    max_examples=12, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_any_retrieval_attends_to_what_it_says(
    vllm: Any, whole: Rebuilt, data: st.DataObject
) -> None:
    recent = sorted(data.draw(st.sets(st.integers(0, NUM_CLIPS - 1), max_size=4)))
    num_slots = data.draw(st.integers(1, NUM_CLIPS - len(recent)))
    score = data.draw(st.sampled_from(["mean_key", "page_mean", "late_interaction"]))
    finer = data.draw(st.sampled_from([None, "representatives", "late_interaction"]))
    voters = data.draw(st.none() | st.lists(st.integers(0, 4), min_size=1, unique=True))
    mass = data.draw(st.none() | st.floats(0.05, 0.95))
    ranking = {
        "score": score, "second_look": None if finer == score else finer, "shortlist_clips": 3,
        "voting_layers": voters,
    }  # fmt: skip
    vllm.choose_by(ranking=ranking, mass=mass)
    try:
        output = vllm.run(retrieving(vllm, num_slots, recent), max_tokens=NUM_TOKENS, logprobs=1)
    finally:
        vllm.choose_by()
    picked = picks(output)
    assert all(layer == sorted(set(layer)) and len(layer) == num_slots for layer in picked)
    slots = [[whole.pieces[layer[slot]] for layer in picked] for slot in range(num_slots)]
    expected = whole.answer(vllm, [*slots, *(whole.pieces[i] for i in recent)])
    assert_same(result_of(output), expected)


def test_retrieving_all_clips_equals_no_retrieval(vllm: Any) -> None:
    output = vllm.run(retrieving(vllm, NUM_CLIPS, []), max_tokens=NUM_TOKENS, logprobs=1)
    assert all(layer == list(range(NUM_CLIPS)) for layer in picks(output))
    assert_same(result_of(output), result_of(answer(vllm, range(NUM_CLIPS))))


@pytest.mark.parametrize("num_slots", [1, 3])
def test_each_layer_attends_to_what_it_picked(vllm: Any, whole: Rebuilt, num_slots: int) -> None:
    recent = [6, 7]
    output = vllm.run(retrieving(vllm, num_slots, recent), max_tokens=NUM_TOKENS, logprobs=1)
    picked = picks(output)
    assert all(len(layer) == num_slots and layer == sorted(layer) for layer in picked)
    slots = [[whole.pieces[layer[slot]] for layer in picked] for slot in range(num_slots)]
    expected = whole.answer(vllm, [*slots, *(whole.pieces[i] for i in recent)])
    assert_same(result_of(output), expected)


# ---- choosing ----


@pytest.fixture
def choosing(vllm: Any) -> Iterator[Any]:
    """Sets how the worker chooses; afterwards it is as before."""
    yield vllm.choose_by
    vllm.choose_by()


def _probe(vllm: Any, num_wanted: int, older: Sequence[int], recent: Sequence[int]) -> Any:
    builder = new_prompt()
    builder.load_text("sink", sink_ids(vllm))
    for index in recent:
        builder.load_clip(clip_of(vllm, index, "whole")[0])
    builder.probe(
        [f"whole/{index}" for index in older], num_wanted, [f"whole/{index}" for index in recent]
    )
    builder.question(question_ids(vllm))
    return builder


def _probed(vllm: Any, num_wanted: int, recent: Sequence[int] = (6, 7)) -> list[int]:
    older = [index for index in range(NUM_CLIPS) if index not in recent]
    (chosen,) = picks(vllm.run(_probe(vllm, num_wanted, older, recent)))
    return chosen


@pytest.mark.parametrize("score", list(SCORE_OF))
@pytest.mark.parametrize("layers", [(2,), (1, 3), None], ids=str)
def test_a_probe_chooses_what_the_reference_ranks_best(
    vllm: Any, whole: Rebuilt, choosing: Any, score: str, layers: tuple[int, ...] | None
) -> None:
    choosing(ranking={"score": score, "voting_layers": layers})
    num_layers = len(whole.pieces[0].keys)
    votes = votes_of(vllm, whole, score, range(num_layers) if layers is None else layers)
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
    assert set(picks(output)[0]) <= set(short)
    read = output.kv_transfer_params[PARAMS_KEY]["read"]
    assert set(read) == {"sink", *(f"whole/{index}" for index in (*short, 6, 7))}


def test_mass_brings_back_no_more_than_it_takes(vllm: Any, whole: Rebuilt, choosing: Any) -> None:
    import torch

    choosing(ranking={"voting_layers": [2]}, mass=0.5)
    shares = torch.softmax(torch.tensor(votes_of(vllm, whole, "mean_key", [2])), 0)
    order = shares.argsort(descending=True).tolist()
    wanted = 1 + sum(bool(shares[order[: n + 1]].sum() < 0.5) for n in range(6))
    assert wanted < 5
    assert _probed(vllm, 5) == sorted(order[:wanted])


def test_in_one_pass_what_mass_does_not_need_shows_the_newest(
    vllm: Any, whole: Rebuilt, choosing: Any
) -> None:
    choosing(mass=0.01)  # one clip is enough
    output = vllm.run(retrieving(vllm, 3, [6, 7]), max_tokens=NUM_TOKENS, logprobs=1)
    picked = picks(output)
    assert all({4, 5} <= set(layer) or layer == [3, 4, 5] for layer in picked)
    slots = [[whole.pieces[layer[slot]] for layer in picked] for slot in range(3)]
    expected = whole.answer(vllm, [*slots, whole.pieces[6], whole.pieces[7]])
    assert_same(result_of(output), expected)


def test_layers_after_a_voter_share_its_choice(vllm: Any, whole: Rebuilt, choosing: Any) -> None:
    choosing(ranking={"voting_layers": [2]})
    output = vllm.run(retrieving(vllm, 2, [6, 7]), max_tokens=NUM_TOKENS, logprobs=1)
    picked = picks(output)
    assert picked[2] == picked[3] == picked[-1]
    slots = [[whole.pieces[layer[slot]] for layer in picked] for slot in range(2)]
    expected = whole.answer(vllm, [*slots, whole.pieces[6], whole.pieces[7]])
    assert_same(result_of(output), expected)


def test_the_gate_brings_back_nothing_when_the_window_matches_best(
    vllm: Any, whole: Rebuilt, choosing: Any
) -> None:
    choosing(ranking={"voting_layers": [2]}, gates=True)
    tokens = whole.reference.text(question_ids(vllm))
    outcomes = set()
    for window in range(NUM_CLIPS):
        past = whole.past([whole.pieces[window]])
        asked, _ = whole.reference.run(tokens, whole.place(1), past)
        scores = [float(logits_of(asked, piece, 2).mean()) for piece in whole.pieces]
        is_now = max(scores) == scores[window]
        assert (_probed(vllm, 2, recent=(window,)) == []) is is_now
        outcomes.add(is_now)
    assert outcomes == {True, False}


def test_representatives_are_those_that_the_clip_s_own_queries_attend_to(
    vllm: Any, whole: Rebuilt, choosing: Any
) -> None:
    import torch

    choosing(ranking={"score": "representatives"})
    ingest(vllm, 5, range(5), "whole", into="represented")
    ((_, slab, row),) = [
        (g.members, g.slab, int(g.rows[0])) for g in vllm.arena.index.groups(["represented/5"])
    ]
    piece = whole.pieces[5]
    for layer, keys in enumerate(piece.keys):
        logits = logits_of(piece, piece, layer).sum(0)
        attended = torch.stack([logits[token:, token].mean() for token in range(len(keys))])
        best = attended.topk(4).indices.sort().values
        assert float((slab.data[layer, row] - keys[best]).abs().max()) <= 1e-4


# ---- trouble ----


def test_preemption_in_the_middle_of_an_answer_changes_nothing(vllm: Any) -> None:
    expected = result_of(answer(vllm, [0, 3, 6]))
    request = vllm.add(asking(vllm, [0, 3, 6]), max_tokens=NUM_TOKENS, logprobs=1)
    for _ in range(3):
        vllm.step()
    assert vllm.scheduler.reset_prefix_cache(reset_running_requests=True)
    outputs: list[Any] = []
    while not outputs:
        outputs = vllm.step()
    assert outputs[0].request_id == request
    assert_same(result_of(outputs[0]), expected)


def test_an_ingest_that_is_preempted_half_way_gives_the_same_segment(vllm: Any) -> None:
    before = vllm.scheduler.max_num_scheduled_tokens
    vllm.scheduler.max_num_scheduled_tokens = 4
    try:
        builder = new_prompt()
        builder.load_text("sink", sink_ids(vllm))
        for earlier in range(5):
            builder.load_clip(clip_of(vllm, earlier, "whole")[0])
        tokens, pixels = clip_of(vllm, 5, "preempted")
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
    expected = result_of(answer(vllm, range(NUM_CLIPS)))
    count, free = len(vllm.arena), vllm.scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
    request = vllm.add(asking(vllm, range(NUM_CLIPS)), max_tokens=200)
    for _ in range(3):
        vllm.step()
    vllm.engine.abort_request([request])
    vllm.step()
    assert not vllm.engine.has_unfinished_requests()
    assert len(vllm.arena) == count
    assert vllm.scheduler.kv_cache_manager.block_pool.get_num_free_blocks() == free
    assert_same(result_of(answer(vllm, range(NUM_CLIPS))), expected)


def test_an_ingest_that_is_aborted_in_the_middle_leaves_no_segment(vllm: Any) -> None:
    count = len(vllm.arena)
    before = vllm.scheduler.max_num_scheduled_tokens
    vllm.scheduler.max_num_scheduled_tokens = 4
    try:
        request = vllm.add(ingesting(vllm, 5, range(5), "whole", into="aborted"))
        for _ in range(2):
            assert not vllm.step()
        vllm.engine.abort_request([request])
        vllm.step()
    finally:
        vllm.scheduler.max_num_scheduled_tokens = before
    assert len(vllm.arena) == count
    assert vllm.arena.get("aborted/5") is None
    assert not vllm.worker._partial


def test_a_retrieval_that_is_preempted_answers_the_same(vllm: Any) -> None:
    expected = vllm.run(retrieving(vllm, 2, [6, 7]), max_tokens=NUM_TOKENS, logprobs=1)
    vllm.add(retrieving(vllm, 2, [6, 7]), max_tokens=NUM_TOKENS, logprobs=1)
    for _ in range(3):
        vllm.step()
    assert vllm.scheduler.reset_prefix_cache(reset_running_requests=True)
    outputs: list[Any] = []
    while not outputs:
        outputs = vllm.step()
    assert_same(result_of(outputs[0]), result_of(expected))


def test_a_missing_segment_fails_its_request_and_no_other(vllm: Any) -> None:
    expected = result_of(answer(vllm, [0, 3, 6]))
    vllm.arena.put("gone/2", vllm.arena.get("whole/2"))
    broken = asking(vllm, [2], "gone")
    vllm.arena.drop(["gone/2"])
    bad = vllm.add(broken, max_tokens=NUM_TOKENS)
    good = vllm.add(asking(vllm, [0, 3, 6]), max_tokens=NUM_TOKENS, logprobs=1)
    ended: dict[str, Any] = {}
    while len(ended) < 2:
        ended |= {output.request_id: output for output in vllm.step()}
    assert ended[bad].outputs[0].finish_reason == "error"
    assert_same(result_of(ended[good]), expected)


def test_a_stored_segment_is_never_changed_by_using_it(vllm: Any) -> None:
    segment = vllm.arena.get("whole/3")
    keys, values = segment.keys.clone(), segment.values.clone()
    for _ in range(3):
        answer(vllm, [5, 3])
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
        prompt, spec = asking(vllm, [5, 6, 7]).build()
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
            ingest(vllm, index, range(index), "whole", into="counted")
        assert len(counts) == 3
        answer(vllm, [0, 1, 2])
        vllm.run(retrieving(vllm, 2, [6, 7]), max_tokens=2)
        assert len(counts) == 3
    finally:
        vllm.llm.apply_model(restore)
