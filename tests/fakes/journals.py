"""Journals of both kinds, and what is written to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from onlooker.cache_store.config import JournalSection, RedisSection
from onlooker.cache_store.journal import DurableMark, FrameJournal, NewEntry
from onlooker.cache_store.opening import open_journal
from onlooker.core.clock import Clock, ManualClock
from onlooker.core.guarantee import Guarantee
from onlooker.core.media import Codec

STREAM = "tenant-a/camera-1"

OpenJournal = Callable[[], FrameJournal]
"""Opens one of a kind, on what others of the test left there."""


def open_in_file(folder: Path, **settings: Any) -> FrameJournal:
    return open_journal(JournalSection.model_validate({"path": folder, **settings}))


def open_in_redis(
    url: str, *, clock: Clock | None = None, redis: dict[str, Any] | None = None, **settings: Any
) -> FrameJournal:
    return open_journal(
        JournalSection.model_validate({"store": "redis", **settings}),
        redis=RedisSection.model_validate({"url": url, **(redis or {})}),
        clock=clock or ManualClock(),
    )


def payload_of(sequence: int) -> bytes:
    return bytes([sequence % 256]) * 100


def entry_of(sequence: int, stream: str = STREAM, **fields: Any) -> NewEntry:
    """A frame of half a second after the one before."""
    kept: dict[str, Any] = {
        "capture_s": sequence / 2,
        "codec": Codec.JPEG,
        "payload": payload_of(sequence),
        **fields,
    }
    return NewEntry(stream=stream, sequence=sequence, **kept)


def look_of(sequence: int, capture_s: float, stream: str = STREAM) -> NewEntry:
    return entry_of(
        sequence, stream, capture_s=capture_s, payload=b"", codec=Codec.PNG, is_last=True,
        is_look=True,
    )  # fmt: skip


def append(
    journal: FrameJournal, *sequences: int, stream: str = STREAM, **fields: Any
) -> list[int]:
    """Write frames; returns their positions, as all of them are taken."""
    entries = [entry_of(sequence, stream, **fields) for sequence in sequences]
    receipts = journal.write(entries)
    assert Guarantee.NONE not in {receipt.guarantee for receipt in receipts}
    return [receipt.position for receipt in receipts if receipt.position is not None]


def mark(journal: FrameJournal, position: int, stream: str = STREAM, **fields: Any) -> None:
    journal.write([DurableMark(stream=stream, position=position, **fields)])


def replayed(journal: FrameJournal, stream: str = STREAM) -> list[int]:
    """The sequences of all that is not durable; checks what belongs to them."""
    entries = journal.replay(stream)
    for entry in entries:
        if not entry.is_look:
            assert entry.payload == payload_of(entry.sequence)
            assert entry.capture_s == entry.sequence / 2
    return [entry.sequence for entry in entries]
