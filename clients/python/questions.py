"""Answers under way on one connection: which server event belongs to which."""

import base64
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from onlooker.clients.python.answers import PendingAnswer
from onlooker.clients.python.encode import guess_codec
from onlooker.clients.python.errors import AnswerCancelled, error_from
from onlooker.core.errors import CapacityError, InvalidRequest, OnlookerError, Overloaded
from onlooker.core.protocol.answer_events import ResponseCreated, ResponseDone, TextDelta
from onlooker.core.protocol.client_events import (
    ItemCreate,
    ResponseCancel,
    ResponseConfig,
    ResponseCreate,
)
from onlooker.core.protocol.conversation_items import ImagePart, MessageItem, TextPart
from onlooker.core.protocol.server_events import AnyServerEvent, ErrorEvent, UnknownEvent

ASK_KEY = "ask"
"""The metadata field by which an answer is recognised; the server gives metadata back."""


def question_events(
    ask_id: str, text: str, images: Iterable[bytes], alone: bool, config: ResponseConfig
) -> list[str]:
    """The client events that ask one question, as JSON."""
    if not text.strip():
        raise InvalidRequest("the question is empty", param="text")
    pictures = [ImagePart(type="input_image", image_url=data_url(image)) for image in images]
    message = MessageItem(role="user", content=[TextPart(type="input_text", text=text), *pictures])
    config = config.model_copy(update={"metadata": {ASK_KEY: ask_id}})
    if alone:
        config = config.model_copy(update={"input": [message], "conversation": "none"})
        events: list[ItemCreate | ResponseCreate] = []
    else:
        events = [ItemCreate(type="conversation.item.create", event_id=ask_id, item=message)]
    events.append(ResponseCreate(type="response.create", event_id=ask_id, response=config))
    return [event.model_dump_json(exclude_none=True) for event in events]


def data_url(image: bytes) -> str:
    """A picture as it is put into JSON. Raises `UnsupportedMedia`."""
    kind = guess_codec(image).name.lower()
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


class Questions:
    """The questions under way, bounded in number. Each answer begun ends, if only by `fail_all`.

    A conversation has one answer at a time, so its questions wait for each other here; those beside
    it (`alone`) go out at once.
    """

    def __init__(self, max_questions: int, put_event: Callable[[str], None]) -> None:
        self._max_questions = max_questions
        self._put_event = put_event
        self._numbers = itertools.count(1)
        self._by_ask: dict[str, PendingAnswer] = {}
        self._line: deque[tuple[PendingAnswer, list[str]]] = deque()
        self._speaking: PendingAnswer | None = None
        self._held: list[tuple[PendingAnswer, list[str]]] = []
        """Questions beside the conversation that wait for the next connection."""
        self._is_holding = False

    def hold(self) -> None:
        """Ask nothing more on this connection, which will end: it waits for the next one."""
        self._is_holding = True

    def go_on(self) -> None:
        """Ask what was held back, on the new connection."""
        self._is_holding = False
        held, self._held = self._held, []
        for pending, events in held:
            self._put_or_end(pending, events)
        self._advance()

    def ask(
        self, text: str, *, images: Iterable[bytes], alone: bool, config: ResponseConfig
    ) -> PendingAnswer:
        """Ask one more question.

        Raises:
            Overloaded: too many are under way.
            InvalidRequest: the question is empty.
        """
        if len(self._by_ask) >= self._max_questions:
            raise Overloaded(
                f"{self._max_questions} answers are under way on this connection; wait for one"
            )
        pending = PendingAnswer(text, f"ask-{next(self._numbers)}", self._cancel)
        events = question_events(pending.ask_id, text, images, alone, config)
        self._by_ask[pending.ask_id] = pending
        if not alone:
            self._line.append((pending, events))
            self._advance()
            return pending
        if self._is_holding:
            self._held.append((pending, events))
            return pending
        try:
            self._put_all(events)
        except OnlookerError as error:
            self._end(pending, error)
            raise
        return pending

    def take(self, event: AnyServerEvent | UnknownEvent) -> bool:
        """Pass an event on to the answer it belongs to; False where it belongs to none."""
        if isinstance(event, ResponseCreated):
            pending = self._by_ask.get((event.response.metadata or {}).get(ASK_KEY, ""))
            if pending is not None:
                pending.response_id = event.response.id
                if pending.is_unwanted:
                    self._cancel(pending)
        elif isinstance(event, TextDelta):
            pending = self._by_response(event.response_id)
            if pending is not None:
                pending.add(event.delta)
        elif isinstance(event, ResponseDone):
            pending = self._by_response(event.response.id)
            if pending is not None:
                pending.finish(event.response)
                self._end(pending)
        elif isinstance(event, ErrorEvent):
            pending = self._by_ask.get(event.error.event_id or "")
            if pending is not None and pending.response_id is None:
                self._end(pending, error_from(event.error))
        else:
            return False
        return pending is not None

    def fail_asked(self, error: OnlookerError) -> None:
        """End the answers under way: the connection is gone. What was held back stays."""
        if not self._is_holding:
            self.fail_all(error)
            return
        kept = {id(pending) for pending, _ in (*self._line, *self._held)}
        for pending in list(self._by_ask.values()):
            if id(pending) not in kept:
                self._end(pending, error)

    def fail_all(self, error: OnlookerError) -> None:
        """End all answers."""
        self._line.clear()
        self._held.clear()
        for pending in list(self._by_ask.values()):
            self._end(pending, error)

    def _cancel(self, pending: PendingAnswer) -> None:
        if pending.response_id is not None:
            cancel = ResponseCancel(type="response.cancel", response_id=pending.response_id)
            with suppress(CapacityError):  # the connection is about to be given up anyway
                self._put_event(cancel.model_dump_json(exclude_none=True))
        elif any(waiting is pending for waiting, _ in (*self._line, *self._held)):
            self._line = deque(entry for entry in self._line if entry[0] is not pending)
            self._held = [entry for entry in self._held if entry[0] is not pending]
            self._end(pending, AnswerCancelled("cancelled before it was asked"))
        else:
            pending.is_unwanted = True  # sent, not accepted yet: cancelled as soon as it has a name

    def _end(self, pending: PendingAnswer, error: OnlookerError | None = None) -> None:
        self._by_ask.pop(pending.ask_id, None)
        if error is not None:
            pending.fail(error)
        if self._speaking is pending:
            self._speaking = None
            self._advance()

    def _advance(self) -> None:
        """Ask the next question of the conversation, when no other is being answered."""
        while self._speaking is None and self._line and not self._is_holding:
            pending, events = self._line.popleft()
            self._speaking = pending
            self._put_or_end(pending, events)

    def _put_or_end(self, pending: PendingAnswer, events: list[str]) -> None:
        try:
            self._put_all(events)
        except OnlookerError as error:
            self._end(pending, error)

    def _put_all(self, events: list[str]) -> None:
        for event in events:
            self._put_event(event)

    def _by_response(self, response_id: str) -> PendingAnswer | None:
        for pending in self._by_ask.values():
            if pending.response_id == response_id:
                return pending
        return None
