"""`ClipPreparer`: a clip as tokens and pixel features, without the model's processor where it can.

A Qwen-VL's processor resizes (nothing to do: perception did), cuts frames into patches and makes
tokens of a clip's text and stamp: a few microseconds of work inside milliseconds of generality.
Here only that work is done. Whether it comes to the same is not assumed but tried, once for each
frame size: two clips of noise must come out bit by bit as from the processor, or the processor goes
on preparing clips of that size.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from vllm.multimodal.inputs import MultiModalFieldElem, MultiModalKwargsItem, PlaceholderRange

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.engine.memory.places import Places
from onlooker.engine.vllm_adapter.gateway.composer import ClipTokens, clip_tokens, offsets_of
from onlooker.engine.vllm_adapter.gateway.prompt import stamp, stamp_s, video_item

_log = logging.getLogger("onlooker.engine.vllm")

Prepared: TypeAlias = tuple[ClipTokens, MultiModalKwargsItem]
"""A clip as tokens, and its features with pixels."""

MAX_SIZES = 16
"""Frame sizes that are remembered; clips of further ones go through the processor."""

INLINE_BYTES = 1 << 17
"""Pixels up to which cutting into patches is not worth a thread."""

_TRIED_AT_S = (12.25, 3456.75)
"""Stamps of the clips that are compared: of different length."""


class Processor(Protocol):
    """What is needed of a running vLLM."""

    @property
    def tokenizer(self) -> Any: ...

    async def render(self, prompt: dict[str, Any]) -> Any:
        """Tokenise a prompt and preprocess its clips."""
        ...


class ClipPreparer:
    """Prepares clips for one model.

    Args:
        text: what a prompt says for a clip.
    """

    def __init__(self, processor: Processor, text: Callable[[Clip], str], places: Places) -> None:
        self._processor = processor
        self._text = text
        self._places = places
        self._templates: dict[tuple[int, ...], _Template | None] = {}

    async def prepare(self, key: str, clip: Clip) -> Prepared:
        """`clip` as tokens named `key`."""
        size = clip.frames[0].pixels.shape
        if size not in self._templates:
            if len(self._templates) >= MAX_SIZES:
                return await self._processed(key, clip)
            self._templates[size] = await self._template(size)
        template = self._templates[size]
        if template is None:
            return await self._processed(key, clip)
        if clip.frames[0].pixels.nbytes > INLINE_BYTES:
            return await asyncio.to_thread(template.fill, key, clip)
        return template.fill(key, clip)

    async def _processed(self, key: str, clip: Clip) -> Prepared:
        """`clip` as the model's own processor prepares it."""
        rendered = await self._processor.render(
            {
                "prompt": self._text(clip),
                "multi_modal_data": {"video": [video_item(clip)]},
                "multi_modal_uuids": {"video": [key]},
            }
        )
        tokens = clip_tokens(key, rendered, self._places)
        return tokens, rendered["mm_kwargs"]["video"][0]

    async def _template(self, size: tuple[int, ...]) -> "_Template | None":
        """How clips of frames of `size` are prepared; None: as the processor does it."""
        template: _Template | None = None
        for start_s in _TRIED_AT_S:
            clip = _noise(size, start_s)
            expected = await self._processed("tried", clip)
            if template is None:
                template = self._learnt(clip, expected)
            if template is None or not _same(template.fill("tried", clip), expected):
                _log.info("clips go through the model's processor", extra={"size": size})
                return None
        return template

    def _learnt(self, clip: Clip, expected: Prepared) -> "_Template | None":
        tokens, item = expected
        encoded = _encoded_stamp(self._processor.tokenizer, clip)
        at = _find(tokens.token_ids, encoded)
        height, width = clip.frames[0].pixels.shape[:2]
        tile = self._places.patch * self._places.merge
        if at is None or height % tile or width % tile:
            return None
        return _Template(
            tokenizer=self._processor.tokenizer,
            before=tokens.token_ids[:at],
            after=tokens.token_ids[at + len(encoded) :],
            item=item,
            placeholder=tokens.placeholder,
            holds_stamp=tokens.placeholder.offset <= at,
            num_behind=len(tokens.token_ids)
            - (tokens.placeholder.offset + tokens.placeholder.length),
            places=self._places,
            layouts={},
        )


