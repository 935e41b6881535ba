"""Clips as a stream's memory has them, without pixels or a model."""

import numpy as np

from onlooker.engine.memory.clip_tokens import ClipTokens, Placeholder
from onlooker.engine.memory.timeline import RememberedClip


def make_tokens(key: str, *, num_tokens: int = 3, extent: int | None = None) -> ClipTokens:
    """A clip of `num_tokens` tokens, all of them pieces of its picture."""
    return ClipTokens(
        key,
        [0] * num_tokens,
        Placeholder(0, num_tokens),
        (1, 2, 2),
        np.zeros((3, num_tokens), np.int32),
        num_tokens if extent is None else extent,
    )


def remembered(key: str, index: int, **size: int) -> RememberedClip:
    """A clip of half a second that begins at `index` seconds."""
    return RememberedClip(make_tokens(key, **size), index, float(index), index + 0.5, index + 0.5)
