"""From a clip to its picture in the album: made small, encoded, and compared with the last one."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onlooker.cache_store.album import AlbumPicture, PictureFacts
from onlooker.cache_store.config import AlbumSection
from onlooker.core.media import Clip

BLOCKS_PER_SIDE = 18
"""About so many blocks along the shorter side are compared by their means: coarse, so that noise is
no change."""

Change = NDArray[np.int16]
"""Brightness of the blocks of a picture, [rows, columns], 0-255."""


def small_picture(
    clip: Clip, wall_s: float, *, before: Change | None, settings: AlbumSection
) -> tuple[AlbumPicture, Change]:
    """The picture of a clip, which is its first frame, and what the next one is compared with.
    `before`: that of the stream's picture before it; None: there is none, and all of it is new."""
    frame = Image.fromarray(clip.frames[0].pixels)
    reduced = frame.reduce(max(1, min(frame.size) // BLOCKS_PER_SIDE))
    blocks = np.asarray(reduced.convert("L"), dtype=np.int16)
    change = 1.0 if before is None else float(np.abs(blocks - before).max()) / 255.0
    frame.thumbnail((settings.max_side, settings.max_side), Image.Resampling.BOX)
    data = io.BytesIO()
    frame.save(data, settings.format.upper(), quality=settings.quality)
    facts = PictureFacts(
        clip_index=clip.clip_index,
        start_s=clip.start_s,
        end_s=clip.end_s,
        wall_s=wall_s,
        width=frame.width,
        height=frame.height,
        media_type=f"image/{settings.format}",
        change=change,
        num_bytes=data.tell(),
    )
    return AlbumPicture(facts=facts, data=data.getvalue()), blocks
