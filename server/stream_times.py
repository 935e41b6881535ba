"""Times that callers name in queries: stream time in seconds, or a wall time."""

import math
from datetime import UTC, datetime

from onlooker.core.errors import InvalidRequest
from onlooker.streams.stream import Stream

TIME_WORDS = (
    "Seconds of stream time, or a wall time as ISO 8601 (`2026-05-01T12:30:00Z`; UTC where no zone "
    "is named)"
)
"""What such a parameter takes, for the documentation."""


def stream_s(stream: Stream, text: str | None, param: str) -> float | None:
    """The stream time that a caller has named; None where none was.

    Raises:
        InvalidRequest: it is no time, or the stream does not know its wall times.
    """
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            named = datetime.fromisoformat(text)
        except ValueError:
            raise InvalidRequest(
                f"'{param}' is seconds of stream time or an ISO 8601 time such as "
                f"2026-05-01T12:30:00Z; got '{text}'",
                param=param,
            ) from None
        if named.tzinfo is None:
            named = named.replace(tzinfo=UTC)
        return stream.stream_s(named.timestamp(), param=param)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise InvalidRequest(f"'{param}' is 0 or more seconds; got {text}", param=param)
    return seconds
