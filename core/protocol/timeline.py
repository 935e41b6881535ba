"""What a stream's diary says of a span of time, as HTTP tells of it.

`GET /v1/streams/{id}/timeline?from=&to=&level=&q=&limit=&order=` gives a `DiaryPage`. The entries
of one level do not overlap, and come in order of time; where there is more, the next page begins at
`next_s`. Whoever draws hours and days asks for `level=hour` and `level=day` first, and for
`level=scene` of the span that is looked at.
"""

from typing import Literal

from onlooker.core.protocol.base import Outbound

DiaryLevel = Literal["scene", "quarter", "hour", "day"]
"""A ``scene`` is one sentence about one clip; the others sum up so much time."""


class TimelineEntry(Outbound):
    """One dated text of the diary."""

    object: Literal["stream.diary_entry"] = "stream.diary_entry"
    level: DiaryLevel
    start_s: float
    """Stream time of the first thing that the text tells of."""
    end_s: float
    """Stream time of the last."""
    wall_time: float | None
    """Wall clock of `start_s`, in seconds since the Unix epoch; null where the stream does not
    know."""
    text: str
    picture: str | None = None
    """The path of the picture that stands for `start_s`, where the server keeps an album."""


class DiaryPage(Outbound):
    """Entries of one level, or of several where no level was named."""

    object: Literal["list"] = "list"
    stream: str
    data: list[TimelineEntry]
    has_more: bool = False
    next_s: float | None = None
    """Where to go on when there is more: the next `from`, or, newest first, the next `to`."""
