"""Answers: as a whole, or piece by piece as the model says them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from onlooker.clients.python.errors import AnswerFailed
from onlooker.core.errors import OnlookerError
from onlooker.core.protocol.answer_events import ResponseObject
from onlooker.core.protocol.answer_facts import AnswerFacts, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A finished answer."""

    question: str
    text: str
    status: str
    """``completed``, ``cancelled`` or ``incomplete`` (cut at the token limit)."""
    facts: AnswerFacts
    """What it was based on: when the question was asked, how far the model had seen."""
    usage: Usage
    response_id: str

    def __str__(self) -> str:
        return self.text


class PendingAnswer:
    """One answer under way: iterate over it for the pieces of text, or await `result`.

    The pieces are kept until the answer ends (the server bounds their number), so that a slow
    reader holds up nobody. Leaving the iteration early cancels the answer on the server.
    """

    def __init__(self, question: str, ask_id: str, cancel: "CancelAnswer") -> None:
        self.question = question
        self.ask_id = ask_id
        self.response_id: str | None = None
        self.is_unwanted = False
        """Whether it was cancelled before the server had named it (`response_id`)."""
        self._cancel = cancel
        self._pieces: list[str] = []
        self._news = asyncio.Event()
        self._answer: Answer | None = None
        self._error: BaseException | None = None

    # ---- for the reader ----

    async def __aiter__(self) -> AsyncIterator[str]:
        """The pieces of text, in order.

        Raises:
            OnlookerError: refused, failed, or the connection was lost.
        """
        num_told = 0
        try:
            while True:
                while num_told < len(self._pieces):
                    num_told += 1
                    yield self._pieces[num_told - 1]
                if self.done:
                    break
                self._news.clear()
                await self._news.wait()
            if self._error is not None:
                raise self._error
        finally:
            if not self.done:
                self.cancel()

    async def result(self, timeout_s: float | None = None) -> Answer:
        """Wait for the answer's end and return the whole of it.

        Raises:
            OnlookerError: refused, failed, or the connection was lost.
            TimeoutError: it took longer than `timeout_s`; the answer is cancelled.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not self.done:
                    self._news.clear()
                    await self._news.wait()
        finally:
            if not self.done:
                self.cancel()
        if self._error is not None:
            raise self._error
        assert self._answer is not None
        return self._answer

    def cancel(self) -> None:
        """Ask the server to stop; the answer still ends properly, with status ``cancelled``."""
        if not self.done:
            self._cancel(self)

    @property
    def done(self) -> bool:
        """Whether the answer has ended, well or badly."""
        return self._answer is not None or self._error is not None

    @property
    def answer(self) -> Answer | None:
        """The finished answer, once there is one."""
        return self._answer

    @property
    def text(self) -> str:
        """The text that has come so far."""
        return "".join(self._pieces)

    # ---- for the connection ----

    def add(self, piece: str) -> None:
        self._pieces.append(piece)
        self._news.set()

    def finish(self, response: ResponseObject) -> None:
        if self.done:
            return
        if response.status == "failed":
            self.fail(_failure(response))
            return
        self._answer = Answer(
            question=self.question,
            text=response.text or self.text,
            status=response.status,
            facts=response.onlooker,
            usage=response.usage or Usage(),
            response_id=response.id,
        )
        self._news.set()

    def fail(self, error: BaseException) -> None:
        if not self.done:
            self._error = error
            self._news.set()


CancelAnswer = Callable[[PendingAnswer], None]
"""Asks the server to end an answer early; whoever holds the connection provides it."""


def _failure(response: ResponseObject) -> OnlookerError:
    details = response.status_details
    if details is None or details.error is None:
        return AnswerFailed("the server gave no reason")
    error = AnswerFailed(details.error.message)
    error.code = details.error.code
    return error