@dataclass(frozen=True, slots=True)
class _Template:
    """What clips of one frame size have in common."""

    tokenizer: Any
    before: list[int]
    after: list[int]
    """Token ids around the stamp."""
    item: MultiModalKwargsItem
    placeholder: PlaceholderRange
    holds_stamp: bool
    """Whether the stamp is inside the placeholder, or before it."""
    num_behind: int
    """Tokens behind the placeholder."""
    places: Places
    layouts: "dict[int, _Layout]"
    """By the number of tokens of the stamp."""

    def fill(self, key: str, clip: Clip) -> Prepared:
        encoded = _encoded_stamp(self.tokenizer, clip)
        ids = [*self.before, *encoded, *self.after]
        layout = self.layouts.get(len(encoded))
        if layout is None:
            layout = self.layouts[len(encoded)] = self._layout(ids)
        frames = np.stack([frame.pixels for frame in clip.frames])
        pixels = patches(frames, self.places.patch, self.places.merge)
        changed = {
            "pixel_values_videos": torch.from_numpy(pixels),
            "timestamps": [stamp_s(clip)],
        }
        item = MultiModalKwargsItem(
            {
                name: replace(elem, data=changed[name]) if name in changed else elem
                for name, elem in self.item.items()
            }
        )
        grid = MultiModalKwargsItem({k: elem for k, elem in item.items() if elem.field.keep_on_cpu})
        tokens = ClipTokens(key, ids, layout.placeholder, grid, layout.offsets, layout.extent)
        return tokens, item

    def _layout(self, ids: list[int]) -> "_Layout":
        offsets, extent = offsets_of(ids, self.item, self.places)
        end = len(ids) - self.num_behind
        start = self.placeholder.offset if self.holds_stamp else end - self.placeholder.length
        length = end - start
        is_embed = None
        if self.placeholder.is_embed is not None:
            is_embed = torch.tensor(ids[start : start + length]) == self.places.video_token
        placeholder = PlaceholderRange(offset=start, length=length, is_embed=is_embed)
        return _Layout(placeholder, offsets, extent)


@dataclass(frozen=True, slots=True)
class _Layout:
    placeholder: PlaceholderRange
    offsets: NDArray[np.int32]
    extent: int


def patches(frames: NDArray[np.uint8], patch: int, merge: int) -> NDArray[np.uint8]:
    """Frames [2, height, width, 3] as rows of one patch each, [patches, 3 * 2 * patch * patch]:
    the patches of one token follow each other, and in a row come colour, time, height, width."""
    num_frames, height, width, colours = frames.shape
    tile = patch * merge
    tiled = frames.reshape(
        num_frames, height // tile, merge, patch, width // tile, merge, patch, colours
    )
    rows = tiled.transpose(1, 4, 2, 5, 7, 0, 3, 6)
    return rows.reshape(-1, colours * num_frames * patch * patch)


def _encoded_stamp(tokenizer: Any, clip: Clip) -> list[int]:
    return list(tokenizer.encode(stamp(clip), add_special_tokens=False))


def _find(ids: Sequence[int], wanted: Sequence[int]) -> int | None:
    """Where `wanted` stands in `ids`."""
    for start in range(len(ids) - len(wanted) + 1):
        if list(ids[start : start + len(wanted)]) == list(wanted):
            return start
    return None


def _noise(size: tuple[int, ...], start_s: float) -> Clip:
    rng = np.random.default_rng(int(start_s))
    frames = [
        Frame(index, start_s + index / 2, 0.0, rng.integers(0, 256, size, np.uint8))
        for index in range(2)
    ]
    return Clip(StreamId("tried"), 0, (frames[0], frames[1]))


def _same(found: Prepared, expected: Prepared) -> bool:
    mine, theirs = found[0], expected[0]
    return (
        mine.token_ids == theirs.token_ids
        and _same_place(mine.placeholder, theirs.placeholder)
        and np.array_equal(mine.offsets, theirs.offsets)
        and mine.extent == theirs.extent
        and set(mine.grid) == set(theirs.grid)
        and set(found[1]) == set(expected[1])
        and all(_same_elem(elem, expected[1][name]) for name, elem in found[1].items())
    )


def _same_place(mine: PlaceholderRange, theirs: PlaceholderRange) -> bool:
    if (mine.offset, mine.length) != (theirs.offset, theirs.length):
        return False
    if mine.is_embed is None or theirs.is_embed is None:
        return mine.is_embed is theirs.is_embed
    return torch.equal(mine.is_embed, theirs.is_embed)


def _same_elem(mine: MultiModalFieldElem, theirs: MultiModalFieldElem) -> bool:
    if mine.field != theirs.field:
        return False
    if not isinstance(mine.data, torch.Tensor):
        return bool(mine.data == theirs.data)
    return (
        isinstance(theirs.data, torch.Tensor)
        and mine.data.dtype == theirs.data.dtype
        and torch.equal(mine.data, theirs.data)
    )
