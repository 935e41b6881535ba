"""`Thinner`: which places of each clip's picture are computed, and what fills the others."""

import asyncio
import logging
from dataclasses import dataclass

from onlooker.core.media import Clip
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.memory.clip_tokens import ClipTokens
from onlooker.engine.memory.drops import DROPS
from onlooker.engine.memory.mosaic import NOBODY, Glance, Mask, Mosaic
from onlooker.engine.memory.plan import Filling
from onlooker.engine.memory.stream_memory import StreamMemory
from onlooker.engine.memory.token_drop import TokenDropSection

_log = logging.getLogger("onlooker.engine.memory")

INLINE_BYTES = 1 << 15
"""Bytes of a frame up to which looking at it is not worth a thread."""


@dataclass(frozen=True, slots=True)
class ThinClip:
    """A clip as it is to be computed."""

    tokens: ClipTokens
    """The clip with the places that are computed."""
    filling: Filling | None
    """Where its other places come from; None: it is kept without them."""
    glance: Glance
    shown: Mask

    def note(self, memory: StreamMemory) -> None:
        """Note that the clip was computed and kept: a clip that was lost was not shown."""
        if memory.mosaic is not None and memory.chooser is not None:
            memory.mosaic.note(self.glance, self.shown)
            memory.chooser.note(self.glance)


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
        self._has_warned = False

    async def thin(
        self, memory: StreamMemory, clip: Clip, tokens: ClipTokens, care: Care = NO_CARE
    ) -> ThinClip | None:
        """How `clip` is computed, which follows on the stream's newest one; None: whole, and
        nothing is to be noted."""
        name = care.token_drop or self._settings.method
        if name == "off" and care.token_drop is None and care.is_thinned:
            name = self._settings.under_load
        drop = DROPS.get(name)
        if drop is None:
            memory.mosaic = None
            return None
        if memory.mosaic is None or memory.drop_name != name:
            memory.mosaic, memory.drop_name = Mosaic(self._tile), name
            memory.chooser = drop.make()
        frames = [frame.pixels for frame in clip.frames]
        if frames[0].nbytes > INLINE_BYTES:
            glance = await asyncio.to_thread(memory.mosaic.look, frames, clip.clip_index)
        else:
            glance = memory.mosaic.look(frames, clip.clip_index)
        if len(glance.changes) != len(tokens.picture_rows):
            if not self._has_warned:
                self._has_warned = True
                _log.warning(
                    "no places of clips are left out: the model's processor resizes their "
                    "pictures; set frame_width and frame_height of its profile to what it makes"
                )
            return None
        assert memory.chooser is not None
        shown = drop.mask(memory.chooser, glance, self._settings, self._recent_clips)
        filling: Filling | None = None
        if drop.is_filled:
            filling = _filling(memory, tokens, glance, shown, self._settings.threshold)
            if filling is None:
                shown[:] = True
        if shown.all():
            return ThinClip(tokens, None, glance, shown)
        thin = tokens.without(shown, is_encoded_alone=self._settings.encoder == "kept")
        return ThinClip(thin, filling, glance, shown)


def _filling(
    memory: StreamMemory, tokens: ClipTokens, glance: Glance, shown: Mask, threshold: float
) -> Filling | None:
    """What fills the places that are not `shown`: the clip that was noted last, which has them all.
    None where it is gone, or was laid out in another way."""
    assert memory.mosaic is not None
    earlier = memory.at_index(memory.mosaic.newest)
    if earlier is None or earlier.tokens.grid != tokens.grid or earlier.tokens.kept is not None:
        return None
    picture, before = tokens.picture_rows, earlier.tokens.picture_rows
    shifts = tokens.offsets[:, picture] - earlier.tokens.offsets[:, before]
    if (shifts != shifts[0, 0]).any():
        return None
    anchors = shown & (glance.changes <= threshold) & (glance.origins != NOBODY)
    return Filling(
        earlier.tokens.key,
        picture[~shown].tolist(),
        before[~shown].tolist(),
        int(shifts[0, 0]),
        picture[anchors].tolist(),
        before[anchors].tolist(),
    )
