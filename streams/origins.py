"""The wall clock of stream time 0, for streams that were given one.

What is remembered of a stream is kept by stream time. A stream that is found again after a restart
or by another server must mean the same times by it, or "yesterday" would be another day.
"""

import logging
import math

from onlooker.streams.belongings import ORIGIN, Belongings

_log = logging.getLogger("onlooker.streams.origins")


async def settle_origin(belongings: Belongings, wanted_s: float | None) -> float | None:
    """The origin of a stream that is opened, in seconds since the Unix epoch: the one it had
    before, else `wanted_s`, which is kept from now on.

    Raises:
        Overloaded, ServiceError: it cannot be kept.
    """
    if (kept := belongings.documents.get(ORIGIN)) is not None:
        try:
            origin_s = float(kept)
        except ValueError:
            origin_s = math.nan
        if math.isfinite(origin_s):
            return origin_s
        _log.warning("a kept origin cannot be read", extra={"detail": repr(kept[:40])})
    if wanted_s is not None:
        belongings.keep(ORIGIN, repr(wanted_s).encode())
        await belongings.settle("starts_at")
    return wanted_s
