"""Clips that are thinned: which places are left, where the others come from, and what is noted."""

import json
from typing import Any

import numpy as np
import pytest

from onlooker.cache_store.key import StreamKey
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame, Pixels
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.memory.clip_tokens import ClipTokens, Placeholder
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.memory.plan import Filling
from onlooker.engine.memory.prompt import PromptBuilder
from onlooker.engine.memory.rotary_layout import RotaryLayout
from onlooker.engine.memory.stream_memory import StreamMemory
from onlooker.engine.memory.thinning import ThinClip, Thinner
from onlooker.engine.memory.timeline import RememberedClip
from onlooker.engine.memory.token_drop import DropName, TokenDropSection

TILE = 8
LAYOUT = RotaryLayout(video_token=9, patch=4, merge=2, tokens_per_second=None)
SIDE = 3


def picture(*bright: int) -> Pixels:
    """A dark picture with some places bright."""
    found = np.zeros((SIDE, SIDE), np.uint8)
    found.flat[list(bright)] = 200
    return np.repeat(found.repeat(TILE, 0).repeat(TILE, 1)[..., None], 3, -1)


class Stream:
    """A stream's memory, and clips that are thinned and kept one after the other."""

    def __init__(self, method: DropName = "filled", **options: Any) -> None:
        self.memory = StreamMemory(StreamKey("m", "default", "s"))
        options = {"again_clips": 4096, "anchor_places": 0, **options}
        section = TokenDropSection(method=method, **options)
        self.thinner = Thinner(section, tile=TILE, recent_clips=4)

    def tokens(self, index: int, *, stamp: int = 2) -> ClipTokens:
        """A clip of `stamp` tokens of text, nine places and one more token of text."""
        ids = [1] * stamp + [9] * SIDE**2 + [2]
        key = self.memory.clip_key(index)
        grid = [1, SIDE * 2, SIDE * 2]
        place = Placeholder(0, len(ids), np.array(ids) == 9)
        return ClipTokens.made(
            key, ids, place, grid, LAYOUT, stamps=[float(index)], second_per_grid=None
        )

    async def thin(
        self, index: int, pixels: Pixels, *, stamp: int = 2, care: Care = NO_CARE
    ) -> ThinClip | None:
        frames = Frame(0, float(index), 0.0, pixels), Frame(1, index + 0.5, 0.0, pixels)
        clip = Clip(StreamId("s"), index, frames)
        return await self.thinner.thin(self.memory, clip, self.tokens(index, stamp=stamp), care)

    async def keep(
        self, index: int, pixels: Pixels, *, stamp: int = 2, care: Care = NO_CARE
    ) -> tuple[ThinClip, Any]:
        """Thin a clip and keep it; returns it and the span that is saved."""
        thin = await self.thin(index, pixels, stamp=stamp, care=care)
        assert thin is not None
        builder = PromptBuilder()
        kept = builder.save_clip(thin.tokens, "pixels", filling=thin.filling)
        thin.note(self.memory)
        self.memory.add(RememberedClip(kept, index, float(index), index + 0.5, index + 0.5))
        return thin, builder.build().plan.saves[0]


async def test_a_filled_clip_is_kept_whole_from_the_clip_before_it() -> None:
    stream = Stream()
    await stream.keep(0, picture())
    _, span = await stream.keep(1, picture(4))
    assert span.rows == [0, 1, 2 + 4, 11]
    assert span.num_tokens == 4
    assert len(span.offsets[0]) == 12
    assert (span.filling.key, span.filling.shift) == (stream.memory.clip_key(0), 0)
    others = [2 + place for place in range(9) if place != 4]
    assert span.filling.rows == span.filling.from_rows == others
    assert span.filling.anchors == []
    _, span = await stream.keep(2, picture(4, 8))
    assert (span.filling.key, len(span.filling.rows)) == (stream.memory.clip_key(1), 8)
    kept = [clip.tokens for clip in stream.memory.recent(9)]
    assert [len(tokens.token_ids) for tokens in kept] == [12] * 3
    assert [tokens.shown_ratio for tokens in kept] == pytest.approx([1, 1 / 9, 1 / 9])


async def test_a_place_stands_further_on_where_the_stamp_has_grown() -> None:
    stream = Stream()
    await stream.keep(0, picture())
    _, span = await stream.keep(1, picture(4), stamp=3)
    assert span.filling.shift == 1
    assert [row - 1 for row in span.filling.rows] == span.filling.from_rows


async def test_places_that_were_shown_longest_ago_are_anchors() -> None:
    stream = Stream(anchor_places=2)
    await stream.keep(0, picture())
    for index, anchors in ((1, [0, 1]), (2, [2, 3])):
        thin, span = await stream.keep(index, picture(8), stamp=1 + index)
        assert [place for place in range(9) if thin.shown[place]] == anchors + [8] * (index == 1)
        assert span.filling.anchors == [1 + index + place for place in anchors]
        assert span.filling.from_anchors == [max(2, index) + place for place in anchors]
        assert not set(span.filling.rows) & set(span.rows)


async def test_where_places_take_their_turn_there_are_no_more_anchors_than_that() -> None:
    stream = Stream(anchor_places=1, again_clips=3)
    await stream.keep(0, picture())
    thin, span = await stream.keep(1, picture())
    assert thin.shown.sum() == len(span.filling.anchors) == 2


