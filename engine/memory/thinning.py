"""`Thinner`: which places of each clip's picture are computed, and what fills the others."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onlooker.core.media import Clip
from onlooker.engine.memory.clip_tokens import ClipTokens
from onlooker.engine.memory.mosaic import NOBODY, Glance, Mask, Mosaic
from onlooker.engine.memory.plan import Filling
from onlooker.engine.memory.stream_memory import StreamMemory
from onlooker.engine.memory.token_drop import DROPS, TokenDropSection

INLINE_BYTES = 1 << 15
"""Bytes of a frame up to which looking at it is not worth a thread."""


@dataclass(frozen=True, slots=True)
class ThinClip:
    """A clip as it is to be computed."""

    tokens: ClipTokens
    """The clip with the places that are computed."""
    fillings: Sequence[Filling]
    """Where its other places come from; empty: it is kept without them."""
    glance: Glance
    shown: Mask

    def note(self, memory: StreamMemory) -> None:
        """Note that the clip was computed and kept: a clip that was lost was not shown."""
        if memory.mosaic is not None:
            memory.mosaic.note(self.glance, self.shown)


class Thinner:
    """Thins the clips of all streams; what it knows of a stream stands in its memory.

    Args:
        tile: length of one side of a place, in pixels.
        recent_clips: the most clips of the recent window.
    """

    def __init__(self, settings: TokenDropSection, *, tile: int, recent_clips: int) -> None:
        self._settings = settings
        self._tile = tile
        self._recent_clips = recent_clips

    async def thin(self, memory: StreamMemory, clip: Clip, tokens: ClipTokens) -> ThinClip | None:
        """How `clip` is computed, which follows on the stream's newest one; None: whole, and
        nothing is to be noted."""
        drop = DROPS.get(self._settings.method)
        if drop is None:
            return None
        if memory.mosaic is None:
            memory.mosaic = Mosaic(self._tile)
        frames = [frame.pixels for frame in clip.frames]
        if frames[0].nbytes > INLINE_BYTES:
            glance = await asyncio.to_thread(memory.mosaic.look, frames, clip.clip_index)
        else:
            glance = memory.mosaic.look(frames, clip.clip_index)
        if len(glance.changes) != len(tokens.picture_rows):
            return None  # the model's own processor has resized the picture
        shown = drop.mask(glance, self._settings, self._recent_clips)
        fillings: list[Filling] = []
        if drop.is_filled:
            fillings = _fillings(memory, tokens, glance, shown)
        if shown.all():
            return ThinClip(tokens, (), glance, shown)
        return ThinClip(tokens.without(shown), fillings, glance, shown)


def _fillings(
    memory: StreamMemory, tokens: ClipTokens, glance: Glance, shown: Mask
) -> list[Filling]:
    """Where the places come from that are not `shown`. Places of clips that are gone, or that were
    laid out in another way, are put into `shown`: they are computed anew."""
    found = []
    for origin in np.unique(glance.origins[~shown]).tolist():
        places = np.flatnonzero(~shown & (glance.origins == origin))
        earlier = None if origin == NOBODY else memory.at_index(origin)
        if earlier is None or earlier.tokens.grid != tokens.grid or earlier.tokens.kept is not None:
            shown[places] = True
            continue
        rows = tokens.picture_rows[places]
        from_rows = earlier.tokens.picture_rows[places]
        shifts = tokens.offsets[:, rows] - earlier.tokens.offsets[:, from_rows]
        if (shifts != shifts[0, 0]).any():
            shown[places] = True
            continue
        filling = Filling(earlier.tokens.key, rows.tolist(), from_rows.tolist(), int(shifts[0, 0]))
        found.append(filling)
    return found
