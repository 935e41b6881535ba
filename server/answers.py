"""One answer's events, in OpenAI Realtime's order, whoever reads them: WebSocket or SSE.

`AnswerWriter` is pure: it makes events and keeps the text. `answer_events` runs it over what a
stream answers.
"""

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Literal

from onlooker.core.clock import Clock
from onlooker.core.errors import OnlookerError
from onlooker.core.ids import ItemId, new_id, split_stream_id
from onlooker.core.log import response_id_var
from onlooker.core.protocol.album import picture_url
from onlooker.core.protocol.answer_events import (
    CallArgumentsDelta,
    CallArgumentsDone,
    ContentPartAdded,
    ContentPartDone,
    ItemAdded,
    ItemDone,
    OutputItemAdded,
    OutputItemDone,
    Part,
    ResponseCreated,
    ResponseDone,
    ResponseError,
    ResponseObject,
    ResponseStatusDetails,
    TextDelta,
    TextDone,
)
from onlooker.core.protocol.answer_facts import (
    AnswerFacts,
    EvidenceSpan,
    InputTokenDetails,
    MisreadTimeObject,
    MomentObject,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from onlooker.core.protocol.base import FinalStatus
from onlooker.core.protocol.conversation_items import ConversationItem, OutputText
from onlooker.core.protocol.functions import AnyItem, CalledItem, ItemStatus
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.core.trace import asked_by
from onlooker.engine.functions import FunctionCall
from onlooker.engine.interface import AnswerDelta, AnswerEnd, Evidence, EvidenceSource, Question
from onlooker.engine.sampling import TokenChance
from onlooker.server.errors import body_of, hide
from onlooker.server.pictures import Inquiry, PictureReader
from onlooker.streams.stream import Stream

_REASON: dict[FinalStatus, str | None] = {
    "completed": None,
    "incomplete": "max_output_tokens",
    "cancelled": "client_cancelled",
    "failed": None,
}


class AnswerWriter:
    """Makes the events of one answer. Call `begin`, `delta` as often as need be, `end` once."""

    def __init__(
        self,
        question: Question,
        *,
        stream: str | None,
        clock: Clock,
        conversation_id: str | None = None,
        previous_item_id: str | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        """`stream`: the name that the client is told. `conversation_id`: set where the answer
        becomes an item of the conversation."""
        self.response_id = question.response_id
        self.item_id = ItemId(new_id("item"))
        self._question = question
        self._stream = stream
        self._conversation_id, self._previous_item_id = conversation_id, previous_item_id
        self._metadata = metadata
        self._clock = clock
        self._begun_at_s = clock.now_s()
        self._ttft_ms: float | None = None
        self._pieces: list[str] = []
        self.has_item = False
        """Whether anything was said, be it only what is done meanwhile."""
        self.calls: tuple[FunctionCall, ...] = ()
        """The functions that the answer calls, once it has ended."""
        self.called: tuple[CalledItem, ...] = ()
        """The same as items of the answer."""
        self.logprobs: list[TokenLogprob] = []
        """The tokens so far, where their probabilities were asked for."""
        self.done: ResponseObject | None = None
        """The whole answer, once it has ended; None before."""
        self.failure: OnlookerError | None = None
        """Why the answer failed; None where it did not."""

    @property
    def text(self) -> str:
        """The text of the answer so far, without what was said meanwhile."""
        return "".join(self._pieces)

    def begin(self) -> list[ServerEvent]:
        """The events that tell that the answer is accepted."""
        return [ResponseCreated(response=self._object("in_progress"))]

    def delta(self, piece: AnswerDelta) -> list[ServerEvent]:
        """The events that tell of a piece of text, and of its tokens where they are told."""
        events: list[ServerEvent] = []
        if not self.has_item:
            self.has_item = True
            self._ttft_ms = (self._clock.now_s() - self._begun_at_s) * 1000
            events = self._open_item()
        if not piece.is_interim:
            self._pieces.append(piece.text)
        tokens = [_logprob(chance) for chance in piece.chances] or None
        self.logprobs += tokens or []
        delta = TextDelta(
            response_id=self.response_id,
            item_id=self.item_id,
            delta=piece.text,
            logprobs=tokens,
            interim=piece.is_interim,
        )
        return [*events, delta]

    def end(self, end: AnswerEnd) -> list[ServerEvent]:
        """The events that end an answer which the engine has ended."""
        self.calls = end.calls
        self.called = tuple(
            CalledItem(id=new_id("item"), call_id=call.id, name=call.name, arguments=call.arguments)
            for call in end.calls
        )
        usage = Usage(
            input_tokens=end.num_prompt_tokens,
            output_tokens=end.num_output_tokens,
            total_tokens=end.num_prompt_tokens + end.num_output_tokens,
            input_token_details=InputTokenDetails(cached_tokens=end.num_cached_tokens),
        )
        facts = AnswerFacts(
            stream=self._stream,
            asked_s=self._question.at_s if end.asked_s is None else end.asked_s,
            seen_until_s=end.seen_until_s,
            clip_spans_s=list(end.clip_spans_s),
            retrieved_spans_s=list(end.retrieved_spans_s),
            memory_incomplete=end.memory_incomplete,
            forgotten_spans_s=list(end.forgotten_spans_s),
            evidence=[
                EvidenceSpan(
                    start_s=e.start_s,
                    end_s=e.end_s,
                    source=e.source,
                    tier=e.tier,
                    partial=e.is_partial,
                    compacted=e.is_compacted,
                    picture=self._picture_of(e, end.pictured_from_s),
                )
                for e in end.evidence
            ],
            moments=[
                MomentObject(
                    at_s=one.at_s,
                    end_s=one.end_s,
                    wall_time=one.wall_s if end.knows_wall else None,
                    picture=self._picture_at(one.at_s, end.pictured_from_s),
                    confidence=round(one.confidence, 4),
                )
                for one in end.moments
            ],
            moments_exact=end.moments_exact,
            misread_times=[
                MisreadTimeObject(said_s=one.said_s, told_s=one.told_s) for one in end.misread_times
            ],
            fetched_bytes=dict(end.fetched_bytes),
            fetched_ratio=end.fetched_ratio,
            dialogue_turns=len(self._question.dialogue),
            understood_as=self._question.understood,
            confidence=self._confidence(end),
            ttft_ms=self._ttft_ms,
        )
        return self._close(end.finish_reason.status, usage=usage, facts=facts, reason=end.reason)

    def cancel(self) -> list[ServerEvent]:
        """The events that end an answer whose rest the client does not want."""
        return self._close("cancelled")

    def fail(self, error: OnlookerError) -> list[ServerEvent]:
        """The events that end an answer that cannot be given."""
        self.failure = error
        body = body_of(error)
        told = ResponseError(
            type=body.type,
            code=body.code,
            message=body.message,
            retry_after_s=body.retry_after_s,
            limit=body.limit,
        )
        return self._close("failed", error=told)

    def _confidence(self, end: AnswerEnd) -> float | None:
        if not self._question.tells_confidence:
            return None
        if end.moments:
            return round(min(one.confidence for one in end.moments), 4)
        if not self.logprobs:
            return None
        mean = sum(token.logprob for token in self.logprobs) / len(self.logprobs)
        return round(math.exp(min(0.0, mean)), 4)

    def _picture_of(self, evidence: Evidence, pictured_from_s: float | None) -> str | None:
        """The newest picture of what was just seen, and the first of what was brought back."""
        is_recent = evidence.source is EvidenceSource.RECENT
        return self._picture_at(evidence.end_s if is_recent else evidence.start_s, pictured_from_s)

    def _picture_at(self, at_s: float, pictured_from_s: float | None) -> str | None:
        if self._stream is None or pictured_from_s is None or at_s < pictured_from_s:
            return None
        return picture_url(self._stream, at_s)

    def _open_item(self) -> list[ServerEvent]:
        item = self._item("in_progress")
        events: list[ServerEvent] = [OutputItemAdded(response_id=self.response_id, item=item)]
        if self._conversation_id is not None:
            before = self._previous_item_id
            events.append(ItemAdded(item=item, previous_item_id=before))
        events.append(ContentPartAdded(response_id=self.response_id, item_id=self.item_id))
        return events

    def _close(
        self,
        status: FinalStatus,
        *,
        usage: Usage | None = None,
        facts: AnswerFacts | None = None,
        error: ResponseError | None = None,
        reason: str | None = None,
    ) -> list[ServerEvent]:
        assert self.done is None, "an answer ends once"
        events: list[ServerEvent] = []
        if self.has_item:
            item = self._item("completed" if status == "completed" else "incomplete")
            answer_id, item_id, text = self.response_id, self.item_id, self.text
            events = [
                TextDone(response_id=answer_id, item_id=item_id, text=text),
                ContentPartDone(response_id=answer_id, item_id=item_id, part=Part(text=text)),
            ]
            if self._conversation_id is not None:
                before = self._previous_item_id
                events.append(ItemDone(item=item, previous_item_id=before))
            events.append(OutputItemDone(response_id=self.response_id, item=item))
        events += self._tell_calls()
        self.done = self._object(status)
        self.done.usage = usage or Usage()
        if facts is not None:
            self.done.onlooker = facts
        self.done.status_details = ResponseStatusDetails(
            type=status, reason=reason or _REASON[status], error=error
        )
        return [*events, ResponseDone(response=self.done)]

    def _tell_calls(self) -> Iterator[ServerEvent]:
        """The events that tell of calls, each of which comes whole."""
        before = self.item_id if self.has_item else self._previous_item_id
        for index, item in enumerate(self.called, 1 if self.has_item else 0):
            response_id, is_listed = self.response_id, self._conversation_id is not None
            begun = item.model_copy(update={"status": "in_progress", "arguments": ""})
            yield OutputItemAdded(response_id=response_id, output_index=index, item=begun)
            if is_listed:
                yield ItemAdded(item=begun, previous_item_id=before)
            yield CallArgumentsDelta(
                response_id=response_id,
                item_id=item.id,
                output_index=index,
                call_id=item.call_id,
                delta=item.arguments,
            )
            yield CallArgumentsDone(
                response_id=response_id,
                item_id=item.id,
                output_index=index,
                call_id=item.call_id,
                name=item.name,
                arguments=item.arguments,
            )
            if is_listed:
                yield ItemDone(item=item, previous_item_id=before)
            yield OutputItemDone(response_id=response_id, output_index=index, item=item)
            before = item.id

    def _item(self, status: ItemStatus) -> ConversationItem:
        content = [OutputText(text=self.text)] if status != "in_progress" else []
        return ConversationItem(
            id=self.item_id, role="assistant", status=status, content=list(content)
        )

    def _object(self, status: Literal["in_progress", FinalStatus]) -> ResponseObject:
        item_status: Literal["completed", "incomplete"] = (
            "completed" if status == "completed" else "incomplete"
        )
        has_ended = status != "in_progress"
        said: list[AnyItem] = [self._item(item_status)] if has_ended and self.has_item else []
        return ResponseObject(
            id=self.response_id,
            status=status,
            output=[*said, *(self.called if has_ended else ())],
            max_output_tokens=self._question.max_tokens,
            conversation_id=self._conversation_id,
            metadata=self._metadata,
            onlooker=AnswerFacts(
                stream=self._stream,
                asked_s=self._question.at_s,
                dialogue_turns=len(self._question.dialogue),
                understood_as=self._question.understood,
                ttft_ms=self._ttft_ms,
            ),
        )


def _logprob(chance: TokenChance) -> TokenLogprob:
    return TokenLogprob(
        token=chance.text,
        logprob=chance.logprob,
        bytes=list(chance.text.encode()),
        top_logprobs=[
            TopLogprob(token=text, logprob=logprob, bytes=list(text.encode()))
            for text, logprob in chance.alternatives
        ],
    )


async def answer_events(
    stream: Stream,
    inquiry: Inquiry,
    writer: AnswerWriter,
    pictures: PictureReader,
    *,
    at_end: Callable[[], Awaitable[None]] | None = None,
) -> AsyncGenerator[ServerEvent]:
    """Put a question to a stream; yield the events from after `AnswerWriter.begin` to
    `response.done`. `at_end` is awaited last, however the answer ends.

    Whatever fails ends the answer with status ``failed``; nothing is raised. Closing the generator
    aborts the answer without a terminal event: who closes it calls `AnswerWriter.cancel`.
    """
    response_id_var.set(writer.response_id)
    try:
        question = inquiry.question
        if question.trace is None and (above := asked_by.get()) is not None:
            question = replace(question, trace=above)
        if inquiry.images:
            question = replace(
                question,
                images=await pictures.read(inquiry.images, tenant=split_stream_id(stream.id)[0]),
            )
        async with aclosing(stream.ask(question)) as pieces:
            async for piece in pieces:
                if isinstance(piece, AnswerDelta):
                    events = writer.delta(piece)
                else:
                    events = writer.end(piece)
                for event in events:
                    yield event
    except Exception as error:
        failure = error if isinstance(error, OnlookerError) else hide(error, where="answer")
        if writer.done is None:
            for event in writer.fail(failure):
                yield event
    finally:
        if at_end is not None:
            await at_end()
