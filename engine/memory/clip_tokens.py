"""`ClipTokens`: a clip as tokens, which is all that it takes to place it in a prompt again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

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
    whole: "ClipTokens | None" = None
    """The clip with all of its places, where this is the clip without some; see `without`."""
    kept: NDArray[np.int64] | None = None
    """Numbers of the places, among those of `whole`, that are left of its picture; ascending."""
    is_encoded_alone: bool = False
    """Whether the places that are `kept` are to be encoded without seeing the others."""
    shown_ratio: float = 1.0
    """Share of the places that the model computed from this clip's own picture (0-1)."""
    left: NDArray[np.int64] | None = None
    """Which of the tokens of `whole` are left, where the clip was compacted; see `compacted`."""

    @property
    def is_compacted(self) -> bool:
        """Whether only some of the keys and values that were computed of the clip are left."""
        return self.left is not None

    @property
    def picture_rows(self) -> NDArray[np.int64]:
        """Which of the clip's tokens stand for places of its picture, in the order of the
        places."""
        place = self.placeholder
        if place.is_embed is None:
            return np.arange(place.offset, place.offset + place.length)
        return np.flatnonzero(place.is_embed) + place.offset

    @property
    def identity(self) -> str:
        """A name for what the model encodes of the clip. Two clips of the same key that keep
        different places have different names, since what was encoded for one would be taken for the
        other."""
        if self.kept is None:
            return self.key
        return f"{self.key}/{hashlib.blake2b(self.kept.tobytes(), digest_size=8).hexdigest()}"

    def without(self, shown: NDArray[np.bool_], *, is_encoded_alone: bool = False) -> "ClipTokens":
        """The clip with only those places of its picture that `shown` says, one at least. Its
        extent stays: what follows stands where it would stand behind the whole clip."""
        rows = np.delete(np.arange(len(self.token_ids)), self.picture_rows[~shown])
        return replace(
            self._of(rows),
            whole=self,
            kept=np.flatnonzero(shown),
            is_encoded_alone=is_encoded_alone,
            shown_ratio=float(shown.mean()),
        )

    def compacted(self, key: str, rows: NDArray[np.int64]) -> "ClipTokens":
        """The clip of which only the tokens `rows` are left, ascending, one of its picture at
        least; its segment has the key `key`. The tokens stand where they stood, and the extent
        stays."""
        picture = self.picture_rows
        places = np.arange(len(picture)) if self.kept is None else self.kept
        return replace(
            self._of(rows),
            key=key,
            whole=self if self.whole is None else self.whole,
            kept=places[np.isin(picture, rows)],
            left=self.rows[rows],
        )

    def _of(self, rows: NDArray[np.int64]) -> "ClipTokens":
        """The clip with only the tokens `rows`, ascending."""
        start = self.placeholder.offset
        is_inside = (rows >= start) & (rows < start + self.placeholder.length)
        is_embed = self.placeholder.is_embed
        return replace(
            self,
            token_ids=[self.token_ids[row] for row in rows.tolist()],
            placeholder=Placeholder(
                int((rows < start).sum()),
                int(is_inside.sum()),
                None if is_embed is None else is_embed[rows[is_inside] - start],
            ),
            offsets=np.ascontiguousarray(self.offsets[:, rows]),
        )

    @property
    def rows(self) -> NDArray[np.int64]:
        """Which of the tokens of `whole` these are."""
        if self.left is not None:
            return self.left
        if self.whole is None or self.kept is None:
            return np.arange(len(self.token_ids))
        picture = self.whole.picture_rows
        return np.delete(np.arange(len(self.whole.token_ids)), np.delete(picture, self.kept))

    def meta(self) -> dict[str, str]:
        """What `ClipTokens.restored` needs beside the key."""
        ids = self.token_ids if self.whole is None else self.whole.token_ids
        found = {"token_ids": json.dumps(ids), "grid": json.dumps(list(self.grid))}
        if self.left is not None:
            found["left"] = json.dumps(self.left.tolist())
        elif self.kept is not None:
            found["kept"] = json.dumps(self.kept.tolist())
        if self.shown_ratio < 1:
            found["shown_ratio"] = repr(self.shown_ratio)
        if self.stamps is not None:
            found["stamps"] = json.dumps(list(self.stamps))
        if self.second_per_grid is not None:
            found["second_per_grid"] = json.dumps(self.second_per_grid)
        return found

    @classmethod
    def restored(cls, key: str, meta: Mapping[str, str], layout: RotaryLayout) -> "ClipTokens":
        """A clip from what was stored with its segment."""
        ids: list[int] = json.loads(meta["token_ids"])
        found = cls.made(
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
        shown_ratio = float(meta.get("shown_ratio", 1.0))
        if "left" in meta:
            left = np.array(json.loads(meta["left"]), np.int64)
            return replace(found.compacted(key, left), shown_ratio=shown_ratio)
        if "kept" in meta:
            shown = np.zeros(len(found.picture_rows), np.bool_)
            shown[json.loads(meta["kept"])] = True
            return found.without(shown)
        return replace(found, shown_ratio=shown_ratio)

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
