"""`ClipTokens`: a clip as tokens, which is all that it takes to place it in a prompt again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onlooker.engine.memory.rotary_layout import RotaryLayout


@dataclass(frozen=True, slots=True)
class Placeholder:
    """The tokens of a clip behind which its pictures stand."""

    offset: int
    """The first token of the placeholder, counted from the clip's first token."""
    length: int
    is_embed: NDArray[np.bool_] | None = None
    """Which tokens of the placeholder become a piece of picture, [length]; None: all do."""


@dataclass(frozen=True, slots=True)
class ClipTokens:
    """One clip as tokens. Holds no pixels."""

    key: str
    """The key of the clip's segment."""
    token_ids: list[int]
    placeholder: Placeholder
    grid: tuple[int, ...]
    """Patches in time, height and width."""
    offsets: NDArray[np.int32]
    """Rotary offsets of the clip's tokens, [3, tokens] (t, h, w)."""
    extent: int
    """Number of rotary positions that the clip takes."""
    stamps: tuple[float, ...] | None = None
    """Stream times, in seconds, with which the clip's patches in time are stamped; None where the
    model's processor does not stamp them."""
    second_per_grid: float | None = None
    """Seconds between two patches in time; None where the model does not tell time by position."""

    def meta(self) -> dict[str, str]:
        """What `ClipTokens.restored` needs beside the key."""
        found = {"token_ids": json.dumps(self.token_ids), "grid": json.dumps(list(self.grid))}
        if self.stamps is not None:
            found["stamps"] = json.dumps(list(self.stamps))
        if self.second_per_grid is not None:
            found["second_per_grid"] = json.dumps(self.second_per_grid)
        return found

    @classmethod
    def restored(cls, key: str, meta: Mapping[str, str], layout: RotaryLayout) -> "ClipTokens":
        """A clip from what was stored with its segment."""
        ids: list[int] = json.loads(meta["token_ids"])
        return cls.made(
            key,
            ids,
            Placeholder(0, len(ids), np.array(ids) == layout.video_token),
            json.loads(meta["grid"]),
            layout,
            stamps=json.loads(meta["stamps"]) if "stamps" in meta else None,
            second_per_grid=(
                float(np.ravel(json.loads(meta["second_per_grid"]))[0])
                if "second_per_grid" in meta
                else None
            ),
        )

    @classmethod
    def made(
        cls,
        key: str,
        token_ids: list[int],
        placeholder: Placeholder,
        grid: list[int],
        layout: RotaryLayout,
        *,
        stamps: list[float] | None,
        second_per_grid: float | None,
    ) -> "ClipTokens":
        """A clip whose rotary offsets `layout` has still to lay out."""
        seconds = 1.0 if second_per_grid is None else second_per_grid
        offsets, extent = layout.offsets(token_ids, grid, seconds)
        return cls(
            key,
            token_ids,
            placeholder,
            tuple(grid),
            offsets,
            extent,
            None if stamps is None else tuple(stamps),
            second_per_grid,
        )

    @property
    def size_class(self) -> tuple[int, int]:
        """Number of tokens and extent: clips that share them can take each other's place."""
        return len(self.token_ids), self.extent
