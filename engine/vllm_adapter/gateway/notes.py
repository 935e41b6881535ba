"""Dialogue notes: what was asked of a stream and answered, as text segments behind the sink.

A note is computed once, after its answer, behind the system prompt and the notes before it, and
stands in every later answer's context. Clips are computed without notes: what the model says never
changes what it sees.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onlooker.cache_store.key import SegmentKind, StreamKey
from onlooker.core.errors import OnlookerError
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import Question

if TYPE_CHECKING:
    from onlooker.engine.memory.stream_memory import StreamMemory
    from onlooker.engine.vllm_adapter.gateway.composer import PromptBuilder

_log = logging.getLogger("onlooker.engine.vllm")

MAX_WAITING = 32
"""Notes to be computed, all streams together; what comes on top is not noted."""


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
        """Held while one is computed: each is computed behind those before it."""

    def next_note(self, token_ids: list[int]) -> Note:
        """A note that is not yet stored."""
        return Note(self._key.segment(SegmentKind.TEXT, self._next_index).text, token_ids)

    def add(self, note: Note, *, index: int | None = None) -> None:
        """Know a stored note. `index`: of one that was stored before a restart."""
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
        """Take out the others; returns their keys."""
        gone = [note.key for note in self._notes if note not in kept]
        self._notes = list(kept)
        return gone

    def forget(self, keys: set[str]) -> None:
        """Take out notes whose segments are gone."""
        self._notes = [note for note in self._notes if note.key not in keys]

    def keys(self) -> list[str]:
        return [note.key for note in self._notes]


NotePrompt = Callable[["StreamMemory", str], Awaitable[tuple["PromptBuilder", Note]]]
"""Makes the prompt that computes a note of the given text."""


class NoteTaker:
    """Writes notes after answers, beside them.

    Args:
        budget_tokens: of all notes in a context; 0 takes none.
        run: runs a prompt for what it saves.
        drop: forgets segments.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        budget_tokens: int,
        prompt: NotePrompt,
        run: Callable[["PromptBuilder"], Awaitable[object]],
        drop: Callable[[list[str]], Awaitable[object]],
    ) -> None:
        self._metrics = metrics
        self._budget_tokens = budget_tokens
        self._prompt = prompt
        self._run = run
        self._drop = drop
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, memory: "StreamMemory", question: Question, answer: str) -> None:
        """Note a question and its answer; returns at once."""
        if not self._budget_tokens or not answer.strip():
            return
        if len(self._tasks) >= MAX_WAITING:
            self._metrics.notes.labels("refused").inc()
            return
        text = f"At {question.asked_s:.0f} seconds: {question.text.strip()} {answer.strip()}\n"
        task = asyncio.create_task(self._note(memory, text))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Wait until all that was taken is noted."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self) -> None:
        """Give up what is not yet noted."""
        for task in list(self._tasks):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.settled()

    async def _note(self, memory: "StreamMemory", text: str) -> None:
        async with memory.notes.turn:
            try:
                prompt, note = await self._prompt(memory, text)
                await self._run(prompt)
            except OnlookerError as error:
                self._metrics.notes.labels("failed").inc()
                _log.warning("a note was lost", extra={"reason": error.message})
                return
            memory.notes.add(note)
            self._metrics.notes.labels("kept").inc()
            gone = memory.notes.forget_all_but(memory.notes.within(self._budget_tokens))
            if gone:
                with contextlib.suppress(OnlookerError):
                    await self._drop(gone)
