"""Clips of which only some places are computed, to the number: against an independent reference."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from onlooker.cache_store.key import StreamKey
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.engine.memory.stream_memory import StreamMemory
from onlooker.engine.memory.thinning import Thinner
from onlooker.engine.memory.timeline import RememberedClip
from onlooker.engine.memory.token_drop import DropName, TokenDropSection
from tests.vllm.rig import (
    NUM_CLIPS,
    NUM_TOKENS,
    assert_same,
    assert_stored,
    at_most,
    clip_of,
    ingesting,
    new_prompt,
    question_ids,
    result_of,
    sink_ids,
)

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

WINDOW = 4


@dataclass
class Thinned:
    """A stream whose clips were thinned, in the engine and in the reference."""

    kind: str
    tokens: list[Any]
    """The clips as they are kept."""
    pieces: list[Any]
    """The reference's own segments."""
    place: Any
    shares: list[float]

    def engine_answer(self, vllm: Any) -> tuple[list[int], list[float]]:
        builder = new_prompt()
        builder.load_text("sink", sink_ids(vllm))
        for tokens in self.tokens:
            builder.load_clip(tokens)
        builder.question(question_ids(vllm))
        return result_of(vllm.run(builder, max_tokens=NUM_TOKENS, logprobs=1))


def picked(tokens: Any, rows: Any, places: Any) -> Any:
    """The reference's tokens of a clip, with only some of its places."""
    return replace(
        tokens,
        embeds=tokens.embeds[rows],
        offsets=tokens.offsets[:, rows],
        is_visual=tokens.is_visual[rows],
        deepstack=[level[places] for level in tokens.deepstack],
    )


def some_of(piece: Any, rows: Any, offsets: Any) -> Any:
    """Some rows of a segment of the reference."""
    return replace(
        piece,
        keys=[keys[rows] for keys in piece.keys],
        values=[values[rows] for values in piece.values],
        offsets=offsets[:, rows],
        queries=[],
    )


def filled(piece: Any, rows: Any, before: Any, anchors: Any, offsets: Any) -> Any:
    """The reference's whole segment: rows that were not computed have the keys, without position,
    and the values of the clip before, and are changed as the rows of `anchors` are, above all as
    those whose values were most like theirs."""
    whole = replace(piece, keys=[], values=[], offsets=offsets, queries=[])
    others = np.setdiff1d(np.arange(offsets.shape[1]), rows)
    for name in ("keys", "values"):
        for layer, computed in enumerate(getattr(piece, name)):
            source = getattr(before, name)[layer]
            made = torch.full((offsets.shape[1], *computed.shape[1:]), torch.nan)
            made[rows] = computed
            values = before.values[layer].flatten(1).double()
            among = values[np.concatenate([others, anchors])]
            spread = (among - among.mean(0)).square().sum(1).mean()
            apart = (values[others][:, None] - values[anchors][None]).square().sum(-1)
            shares = (-2 * apart / spread).softmax(1).to(made.dtype)
            drift = (made[anchors] - source[anchors]).flatten(1)
            made[others] = source[others] + (shares @ drift).unflatten(1, made.shape[1:])
            assert not made.isnan().any()
            getattr(whole, name).append(made)
    return whole


