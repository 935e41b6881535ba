"""`ClipPreparer`: a clip as tokens and pixel features, without the model's processor where it can.

A Qwen-VL's processor resizes (nothing to do: perception did), cuts frames into patches and makes
tokens of a clip's text and stamp: a few microseconds of work inside milliseconds of generality.
Here only that work is done. Whether it comes to the same is not assumed but tried, once for each
frame size: two clips of noise must come out bit by bit as from the processor, or the processor goes
on preparing clips of that size.
"""

import asyncio
import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.engine.memory.clip_tokens import ClipTokens, Placeholder
from onlooker.engine.memory.rotary_layout import RotaryLayout
from onlooker.engine.vllm_adapter import seams
from onlooker.engine.vllm_adapter.gateway.composer import stamp, stamp_s, video_item
from onlooker.engine.vllm_adapter.gateway.features import STAMPS_FIELD, clip_tokens

_log = logging.getLogger("onlooker.engine.vllm")

Prepared: TypeAlias = tuple[ClipTokens, Any]
"""A clip as tokens, and its features with pixels."""

MAX_SIZES = 16
"""Frame sizes that are remembered; clips of further ones go through the processor."""

INLINE_BYTES = 1 << 17
"""Pixels up to which cutting into patches is not worth a thread."""

_TRIED_AT_S = (12.25, 3456.75)
"""Stream times at which the clips start that are compared; their stamps differ in length."""


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
        text: gives what a prompt says for a clip.
    """

    def __init__(
        self, processor: Processor, text: Callable[[Clip], str], layout: RotaryLayout
    ) -> None:
        self._processor = processor
        self._text = text
        self._layout = layout
        self._templates: dict[tuple[int, ...], _Template | None] = {}

    async def prepare(self, key: str, clip: Clip) -> Prepared:
        """`clip` as tokens named `key`, and its features with pixels."""
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
        return clip_tokens(key, rendered, self._layout)

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
        tokens, features = expected
        encode = _encoder(self._processor.tokenizer)
        encoded = encode(stamp(clip))
        at = _find(tokens.token_ids, encoded)
        height, width = clip.frames[0].pixels.shape[:2]
        tile = self._layout.patch * self._layout.merge
        if at is None or height % tile or width % tile:
            return None
        return _Template(
            encode=encode,
            before=tokens.token_ids[:at],
            after=tokens.token_ids[at + len(encoded) :],
            features=features,
            like=tokens,
            holds_stamp=tokens.placeholder.offset <= at,
            num_behind=len(tokens.token_ids)
            - (tokens.placeholder.offset + tokens.placeholder.length),
            layout=self._layout,
            shapes={},
        )


@dataclass(frozen=True, slots=True)
class _Template:
    """What clips of one frame size have in common."""

    encode: Callable[[str], list[int]]
    """Gives the token ids of a stamp."""
    before: list[int]
    after: list[int]
    """Token ids behind the stamp; `before` holds those before it."""
    features: Any
    """Features of one clip of this size, with pixels."""
    like: ClipTokens
    """The clip of `features` as tokens."""
    holds_stamp: bool
    """Whether the stamp is inside the placeholder, or before it."""
    num_behind: int
    """Tokens behind the placeholder."""
    layout: RotaryLayout
    shapes: "dict[int, _Shape]"
    """What clips with equally long stamps have in common, by the number of tokens of the stamp."""

    def fill(self, key: str, clip: Clip) -> Prepared:
        encoded = self.encode(stamp(clip))
        ids = [*self.before, *encoded, *self.after]
        shape = self.shapes.get(len(encoded))
        if shape is None:
            shape = self.shapes[len(encoded)] = self._shape(ids)
        frames = np.stack([frame.pixels for frame in clip.frames])
        pixels = patches(frames, self.layout.patch, self.layout.merge)
        stamps = None if self.like.stamps is None else (stamp_s(clip),)
        changed: dict[str, Any] = {"pixel_values_videos": torch.from_numpy(pixels)}
        if stamps is not None:
            changed[STAMPS_FIELD] = list(stamps)
        tokens = ClipTokens(
            key,
            ids,
            shape.placeholder,
            self.like.grid,
            shape.offsets,
            shape.extent,
            stamps,
            self.like.second_per_grid,
        )
        return tokens, seams.with_feature_data(self.features, changed)

    def _shape(self, ids: list[int]) -> "_Shape":
        like = self.like
        seconds = 1.0 if like.second_per_grid is None else like.second_per_grid
        offsets, extent = self.layout.offsets(ids, like.grid, seconds)
        end = len(ids) - self.num_behind
        start = like.placeholder.offset if self.holds_stamp else end - like.placeholder.length
        is_embed = None
        if like.placeholder.is_embed is not None:
            is_embed = np.array(ids[start:end]) == self.layout.video_token
        return _Shape(Placeholder(start, end - start, is_embed), offsets, extent)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What clips have in common whose stamps have equally many tokens."""

    placeholder: Placeholder
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


def _encoder(tokenizer: Any) -> Callable[[str], list[int]]:
    """What encodes a text as `tokenizer` does, and nothing else: of a stamp's dozen tokens, most of
    the time would go into all that a Hugging Face tokenizer may be asked for besides."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return lambda text: list(tokenizer.encode(text, add_special_tokens=False))
    own = copy.deepcopy(backend)  # others set theirs up for each call
    own.no_truncation()
    own.no_padding()
    return lambda text: list(own.encode(text, add_special_tokens=False).ids)


def _find(ids: Sequence[int], wanted: Sequence[int]) -> int | None:
    """Where `wanted` first stands in `ids`; None where it does not."""
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
    """Whether two ways to prepare a clip come bit by bit to the same."""
    (mine, my_features), (theirs, their_features) = found, expected
    my_fields, their_fields = map(seams.feature_fields, (my_features, their_features))
    return (
        (mine.token_ids, mine.grid, mine.extent) == (theirs.token_ids, theirs.grid, theirs.extent)
        and (mine.stamps, mine.second_per_grid) == (theirs.stamps, theirs.second_per_grid)
        and np.array_equal(mine.offsets, theirs.offsets)
        and _same_place(mine.placeholder, theirs.placeholder)
        and set(my_fields) == set(their_fields)
        and all(_same_field(field, their_fields[name]) for name, field in my_fields.items())
    )


def _same_place(mine: Placeholder, theirs: Placeholder) -> bool:
    if (mine.offset, mine.length) != (theirs.offset, theirs.length):
        return False
    if mine.is_embed is None or theirs.is_embed is None:
        return mine.is_embed is theirs.is_embed
    return np.array_equal(mine.is_embed, theirs.is_embed)


def _same_field(mine: tuple[Any, Any], theirs: tuple[Any, Any]) -> bool:
    """Whether two fields hold the same, bit by bit. `mine`, `theirs`: how vLLM batches the field,
    and its data."""
    (my_kind, my_data), (their_kind, their_data) = mine, theirs
    if my_kind != their_kind:
        return False
    if not isinstance(my_data, torch.Tensor):
        return bool(my_data == their_data)
    return (
        isinstance(their_data, torch.Tensor)
        and my_data.dtype == their_data.dtype
        and torch.equal(my_data, their_data)
    )
