"""A connection's answers: begins them, cancels them, and sees that each one's end is told."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from onlooker.core.errors import Overloaded, TooLarge
from onlooker.core.protocol.client_events import ResponseConfig, SessionConfig
from onlooker.core.protocol.conversation_items import MessageItem, TextPart
from onlooker.core.protocol.functions import FunctionCallItem
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.core.trace import TRACEPARENT, TraceParent
from onlooker.scheduler.slo import Tier
from onlooker.server.answers import AnswerWriter, answer_events
from onlooker.server.errors import ActiveResponse, NothingToCancel
from onlooker.server.gateway import Gateway
from onlooker.server.pictures import Inquiry
from onlooker.server.realtime.conversation import Conversation
from onlooker.server.realtime.tools import tools_of
from onlooker.streams.stream import Stream


@dataclass(slots=True, eq=False)
class _Running:
    writer: AnswerWriter
    task: "asyncio.Task[None]"
    in_conversation: bool


class Responses:
    """The answers of one conversation, and those beside it."""

    def __init__(
        self,
        gateway: Gateway,
        conversation: Conversation,
        *,
        emit: Callable[[ServerEvent], None],
        spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"],
    ) -> None:
        self._gateway = gateway
        self._conversation = conversation
        self._emit = emit
        self._spawn = spawn
        self._running: dict[str, _Running] = {}
        self._session = SessionConfig()

    @property
    def is_busy(self) -> bool:
        """Whether an answer is under way."""
        return bool(self._running)

    def configure(self, session: SessionConfig) -> None:
        """Take over what the session says of coming answers."""
        self._session = session

    def create(self, config: ResponseConfig, stream: Stream) -> None:
        """Begin an answer; its events follow by themselves.

        Raises:
            ActiveResponse: the conversation has an answer under way.
            Overloaded: too many answers beside the conversation are under way.
            InvalidRequest, NotFound, TooLarge: there is no question, or too much of it, or the
                model cannot do what it asks for.
        """
        in_conversation = config.conversation != "none"
        self._check_room(in_conversation)
        instructions = config.instructions or self._session.instructions
        inquiry = self._conversation.inquiry(
            instructions=instructions,
            override=config.input if in_conversation or config.input else None,
            brings_turns=in_conversation or bool(config.input),
        )
        max_images = self._gateway.settings.engine.max_question_images
        if len(inquiry.images) > max_images:
            raise TooLarge(
                f"one question may bring {max_images} pictures along; this one has "
                f"{len(inquiry.images)}: ask before you add more",
                param="response.input",
            )
        max_tokens = self._gateway.output_tokens(
            config.max_output_tokens or self._session.max_output_tokens,
            param="response.max_output_tokens",
        )
        at_s = config.at_s
        if at_s is None and not stream.is_live:
            at_s = stream.status().newest_s  # "now" is what was sent before, whatever comes next
        question = replace(
            inquiry.question,
            max_tokens=max_tokens,
            at_s=at_s,
            tools=tools_of(config, self._session, self._gateway.hub.info, self._gateway.settings),
            tier=Tier.named(config.service_tier or self._session.service_tier),
            trace=TraceParent.read((config.metadata or {}).get(TRACEPARENT)),
        )
        writer = AnswerWriter(
            question,
            stream=stream.name,
            clock=self._gateway.clock,
            conversation_id=self._conversation.id if in_conversation else None,
            previous_item_id=self._conversation.last_id if in_conversation else None,
            metadata=config.metadata,
        )
        for event in writer.begin():
            self._emit(event)
        task = self._spawn(self._run(replace(inquiry, question=question), writer, stream))
        running = _Running(writer, task, in_conversation)
        self._running[writer.response_id] = running
        # In a callback, because a task that is cancelled before its first step runs no `finally`.
        task.add_done_callback(lambda _: self._finish(running))

    async def cancel(self, response_id: str | None) -> None:
        """End an answer early and wait until its end is told.

        Raises:
            NothingToCancel: none is under way, or not that one.
        """
        if response_id is None:
            found = next((r for r in self._running.values() if r.in_conversation), None)
        else:
            found = self._running.get(response_id)
        if found is None:
            raise NothingToCancel(
                "no answer is under way in the conversation"
                if response_id is None
                else f"answer '{response_id[:80]}' is not under way",
                param="response_id",
            )
        found.task.cancel()
        await asyncio.wait([found.task])

    def _check_room(self, in_conversation: bool) -> None:
        running = self._running.values()
        if in_conversation:
            active = next((r for r in running if r.in_conversation), None)
            if active is not None:
                raise ActiveResponse(
                    f"the conversation has an answer under way ({active.writer.response_id}): "
                    "wait for its response.done, cancel it, or ask with conversation 'none'"
                )
            return
        limit = self._gateway.settings.server.max_side_answers
        if sum(not r.in_conversation for r in running) >= limit:
            raise Overloaded(
                f"{limit} answers beside the conversation are under way on this connection "
                "(setting server.max_side_answers)"
            )

    async def _run(self, inquiry: Inquiry, writer: AnswerWriter, stream: Stream) -> None:
        pictures = self._gateway.pictures
        async with aclosing(answer_events(stream, inquiry, writer, pictures)) as events:
            async for event in events:
                if writer.done is not None:
                    # Whoever hears of the end may send the result of a call, and ask again.
                    self._settle(writer.response_id)
                self._emit(event)

    def _finish(self, running: _Running) -> None:
        """Send the terminal event of an answer whose task has ended, unless it was sent: it always
        comes, whoever cancelled the task."""
        writer = running.writer
        events = writer.cancel() if writer.done is None else []
        self._settle(writer.response_id)
        for event in events:
            self._emit(event)

    def _settle(self, response_id: str) -> None:
        """Let an answer that has ended give way to the next, and remember it. Idempotent."""
        running = self._running.pop(response_id, None)
        if running is None or not running.in_conversation:
            return
        writer = running.writer
        assert writer.done is not None
        asked_s = writer.done.onlooker.asked_s or 0.0
        is_whole = writer.done.status == "completed"
        if writer.has_item:  # also without words, so that the question counts as answered
            part = TextPart(type="output_text", text=writer.text)
            said = MessageItem(id=writer.item_id, role="assistant", content=[part])
            self._conversation.add_answer(said, asked_s=asked_s, is_whole=is_whole)
        for item in writer.called:
            call = FunctionCallItem(
                type="function_call",
                id=item.id,
                call_id=item.call_id,
                name=item.name,
                arguments=item.arguments,
            )
            self._conversation.add_answer(call, asked_s=asked_s, is_whole=is_whole)