def thinned(vllm: Any, whole: Any, method: DropName, *, step_tokens: int = 0) -> Thinned:
    """Ingest all clips with one method, in the engine and in the reference."""
    kind = f"{method}{step_tokens or ''}"
    memory = StreamMemory(StreamKey("m", "default", "s"))
    layout = vllm.layout
    settings = TokenDropSection(method=method, again_clips=3)
    thinner = Thinner(
        settings,
        tile=layout.patch * layout.merge,
        recent_clips=WINDOW,
    )
    reference = whole.reference
    found = Thinned(kind, [], [], whole.place, [])
    for index in range(NUM_CLIPS):
        tokens, pixels = clip_of(vllm, index, kind)
        frames = [Frame(2 * index + k, index + k / 2, 0.0, vllm.frames(index)[k]) for k in (0, 1)]
        clip = Clip(StreamId("s"), index, (frames[0], frames[1]))
        thin = asyncio.run(thinner.thin(memory, clip, tokens))
        assert thin is not None
        first = max(0, index - WINDOW)
        builder = new_prompt(kind)
        builder.load_text("sink", sink_ids(vllm))
        for earlier in found.tokens[first:]:
            builder.load_clip(earlier)
        kept = builder.save_clip(thin.tokens, pixels, filling=thin.filling)
        if step_tokens:
            with at_most(vllm, step_tokens):
                vllm.run(builder)
        else:
            vllm.run(builder)
        thin.note(memory)
        memory.add(RememberedClip(kept, index, float(index), index + 0.5, index + 1.0))

        full = reference.clip(tokens.token_ids, vllm.frames(index), vllm.second_per_grid)
        is_shown = np.ones(len(tokens.token_ids), np.bool_)
        is_shown[tokens.picture_rows] = thin.shown
        rows, places = np.flatnonzero(is_shown), np.flatnonzero(thin.shown)
        past = whole.past(found.pieces[first:])
        here = whole.place(len(past) - 1)
        is_filled = method == "filled" and not thin.shown.all()
        if is_filled:  # what is computed sees the places that are not
            past.append((some_of(found.pieces[-1], ~is_shown, full.offsets), here))
        piece, _ = reference.run(picked(full, rows, places), here, past)
        if is_filled:
            is_still = thin.shown & (thin.glance.changes <= settings.threshold)
            anchors = tokens.picture_rows[is_still]
            assert len(anchors) >= 3
            piece = filled(piece, rows, found.pieces[-1], anchors, full.offsets)
        found.tokens.append(kept)
        found.pieces.append(piece)
        found.shares.append(float(thin.shown.mean()))
    assert found.shares[0] == 1
    assert sum(share < 1 for share in found.shares) >= NUM_CLIPS - 2
    return found


@pytest.mark.parametrize("method", ["filled", "shown_again", "dtd"])
def test_a_thinned_stream_has_the_keys_and_values_of_the_reference(
    vllm: Any, whole: Any, method: DropName
) -> None:
    found = thinned(vllm, whole, method)
    assert_stored(vllm, found.kind, found.pieces)
    expected = whole.answer(vllm, found.pieces)
    assert_same(found.engine_answer(vllm), expected)
    undropped = whole.answer(vllm, whole.pieces)
    assert max(abs(a - b) for a, b in zip(expected[1], undropped[1], strict=True)) > 1e-3


@pytest.mark.parametrize("method", ["filled", "shown_again"])
def test_a_thinned_clip_in_small_chunks_gives_the_same_segments(
    vllm: Any, whole: Any, method: DropName
) -> None:
    found = thinned(vllm, whole, method, step_tokens=4)
    assert_stored(vllm, found.kind, found.pieces)


def test_a_clip_of_which_all_places_are_kept_is_the_whole_clip(vllm: Any) -> None:
    tokens, pixels = clip_of(vllm, 5, "ones")
    builder = ingesting(vllm, 4, range(4), "whole", into="ones")
    builder = new_prompt()
    builder.load_text("sink", sink_ids(vllm))
    for earlier in range(5):
        builder.load_clip(clip_of(vllm, earlier, "whole")[0])
    builder.save_clip(tokens.without(np.ones(9, np.bool_)), pixels)
    vllm.run(builder)
    ones, expected = vllm.arena.get("ones/5"), vllm.arena.get("whole/5")
    assert torch.equal(ones.keys, expected.keys)
    assert torch.equal(ones.values, expected.values)


def test_other_places_of_the_same_clip_are_encoded_anew(vllm: Any) -> None:
    """What vLLM keeps of an encoded clip goes by the name of the clip, and so must the places."""
    tokens, pixels = clip_of(vllm, 5, "places")
    keys = []
    for first in (0, 3):
        shown = np.zeros(9, np.bool_)
        shown[first : first + 3] = True
        builder = new_prompt()
        builder.load_text("sink", sink_ids(vllm))
        builder.save_clip(replace(tokens.without(shown), key="places/5"), pixels)
        vllm.run(builder)
        keys.append(vllm.arena.get("places/5").values.clone())
    assert float((keys[0] - keys[1]).abs().max()) > 1e-3


