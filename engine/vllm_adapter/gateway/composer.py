"""Prompts made of segments: token ids, features without pixels, and the plan for the connector.

    token   [ sink | retrieved or named clips | recent window | new clip or dialogue and question ]
             loaded ............................................ computed

Every prompt is counted from position 0. A clip advances the rotary position by its *extent*, which
is less than its tokens: the tokens of a picture share one place in time.

vLLM needs a clip's features only to encode it and to place its tokens. Clips that are loaded are
not encoded, and the places of all tokens are known here: they travel with one feature, whatever the
number of clips, so that what a request costs outside the model does not grow with its window.
"""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from vllm.inputs.engine import MultiModalInput, TokensInput, mm_input, tokens_input
from vllm.multimodal.inputs import (
    MultiModalFieldConfig,
    MultiModalFieldElem,
    MultiModalKwargsItem,
    MultiModalKwargsItems,
    PlaceholderRange,
)

from onlooker.engine.memory.key_runs import KeyRuns
from onlooker.engine.memory.places import Places
from onlooker.engine.vllm_adapter.spec import (
    LoadSpan,
    RetrievalSpec,
    SaveSpan,
    SegmentSpec,
    Slot,
)

EngineInput: TypeAlias = MultiModalInput | TokensInput

POSITIONS_FIELD = "prompt_positions"
"""Field of a feature that holds the rotary positions of a whole prompt, [3][tokens] (t, h, w)."""

GRID_FIELD = "video_grid_thw"
"""Field of a clip's feature: its patches in time, height and width."""

_TIME_FIELDS = {"stamps": "timestamps", "second_per_grid": "second_per_grid_ts"}
"""Fields that tell a clip's time, by the name under which they are stored; families have one."""


@dataclass(frozen=True, slots=True)
class ClipTokens:
    """One clip as tokens: what it takes to place it in a prompt."""

    key: str
    token_ids: list[int]
    placeholder: PlaceholderRange
    grid: MultiModalKwargsItem
    """The features' fields that positions need; no pixels."""
    offsets: NDArray[np.int32]
    """Rotary offsets of its tokens, [3, tokens]."""
    extent: int
    """Rotary positions that it takes."""

    def meta(self) -> dict[str, str]:
        """What `ClipTokens.restored` needs, beside the key."""
        return {
            "token_ids": json.dumps(self.token_ids),
            "grid": json.dumps([int(n) for n in self.grid[GRID_FIELD].data]),
            **{
                name: json.dumps(np.asarray(self.grid[field].data).tolist())
                for name, field in _TIME_FIELDS.items()
                if field in self.grid
            },
        }

    @classmethod
    def restored(cls, key: str, meta: Mapping[str, str], places: Places) -> "ClipTokens":
        """A clip from what was stored with its segment."""
        ids: list[int] = json.loads(meta["token_ids"])
        field = MultiModalFieldConfig.batched("video", keep_on_cpu=True).field
        data: dict[str, Any] = {GRID_FIELD: torch.tensor(json.loads(meta["grid"]))}
        if "stamps" in meta:
            data["timestamps"] = json.loads(meta["stamps"])
        if "second_per_grid" in meta:
            data["second_per_grid_ts"] = torch.tensor(json.loads(meta["second_per_grid"]))
        item = MultiModalKwargsItem(
            {name: MultiModalFieldElem(data=value, field=field) for name, value in data.items()}
        )
        is_video = torch.tensor(ids) == places.video_token
        offsets, extent = offsets_of(ids, item, places)
        placeholder = PlaceholderRange(offset=0, length=len(ids), is_embed=is_video)
        return cls(key, ids, placeholder, item, offsets, extent)

    @property
    def size_class(self) -> tuple[int, int]:
        """Clips of one class can take each other's place."""
        return len(self.token_ids), self.extent


