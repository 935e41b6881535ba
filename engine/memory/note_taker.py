"""`NoteTaker`: writes notes in the background, after answers."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from onlooker.core.errors import OnlookerError
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import Question
from onlooker.engine.memory.notes import Note
from onlooker.engine.memory.prompt import PromptBuilder
from onlooker.engine.memory.stream_memory import StreamMemory

_log = logging.getLogger("onlooker.engine.memory")

MAX_WAITING = 32
"""The most notes that wait to be computed, all streams together; what comes on top is not noted."""

NotePrompt = Callable[[StreamMemory, str, float], Awaitable[tuple[PromptBuilder, Note]]]
"""A function that makes the prompt which computes a note of the given text, asked at the given
stream time, and the note."""


class NoteTaker:
    """Writes notes in the background, after answers.

    Args:
        budget_tokens: the most tokens of all notes in a context; 0: no notes are taken.
        run: runs a prompt for what it saves.
        drop: lets go of segments of a stream, which the store may still have.
        delete: deletes segments of a stream in every tier.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        budget_tokens: int,
        prompt: NotePrompt,
        run: Callable[[PromptBuilder], Awaitable[object]],
        drop: Callable[[StreamMemory, list[str]], Awaitable[object]],
        delete: Callable[[StreamMemory, list[str]], Awaitable[object]],
    ) -> None:
        self._metrics = metrics
        self._budget_tokens = budget_tokens
        self._prompt = prompt
        self._run = run
        self._drop, self._delete = drop, delete
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, memory: StreamMemory, question: Question, answer: str) -> None:
        """Note a question and its answer; returns at once."""
        if not self._budget_tokens or not answer.strip():
            return
        if len(self._tasks) >= MAX_WAITING:
            self._metrics.notes.labels("refused").inc()
            return
        text = f"At {question.asked_s:.0f} seconds: {question.text.strip()} {answer.strip()}\n"
        task = asyncio.create_task(
            self._note(memory, text, question.asked_s, memory.notes.num_forgotten)
        )
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

    async def _note(
        self, memory: StreamMemory, text: str, asked_s: float, num_forgotten: int
    ) -> None:
        """Compute and take up a note, unless notes were forgotten since its answer was written."""
        async with memory.notes.turn:
            if memory.notes.num_forgotten != num_forgotten:
                return
            try:
                prompt, note = await self._prompt(memory, text, asked_s)
                await self._run(prompt)
            except OnlookerError as error:
                self._metrics.notes.labels("failed").inc()
                _log.warning("a note was lost", extra={"reason": error.message})
                return
            if memory.notes.num_forgotten != num_forgotten:
                memory.notes.pass_over()
                with contextlib.suppress(OnlookerError):
                    await self._delete(memory, [note.key])
                return
            memory.notes.add(note)
            self._metrics.notes.labels("kept").inc()
            gone = memory.notes.forget_all_but(memory.notes.within(self._budget_tokens))
            if gone:
                with contextlib.suppress(OnlookerError):
                    await self._drop(memory, gone)