def test_a_first_clip_without_some_places_stands_where_the_whole_one_would(
    vllm: Any, whole: Any
) -> None:
    """Nothing is loaded that could carry the places, and the model's own would have no gap."""
    tokens, pixels = clip_of(vllm, 0, "alone")
    shown = np.array([1, 0, 0, 1, 0, 1, 0, 0, 1], np.bool_)
    thin = tokens.without(shown)
    builder = new_prompt()
    builder.save_clip(thin, pixels)
    vllm.run(builder)
    full = whole.reference.clip(tokens.token_ids, vllm.frames(0), vllm.second_per_grid)
    piece, _ = whole.reference.run(picked(full, thin.rows, np.flatnonzero(shown)), 0, [])
    segment = vllm.arena.get("alone/0")
    for layer in range(len(piece.keys)):
        assert float((segment.plain_keys[layer] - piece.keys[layer]).abs().max()) <= 1e-4
        assert float((segment.values[layer] - piece.values[layer]).abs().max()) <= 1e-4


@torch.no_grad()
def encoded_alone(model: Any, frames: Any, places: Any, processor: Any) -> Any:
    """Embeddings of some places of a clip by Hugging Face's vision tower, whose first layer gets
    the patches of these places and of no other."""
    visual = model.model.visual
    inputs = processor.video_processor(
        videos=[torch.from_numpy(frames).permute(0, 3, 1, 2)],
        return_tensors="pt",
        do_sample_frames=False,
    )
    grid = inputs["video_grid_thw"]
    merge = model.config.vision_config.spatial_merge_size**2
    rows = (torch.tensor(places)[:, None] * merge + torch.arange(merge)).flatten()
    taken: dict[str, Any] = {}

    def take(block: Any, args: Any, options: Any) -> None:
        """What the first layer gets of all patches: their embeddings and their positions."""
        taken.setdefault("hidden", args[0] if args else options["hidden_states"])
        taken.setdefault("turns", options["position_embeddings"])

    hook = visual.blocks[0].register_forward_pre_hook(take, with_kwargs=True)
    visual(inputs["pixel_values_videos"], grid_thw=grid)
    hook.remove()
    hidden, turns = taken["hidden"][rows], tuple(one[rows] for one in taken["turns"])
    lengths = torch.tensor([0, len(rows)], dtype=torch.int32)
    levels = []
    for number, block in enumerate(visual.blocks):
        hidden = block(hidden, cu_seqlens=lengths, position_embeddings=turns)
        if number in visual.deepstack_visual_indexes:
            at = visual.deepstack_visual_indexes.index(number)
            levels.append(visual.deepstack_merger_list[at](hidden))
    return torch.cat([visual.merger(hidden), *levels], 1)


def test_places_that_are_encoded_alone_are_what_the_tower_makes_of_them_alone(
    vllm: Any, reference: Any
) -> None:
    places = [[0, 4, 5], [2]]
    clips = [clip_of(vllm, index, "x")[1] for index in (1, 6)]

    def embed(model: Any) -> Any:
        from onlooker.engine.vllm_adapter.wire import ENCODED_FIELD

        return model.embed_multimodal(
            pixel_values_videos=torch.cat([one["pixel_values_videos"].data for one in clips]),
            video_grid_thw=torch.stack([one["video_grid_thw"].data for one in clips]),
            **{ENCODED_FIELD: [torch.tensor(one) for one in places]},
        )

    (found,) = vllm.llm.apply_model(embed)
    for index, some, rows in zip((1, 6), places, found, strict=True):
        frames = vllm.frames(index)
        expected = encoded_alone(reference.model, frames, some, reference.processor)
        assert rows.shape == expected.shape
        assert float((rows - expected).abs().max()) <= 1e-4
    full = encoded_alone(reference.model, vllm.frames(1), list(range(9)), reference.processor)
    assert float((full[places[0]] - found[0]).abs().max()) > 1e-3
