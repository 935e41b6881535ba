"""The thumbnails of a stream's pictures before, as they go before what is to be decoded."""

import math

import msgspec
import numpy as np

from onlooker.streams.decoding.wire import DecodeRequest
from onlooker.streams.perception.gate import Before, thumbnail_shape


class SaidBefore(msgspec.Struct, frozen=True):
    """What a picture is to be compared with, as it is said."""

    parts: list[memoryview]
    """Parts of the body, which come first."""
    kept_index: int
    previous_index: int


def said_before(before: Before) -> SaidBefore:
    """`before` as it is said; the two are often one thumbnail, which is sent once."""
    kept, previous = before.kept, before.previous
    known = [] if kept is None else [kept]
    if previous is not None and previous is not kept:
        known.append(previous)
    return SaidBefore(
        [one.data.cast("B") for one in known],
        kept_index=-1 if kept is None else 0,
        previous_index=-1 if previous is None else len(known) - 1,
    )


def heard_before(request: DecodeRequest, body: bytes) -> tuple[Before, bytes]:
    """What a picture is compared with, and the rest of the body."""
    num = 1 + max(request.kept_index, request.previous_index)
    if not num:
        return Before(), body
    shape = thumbnail_shape(request.width, request.height)
    num_bytes = num * math.prod(shape)
    known = np.frombuffer(body, np.uint8, num_bytes).reshape(num, *shape)
    kept, previous = (
        known[index] if index >= 0 else None
        for index in (request.kept_index, request.previous_index)
    )
    return Before(kept, previous), body[num_bytes:]
