"""`FrameJournal`: encoded frames that are kept until the segments made of them are durable.

What was acknowledged as remembered survives a crash: a frame is written before it is acknowledged,
and is let go of once its segment is durable. What is still there is shown to the engine again when
its stream is opened after a crash. A crash just before a frame is let go of brings back one whose
segment is durable already; its sequence number tells the caller.

`SqliteJournal` keeps them on this machine, `RedisJournal` where every server of a fleet finds them.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from onlooker.cache_store.journal_entry import HEADER_BYTES, JournalEntry
from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import is_stream_id
from onlooker.core.media import Codec

_MAX_NAME_PARTS = 4


class JournalUnreachable(Exception):
    """The journal cannot be read or changed now; it may be again later. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """A frame to be written."""

    stream: str
    sequence: int
    """The caller's number for the frame, returned by a replay; any number of frames may share
    one."""
    capture_s: float
    codec: Codec
    """Of a whole picture, so that each frame can be decoded without any other."""
    payload: bytes
    is_last: bool = False
    """The caller's mark, returned by a replay: no more frames share `sequence`."""
    is_look: bool = False
    """Whether it only says that a frame of `capture_s` was nearly the same as the last one of
    `sequence`. It has no payload and no guarantee, and is left out where there is no room."""
    epoch: int | None = None
    """The epoch in which the frame was taken; None where streams have no owners."""

    @property
    def num_bytes(self) -> int:
        """What it takes of the journal's room."""
        return HEADER_BYTES + len(self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableMark:
    """Says that all frames of a stream up to a position are durable elsewhere, and can go."""

    stream: str
    position: int
    """See `JournalReceipt`."""
    epoch: int | None = None
    """As of `NewEntry`."""


Change = NewEntry | DurableMark


@dataclass(frozen=True, slots=True)
class JournalReceipt:
    """How a frame was taken."""

    guarantee: Guarantee
    position: int | None
    """The place of the frame in the journal of its stream, larger than of those before it; None
    when it was not journaled."""


@dataclass(frozen=True, slots=True)
class JournalStats:
    """Totals since opening, and what is held now."""

    appended: int
    refused: int
    """Frames for which the journal had no room."""
    errors: int
    """Frames that could not be written, and syncs that failed."""
    fenced: int
    """Frames that were refused since another server owns their stream now."""
    marked: int
    """Frames that were let go of, since their segments are durable."""
    syncs: int
    damaged: int
    """Entries that could not be read back."""
    num_streams: int
    num_bytes: int


class FrameJournal(Protocol):
    """The journals of all streams of a server. A stream is named by 1-4 ids with ``/`` between
    them, such as ``tenant/camera``.

    Thread-safe, and blocking: one thread beside the event loop makes all calls. Only what says so
    raises; a frame that cannot be written has a receipt that promises nothing.
    """

    @property
    def is_shared(self) -> bool:
        """Whether another server that opens a stream finds what this one wrote."""
        ...

    @property
    def guarantee(self) -> Guarantee:
        """What a frame survives, at best, that would be written now."""
        ...

    def write(self, changes: Sequence[Change]) -> list[JournalReceipt]:
        """Make changes in their order, at once for all streams; returns one receipt for each, when
        the guarantees in them hold. Those of looks and marks promise nothing.

        Raises:
            ValueError: the name of a stream is none.
        """
        ...

    def replay(
        self, stream: str, *, after: int = -1, max_bytes: int | None = None
    ) -> list[JournalEntry]:
        """The frames after position `after` that are not durable, in order of arrival.

        With `max_bytes` only the first of them: as many as fit and one more. The position of the
        last one is `after` for the next call, and an empty list says that there are no more.

        Raises:
            JournalUnreachable: it is not known what there is.
        """
        ...

    def newest_s(self, stream: str) -> float | None:
        """Capture time of the stream's last frame that is not durable; None where there is none.

        Raises:
            JournalUnreachable: it is not known.
        """
        ...

    def streams(self) -> list[str]:
        """Names of the streams of which this journal knows that it has something."""
        ...

    def delete(self, stream: str, *, epoch: int | None = None) -> None:
        """Forget a stream. What cannot be reached now is deleted later."""
        ...

    def forget(
        self,
        stream: str,
        start_s: float,
        end_s: float,
        sequences: Collection[int] = (),
        *,
        epoch: int | None = None,
    ) -> tuple[int, int]:
        """Delete some frames of a stream: those of `sequences`, and those whose sequence touches
        the span of capture times. Returns how many frames and bytes went.

        Raises:
            JournalUnreachable: some of the frames may still be there.
        """
        ...

    def stats(self) -> JournalStats:
        """Totals since opening, and what is held now."""
        ...

    def close(self) -> None:
        """Write everything down and close."""
        ...


def check_name(stream: str) -> None:
    """Raise ValueError unless `stream` may name a stream of a journal."""
    parts = stream.split("/")
    if len(parts) > _MAX_NAME_PARTS or not all(is_stream_id(part) for part in parts):
        raise ValueError(f"a journal's stream is 1-4 ids with / between, not {stream!r}")


def touched(
    frames: Iterable[tuple[int, float]], start_s: float, end_s: float, sequences: Collection[int]
) -> set[int]:
    """Of frames, given as (sequence, capture time), the sequences that are to be forgotten:
    `sequences`, and those whose frames, from the first to the last, touch a span of time."""
    ends: dict[int, tuple[float, float]] = {}
    for sequence, at_s in frames:
        first_s, last_s = ends.get(sequence, (at_s, at_s))
        ends[sequence] = (min(first_s, at_s), max(last_s, at_s))
    found = {
        sequence
        for sequence, (first_s, last_s) in ends.items()
        if first_s <= end_s and last_s >= start_s
    }
    return found | set(sequences)
