"""Dialogue notes: what was asked of a stream and answered, as text segments behind the sink.

A note is computed once, after its answer, behind the system prompt and the notes before it, and
stands in every later answer's context. Clips are computed without notes: what the model says never
changes what it sees.
"""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onlooker.cache_store.key import SegmentKind, StreamKey


@dataclass(frozen=True, slots=True)
class Note:
    """One stored question and answer."""

    key: str
    token_ids: list[int]
    asked_s: float = math.inf
    """Stream time of the question; infinite where an earlier version wrote the note without it."""

    def meta(self) -> dict[str, str]:
        """What `Note.restored` needs, beside the key."""
        return {"token_ids": json.dumps(self.token_ids), "asked_s": repr(self.asked_s)}

    @classmethod
    def restored(cls, key: str, meta: Mapping[str, str]) -> "Note":
        """A note from what was stored with its segment."""
        return cls(key, json.loads(meta["token_ids"]), float(meta.get("asked_s", "inf")))


class Notes:
    """The notes of one stream, oldest first."""

    def __init__(self, key: StreamKey) -> None:
        self._key = key
        self._notes: list[Note] = []
        self._next_index = 0
        self.num_forgotten = 0
        """How often notes were forgotten since they may tell of what is forgotten. A note that was
        begun before that must not be taken up after it."""
        self.turn = asyncio.Lock()
        """Held while a note is computed, since each is computed behind the notes before it."""

    def next_note(self, token_ids: list[int], asked_s: float) -> Note:
        """A new note, which is not yet stored."""
        key = self._key.segment(SegmentKind.TEXT, self._next_index)
        return Note(key.text, token_ids, asked_s)

    def pass_over(self) -> None:
        """The note that `next_note` made last is not taken up: its key is used for no other."""
        self._next_index += 1

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

    def forget_asked(self, start_s: float, end_s: float) -> list[str]:
        """Take out the notes of questions that were asked within a span of stream time; returns
        their keys."""
        self.num_forgotten += 1
        kept = [note for note in self._notes if not start_s <= note.asked_s <= end_s]
        return self.forget_all_but(kept)

    def forget(self, keys: set[str]) -> None:
        """Take out notes whose segments are gone."""
        self._notes = [note for note in self._notes if note.key not in keys]

    def keys(self) -> list[str]:
        return [note.key for note in self._notes]