async def test_places_of_a_clip_that_is_gone_are_computed_anew() -> None:
    stream = Stream()
    await stream.keep(0, picture())
    await stream.keep(1, picture(4))
    stream.memory.forget({stream.memory.clip_key(1)})
    thin, span = await stream.keep(2, picture(4))
    assert thin.shown.all()
    assert (span.rows, span.filling) == ([], None)


def test_rows_that_are_not_computed_stand_before_those_that_are() -> None:
    whole = Stream().tokens(1)
    shown = np.arange(9) == 4
    rows = [2, 3, 4, 5, 7, 8, 9, 10]
    builder = PromptBuilder()
    builder.load_text("sink", [5, 5, 5])
    filling = Filling("clip/0", rows, rows, 0)
    builder.save_clip(whole.without(shown), "pixels", filling=filling)
    prompt = builder.build()
    assert prompt.token_ids == [5] * 3 + [9] * 8 + [1, 1, 9, 2]
    assert prompt.plan.num_covered_tokens == 3 + 8
    assert builder.num_computed_tokens == 4
    assert (prompt.plan.saves[0].start, prompt.computed[0].start) == (11, 11)
    assert prompt.positions is not None
    places = whole.offsets[:, [*rows, 0, 1, 6, 11]] + 3
    assert (prompt.positions[:, 3:] == places).all()


async def test_what_is_deleted_is_no_longer_known_by_its_looks() -> None:
    stream = Stream()
    await stream.keep(0, picture())
    await stream.keep(1, picture(4))
    stream.memory.forget_span(1.0, 1.2)
    thin = await stream.thin(2, picture(4))
    assert thin is not None
    assert thin.shown.all()


@pytest.mark.parametrize("method", ["shown_again", "dtd"])
async def test_a_dropped_clip_keeps_its_extent_and_the_places_of_its_tokens(
    method: DropName,
) -> None:
    stream = Stream(method)
    await stream.keep(0, picture())
    thin, span = await stream.keep(1, picture(1, 5))
    whole = stream.tokens(1)
    assert (span.rows, span.filling) == ([], None)
    assert thin.tokens.token_ids == [1, 1, 9, 9, 2]
    assert thin.tokens.extent == whole.extent
    assert (thin.tokens.offsets == whole.offsets[:, [0, 1, 2 + 1, 2 + 5, 11]]).all()
    assert span.offsets == thin.tokens.offsets.tolist()
    assert thin.tokens.placeholder.length == 5


async def test_a_dropped_clip_is_found_again_as_it_was_kept() -> None:
    stream = Stream("shown_again")
    await stream.keep(0, picture())
    _, span = await stream.keep(1, picture(1, 5))
    (kept,) = stream.memory.recent(1)
    again = ClipTokens.restored(span.key, span.meta, LAYOUT)
    assert again.token_ids == kept.tokens.token_ids
    assert (again.offsets == kept.tokens.offsets).all()
    assert (again.extent, again.shown_ratio) == (kept.tokens.extent, kept.tokens.shown_ratio)
    assert again.identity == kept.tokens.identity
    assert again.meta() == kept.tokens.meta()


async def test_a_filled_clip_that_is_found_again_still_says_that_it_was_thinned() -> None:
    stream = Stream()
    await stream.keep(0, picture())
    _, span = await stream.keep(1, picture(1, 5))
    again = ClipTokens.restored(span.key, span.meta, LAYOUT)
    assert again.shown_ratio == pytest.approx(2 / 9)
    assert again.kept is None
    assert "shown_ratio" not in json.loads(json.dumps(stream.tokens(0).meta()))


def test_clips_that_keep_other_places_have_other_names() -> None:
    whole = Stream().tokens(0)
    masks = [np.arange(9) < 3, np.arange(9) >= 6]
    names = {whole.without(mask).identity for mask in masks} | {whole.identity}
    assert len(names) == 3


async def test_without_a_method_nothing_is_noted() -> None:
    stream = Stream("off")
    assert await stream.thin(0, picture()) is None
    assert stream.memory.mosaic is None


@pytest.mark.parametrize(
    ("care", "is_thin"),
    [
        (Care(), False),
        (Care(is_thinned=True), True),
        (Care(token_drop="off", is_thinned=True), False),
        (Care(token_drop="filled"), True),
    ],
)
async def test_load_thins_the_clips_of_streams_that_chose_nothing(
    care: Care, is_thin: bool
) -> None:
    stream = Stream("off", under_load="filled")
    await stream.keep(0, picture(), care=Care(token_drop="filled"))
    thin = await stream.thin(1, picture(4), care=care)
    assert (thin is not None) == is_thin


def test_a_computed_clip_without_some_places_carries_the_places_of_its_prompt() -> None:
    whole = Stream().tokens(0)
    for tokens, carries in ((whole, False), (whole.without(np.arange(9) < 2), True)):
        builder = PromptBuilder()
        builder.save_clip(tokens, "pixels")
        builder.question([3, 3])
        prompt = builder.build()
        assert (prompt.positions is not None) == carries
    assert prompt.positions is not None
    assert prompt.positions[:, -2:].tolist() == [[whole.extent, whole.extent + 1]] * 3


def test_one_pass_is_refused_where_clips_are_of_many_sizes() -> None:
    with pytest.raises(ValueError, match=r"'dtd' makes clips of many sizes.*'auto' or 'probe'"):
        MemorySection.model_validate({"retrieval": "layers", "token_drop": {"method": "dtd"}})
    MemorySection.model_validate({"retrieval": "layers", "token_drop": {"method": "filled"}})
