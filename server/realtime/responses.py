"""A connection's answers: begins them, cancels them, and sees that each one's end is told."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal

from onlooker.core.errors import Overloaded, TooLarge
from onlooker.core.protocol.base import MessageItem, TextPart
from onlooker.core.protocol.client_events import ResponseConfig
from onlooker.core.protocol.server_events import ServerEvent
from onlooker.scheduler.slo import Tier
from onlooker.server.answers import AnswerWriter, answer_events
from onlooker.server.errors import ActiveResponse, NothingToCancel
from onlooker.server.gateway import Gateway
from onlooker.server.pictures import Inquiry
from onlooker.server.realtime.conversation import Conversation
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
        self._instructions: str | None = None
        self._max_output_tokens: int | Literal["inf"] | None = None
        self._tier: str | None = None

    @property
    def is_busy(self) -> bool:
        """Whether an answer is under way."""
        return bool(self._running)

    def configure(
        self,
        *,
        instructions: str | None,
        max_output_tokens: int | Literal["inf"] | None,
        tier: str | None,
    ) -> None:
        """Take over what the session says of coming answers."""
        self._instructions = instructions
        self._max_output_tokens = max_output_tokens
        self._tier = tier

    def create(self, config: ResponseConfig, stream: Stream) -> None:
        """Begin an answer; its events follow by themselves.

        Raises:
            ActiveResponse: the conversation has an answer under way.
            Overloaded: too many answers beside the conversation are under way.
            InvalidRequest, NotFound, TooLarge: there is no question, or too much of it.
        """
        in_conversation = config.conversation != "none"
        self._check_room(in_conversation)
        instructions = config.instructions or self._instructions
        inquiry = self._conversation.inquiry(
            instructions=instructions,
            override=config.input if in_conversation or config.input else None,
        )
        max_images = self._gateway.settings.engine.max_question_images
        if len(inquiry.images) > max_images:
            raise TooLarge(
                f"one question may bring {max_images} pictures along; this one has "
                f"{len(inquiry.images)}: ask before you add more",
                param="response.input",
            )
        max_tokens = self._gateway.output_tokens(
            config.max_output_tokens or self._max_output_tokens, param="response.max_output_tokens"
        )
        at_s = config.at_s
        if at_s is None and not stream.is_live:
            at_s = stream.status().newest_s  # "now" is what was sent before, whatever comes next
        question = replace(
            inquiry.question,
            dialogue=inquiry.question.dialogue if in_conversation else (),
            max_tokens=max_tokens,
            at_s=at_s,
            tier=Tier.named(config.service_tier or self._tier),
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
                self._emit(event)

    def _finish(self, running: _Running) -> None:
        """Send the terminal event of an answer whose task has ended, unless it was sent: it always
        comes, whoever cancelled the task."""
        writer = running.writer
        if writer.done is None:
            for event in writer.cancel():
                self._emit(event)
        del self._running[writer.response_id]
        if running.in_conversation and writer.text:
            self._remember(writer)

    def _remember(self, writer: AnswerWriter) -> None:
        assert writer.done is not None
        self._conversation.add_answer(
            MessageItem(
                id=writer.item_id,
                role="assistant",
                content=[TextPart(type="output_text", text=writer.text)],
            ),
            asked_s=writer.done.onlooker.asked_s or 0.0,
            is_whole=writer.done.status == "completed",
        )
