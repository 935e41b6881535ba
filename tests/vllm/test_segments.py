"""KV segments are correct to the number: against stock vLLM and an independent reference."""

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vllm.rig import (
    NUM_CLIPS,
    NUM_TOKENS,
    QUESTION,
    TOLERANCE,
    Rebuilt,
    answer,
    asking,
    assert_same,
    assert_stored,
    at_most,
    clip_of,
    ingest,
    new_prompt,
    question_ids,
    result_of,
    sink_ids,
)

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]


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
    with at_most(vllm, 4):
        ingest(vllm, 5, range(5), "whole", into="in-chunks")
    whole, chunked = vllm.arena.get("whole/5"), vllm.arena.get("in-chunks/5")
    assert float((whole.keys - chunked.keys).abs().max()) <= 1e-5
    assert float((whole.values - chunked.values).abs().max()) <= 1e-5


def test_the_places_of_all_tokens_are_those_that_the_model_gives_them(vllm: Any) -> None:
    from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange

    from onlooker.engine.vllm_adapter.gateway.features import engine_input
    from onlooker.engine.vllm_adapter.wire import POSITIONS_FIELD

    prompt = engine_input(asking(vllm, range(NUM_CLIPS)).build())
    (carrier,) = prompt["mm_kwargs"]["video"]  # one feature, however many clips
    start = len(sink_ids(vllm))
    features = []
    for index in range(NUM_CLIPS):
        clip, pixels = clip_of(vllm, index, "whole")
        place = PlaceholderRange(start + clip.placeholder.offset, clip.placeholder.length)
        features.append(MultiModalFeatureSpec(pixels, "video", str(index), place))
        start += len(clip.token_ids)

    def stock(model: Any) -> Any:
        base: Any = type(model).__mro__[3]  # behind the quick layers and the guard
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
    max_examples=12, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_any_prompt_computed_in_any_chunks_equals_the_reference(
    vllm: Any, whole: Rebuilt, sliding: Rebuilt, data: st.DataObject
) -> None:
    kind, own = data.draw(st.sampled_from([("whole", whole), ("sliding", sliding)]))
    clips = data.draw(st.lists(st.integers(0, NUM_CLIPS - 1), max_size=12))  # some twice
    chunk = data.draw(st.sampled_from([1, 3, 7, 2048]))
    with at_most(vllm, chunk):
        found = result_of(answer(vllm, clips, kind))
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
