"""Answers under way on one connection: which server event belongs to which."""

import base64
import itertools
from collections.abc import Iterable

from onlooker.clients.python.answers import CancelAnswer, PendingAnswer
from onlooker.clients.python.encode import guess_codec
from onlooker.clients.python.errors import error_from
from onlooker.core.errors import InvalidRequest, OnlookerError, Overloaded
from onlooker.core.protocol.base import ImagePart, MessageItem, TextPart
from onlooker.core.protocol.client_events import ItemCreate, ResponseConfig, ResponseCreate
from onlooker.core.protocol.server_events import (
    AnyServerEvent,
    ErrorEvent,
    ResponseCreated,
    ResponseDone,
    TextDelta,
    UnknownEvent,
)

ASK_KEY = "ask"
"""The metadata field by which an answer is recognised; the server gives metadata back."""


def question_events(
    ask_id: str, text: str, images: Iterable[bytes], alone: bool, config: ResponseConfig
) -> list[str]:
    """The client events that ask one question, as JSON."""
    if not text.strip():
        raise InvalidRequest("the question is empty", param="text")
    pictures = [ImagePart(type="input_image", image_url=_data_url(image)) for image in images]
    message = MessageItem(role="user", content=[TextPart(type="input_text", text=text), *pictures])
    config = config.model_copy(update={"metadata": {ASK_KEY: ask_id}})
    if alone:
        config = config.model_copy(update={"input": [message], "conversation": "none"})
        events: list[ItemCreate | ResponseCreate] = []
    else:
        events = [ItemCreate(type="conversation.item.create", event_id=ask_id, item=message)]
    events.append(ResponseCreate(type="response.create", event_id=ask_id, response=config))
    return [event.model_dump_json(exclude_none=True) for event in events]


def _data_url(image: bytes) -> str:
    kind = guess_codec(image).name.lower()
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


class Questions:
    """Bounded; every answer that was begun ends, if only by `fail_all`."""

    def __init__(self, max_questions: int) -> None:
        self._max_questions = max_questions
        self._numbers = itertools.count(1)
        self._by_ask: dict[str, PendingAnswer] = {}

    def begin(self, text: str, cancel: CancelAnswer) -> PendingAnswer:
        """Make room for one more.

        Raises:
            Overloaded: too many are under way.
        """
        if len(self._by_ask) >= self._max_questions:
            raise Overloaded(
                f"{self._max_questions} answers are under way on this connection; wait for one"
            )
        pending = PendingAnswer(text, f"ask-{next(self._numbers)}", cancel)
        self._by_ask[pending.ask_id] = pending
        return pending

    def take(self, event: AnyServerEvent | UnknownEvent) -> bool:
        """Pass an event on to the answer it belongs to; False where it belongs to none."""
        if isinstance(event, ResponseCreated):
            pending = self._by_ask.get((event.response.metadata or {}).get(ASK_KEY, ""))
            if pending is not None:
                pending.response_id = event.response.id
        elif isinstance(event, TextDelta):
            pending = self._by_response(event.response_id)
            if pending is not None:
                pending.add(event.delta)
        elif isinstance(event, ResponseDone):
            pending = self._by_response(event.response.id)
            if pending is not None:
                self._by_ask.pop(pending.ask_id, None)
                pending.finish(event.response)
        elif isinstance(event, ErrorEvent):
            pending = self._by_ask.get(event.error.event_id or "")
            if pending is not None and pending.response_id is None:
                self.fail(pending, error_from(event.error))
        else:
            return False
        return pending is not None

    def fail(self, pending: PendingAnswer, error: OnlookerError) -> None:
        """End one answer."""
        self._by_ask.pop(pending.ask_id, None)
        pending.fail(error)

    def fail_all(self, error: OnlookerError) -> None:
        """End all answers: the connection is gone."""
        for pending in list(self._by_ask.values()):
            self.fail(pending, error)

    def _by_response(self, response_id: str) -> PendingAnswer | None:
        for pending in self._by_ask.values():
            if pending.response_id == response_id:
                return pending
        return None
