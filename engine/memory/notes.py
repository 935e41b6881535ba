"""Dialogue notes: what was asked of a stream and answered, as text segments behind the sink.

A note is computed once, after its answer, behind the system prompt and the notes before it, and
stands in every later answer's context. Clips are computed without notes: what the model says never
changes what it sees.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onlooker.cache_store.key import SegmentKind, StreamKey


@dataclass(frozen=True, slots=True)
class Note:
    """One stored question and answer."""

    key: str
    token_ids: list[int]

    def meta(self) -> dict[str, str]:
        """What `Note.restored` needs, beside the key."""
        return {"token_ids": json.dumps(self.token_ids)}

    @classmethod
    def restored(cls, key: str, meta: Mapping[str, str]) -> "Note":
        """A note from what was stored with its segment."""
        return cls(key, json.loads(meta["token_ids"]))


class Notes:
    """The notes of one stream, oldest first."""

    def __init__(self, key: StreamKey) -> None:
        self._key = key
        self._notes: list[Note] = []
        self._next_index = 0
        self.turn = asyncio.Lock()
        """Held while a note is computed, since each is computed behind the notes before it."""

    def next_note(self, token_ids: list[int]) -> Note:
        """A new note, which is not yet stored."""
        return Note(self._key.segment(SegmentKind.TEXT, self._next_index).text, token_ids)

    def add(self, note: Note, *, index: int | None = None) -> None:
        """Take up a stored note. `index`: the number in the key of a note that was stored before a
        restart."""
        self._next_index = (self._next_index if index is None else index) + 1
        self._notes.append(note)

    def within(self, num_tokens: int) -> list[Note]:
        """The newest notes that take no more than `num_tokens` together."""
        found: list[Note] = []
        for note in reversed(self._notes):
            num_tokens -= len(note.token_ids)
            if num_tokens < 0:
                break
            found.insert(0, note)
        return found

    def forget_all_but(self, kept: Sequence[Note]) -> list[str]:
        """Take out all notes but `kept`; returns the keys of those that went."""
        gone = [note.key for note in self._notes if note not in kept]
        self._notes = list(kept)
        return gone

    def forget(self, keys: set[str]) -> None:
        """Take out notes whose segments are gone."""
        self._notes = [note for note in self._notes if note.key not in keys]

    def keys(self) -> list[str]:
        return [note.key for note in self._notes]
