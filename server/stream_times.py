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


def stream_span(stream: Stream, from_: str | None, to: str | None) -> tuple[float, float]:
    """The span of stream time that a caller has named by its ends, of which either may be left out.

    Raises:
        InvalidRequest: as `stream_s`; or it runs backwards, or begins in the future.
    """
    start_s, end_s = stream_s(stream, from_, "from"), stream_s(stream, to, "to")
    check_not_ahead(stream, start_s, "from")
    start_s = -math.inf if start_s is None else start_s
    end_s = math.inf if end_s is None else end_s
    if end_s < start_s:
        raise InvalidRequest(
            f"a span ends after it starts; got {start_s:g} to {end_s:g} s", param="from"
        )
    return start_s, end_s


def check_not_ahead(stream: Stream, at_s: float | None, param: str) -> None:
    """Return if a time has come.

    Raises:
        InvalidRequest: it lies in the future.
    """
    now_s = stream.ingest.now_s()
    if at_s is not None and at_s > now_s:
        raise InvalidRequest(
            f"'{param}' lies in the future: {at_s:g} s, and the stream is at {now_s:g} s",
            param=param,
        )