def clip_tokens(key: str, rendered: Any, places: Places) -> ClipTokens:
    """Take apart a rendered prompt that holds nothing but one clip."""
    item = rendered["mm_kwargs"]["video"][0]
    grid = MultiModalKwargsItem({k: elem for k, elem in item.items() if elem.field.keep_on_cpu})
    ids = list(rendered["prompt_token_ids"])
    offsets, extent = offsets_of(ids, grid, places)
    return ClipTokens(key, ids, rendered["mm_placeholders"]["video"][0], grid, offsets, extent)


def offsets_of(
    token_ids: Sequence[int], item: MultiModalKwargsItem, places: Places
) -> tuple[NDArray[np.int32], int]:
    """`Places.offsets` of a clip with the features `item`."""
    grid = [int(n) for n in item[GRID_FIELD].data]
    seconds = item.get("second_per_grid_ts")
    return places.offsets(token_ids, grid, 1.0 if seconds is None else float(seconds.data))


class PromptBuilder:
    """Collects one prompt from left to right.

    Args:
        salt: under which vLLM may keep and find KV of this prompt's beginning; None: nobody else
            may ever find it.
    """

    def __init__(self, salt: str | None = None) -> None:
        self._salt = salt or secrets.token_hex(8)
        self._ids: list[int] = []
        self._position = 0
        self._items: list[MultiModalKwargsItem] = []
        self._hashes: list[str] = []
        self._placeholders: list[PlaceholderRange] = []
        self._loads: list[LoadSpan] = []
        self._saves: list[SaveSpan] = []
        self._slots: list[Slot] = []
        self._candidates = KeyRuns()
        self._num_wanted = 0
        self._traces = False
        self._recent = KeyRuns()
        self._question: tuple[int, int, int] | None = None
        self._places: list[tuple[NDArray[np.int32], int]] = []
        self._first_stored: tuple[PlaceholderRange, MultiModalKwargsItem, str] | None = None

    def load_text(self, key: str, token_ids: Sequence[int]) -> None:
        """A stored text segment (the sink)."""
        self._loads.append(LoadSpan(key, len(self._ids), len(token_ids), self._position))
        self._text(token_ids)

    def save_text(
        self, key: str, token_ids: Sequence[int], meta: Mapping[str, str] | None = None
    ) -> None:
        """Text that is computed now and kept, with what it takes to place it after a restart."""
        self._saves.append(
            SaveSpan(
                key,
                len(self._ids),
                len(token_ids),
                self._position,
                retrievable=False,
                meta=dict(meta or {}),
            )
        )
        self._text(token_ids)

    def load_clip(self, clip: ClipTokens) -> None:
        """A stored clip."""
        start = len(self._ids)
        self._loads.append(LoadSpan(clip.key, start, len(clip.token_ids), self._position))
        self._stored(clip)

    def save_clip(
        self, clip: ClipTokens, pixels: MultiModalKwargsItem, span_s: tuple[float, float] = (0, 0)
    ) -> None:
        """The new clip: encoded and computed now, and kept. `span_s`: stream time it shows."""
        self._saves.append(
            SaveSpan(
                clip.key,
                len(self._ids),
                len(clip.token_ids),
                self._position,
                clip.offsets.tolist(),
                start_s=span_s[0],
                end_s=span_s[1],
                meta=clip.meta(),
            )
        )
        self._computed(clip, pixels)

    def retrieve(self, candidates: Iterable[str], shapes: Sequence[ClipTokens]) -> None:
        """Slots that the question fills with the best of `candidates` (keys), which are all of one
        size class. `shapes`: as many of them as there are slots."""
        self._candidates, self._num_wanted = KeyRuns.of(candidates), len(shapes)
        assert len({clip.size_class for clip in shapes}) == 1
        for clip in shapes:
            self._slots.append(Slot(len(self._ids), len(clip.token_ids), self._position))
            self._stored(clip)

    def probe(
        self,
        candidates: Iterable[str],
        num_wanted: int,
        recent: Iterable[str],
        *,
        traces: bool = False,
    ) -> None:
        """Ask which of `candidates` (keys) the question wants; none is shown."""
        self._traces = traces
        self._candidates, self._num_wanted = KeyRuns.of(candidates), num_wanted
        self._recent = KeyRuns.of(recent)

    def picture(self, clip: ClipTokens, pixels: MultiModalKwargsItem) -> None:
        """A clip that is computed now and not kept: a picture that came with the question."""
        self._computed(clip, pixels)

    def question(self, token_ids: Sequence[int]) -> None:
        """What is asked, to the end of the prompt."""
        self._question = (len(self._ids), len(token_ids), self._position)
        self._text(token_ids)

    def build(self) -> tuple[EngineInput, SegmentSpec]:
        """The prompt and its plan."""
        retrieval = None
        if self._candidates:
            assert self._question is not None
            start, num_tokens, position = self._question
            retrieval = RetrievalSpec(
                slots=self._slots,
                candidates=self._candidates,
                num_wanted=self._num_wanted,
                recent=self._recent,
                traces=self._traces,
                question_start=start,
                question_tokens=num_tokens,
                question_position=position,
            )
        spec = SegmentSpec(self._loads, self._saves, retrieval)
        items, hashes, placeholders = self._items, self._hashes, self._placeholders
        if self._first_stored is not None:
            placeholder, grid, key = self._first_stored
            items = [_with_positions(grid, self._positions()), *items]
            hashes = [f"segment:{key}", *hashes]
            placeholders = [placeholder, *placeholders]
        if not items:
            return tokens_input(self._ids, cache_salt=self._salt), spec
        prompt = mm_input(
            self._ids,
            MultiModalKwargsItems({"video": items}),
            {"video": hashes},
            {"video": placeholders},
            cache_salt=self._salt,
        )
        return prompt, spec

    def _positions(self) -> NDArray[np.int32]:
        """Of all tokens, [3, tokens]."""
        offsets = [offsets for offsets, _ in self._places]
        lengths = [part.shape[1] for part in offsets]
        bases = np.array([position for _, position in self._places], np.int32)
        positions: NDArray[np.int32] = np.concatenate(offsets, axis=1) + bases.repeat(lengths)
        return positions

    def _text(self, token_ids: Sequence[int]) -> None:
        count = len(token_ids)
        self._places.append(
            (np.broadcast_to(np.arange(count, dtype=np.int32), (3, count)), self._position)
        )
        self._ids += token_ids
        self._position += len(token_ids)

    def _stored(self, clip: ClipTokens) -> None:
        """A clip that is not computed."""
        if self._first_stored is None:
            self._first_stored = (self._place(clip), clip.grid, clip.key)
        self._clip(clip)

    def _computed(self, clip: ClipTokens, pixels: MultiModalKwargsItem) -> None:
        self._placeholders.append(self._place(clip))
        self._items.append(pixels)
        self._hashes.append(f"clip:{clip.key}")
        self._clip(clip)

    def _place(self, clip: ClipTokens) -> PlaceholderRange:
        """Where the clip's placeholder is, when it is added next."""
        return replace(clip.placeholder, offset=len(self._ids) + clip.placeholder.offset)

    def _clip(self, clip: ClipTokens) -> None:
        self._places.append((clip.offsets, self._position))
        self._ids += clip.token_ids
        self._position += clip.extent


def _with_positions(
    grid: MultiModalKwargsItem, positions: NDArray[np.int32]
) -> MultiModalKwargsItem:
    """A feature without pixels that carries the positions of its whole prompt."""
    field = MultiModalFieldConfig.batched("video", keep_on_cpu=True).field
    elem = MultiModalFieldElem(data=torch.from_numpy(positions), field=field)
    return MultiModalKwargsItem({**grid, POSITIONS_FIELD: elem})
