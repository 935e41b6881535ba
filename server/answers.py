"""One answer's events, in OpenAI Realtime's order, whoever reads them: WebSocket or SSE.

`AnswerWriter` is pure: it makes events and keeps the text. `asking.answer_events` runs it over an
engine's answer.
"""

from dataclasses import dataclass
from typing import Literal

from onlooker.core.clock import Clock
from onlooker.core.errors import OnlookerError
from onlooker.core.ids import ItemId, ResponseId, new_id
from onlooker.core.protocol.base import (
    AnswerFacts,
    ConversationItem,
    EvidenceSpan,
    InputTokenDetails,
    OutputText,
    Usage,
)
from onlooker.core.protocol.server_events import (
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
    ServerEvent,
    TextDelta,
    TextDone,
)
from onlooker.engine.interface import AnswerEnd, FinishReason
from onlooker.server.errors import body_of

Status = Literal["completed", "cancelled", "incomplete", "failed"]

_STATUS: dict[FinishReason, Status] = {
    FinishReason.STOP: "completed",
    FinishReason.LENGTH: "incomplete",
    FinishReason.CANCELLED: "cancelled",
    FinishReason.ERROR: "failed",
}
_REASON: dict[Status, str | None] = {
    "completed": None,
    "incomplete": "max_output_tokens",
    "cancelled": "client_cancelled",
    "failed": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFrame:
    """What is fixed about an answer before it begins."""

    stream: str | None
    max_output_tokens: int
    conversation_id: str | None = None
    """Set when the answer becomes an item of the conversation."""
    previous_item_id: str | None = None
    metadata: dict[str, str] | None = None
    asked_s: float | None = None


class AnswerWriter:
    """Makes the events of one answer. Call `begin`, `delta` as often as need be, `end` once."""

    def __init__(self, frame: AnswerFrame, *, clock: Clock) -> None:
        self.response_id = ResponseId(new_id("resp"))
        self.item_id = ItemId(new_id("item"))
        self._frame = frame
        self._clock = clock
        self._begun_at_s = clock.now_s()
        self._ttft_ms: float | None = None
        self._pieces: list[str] = []
        self._has_item = False
        self.done: ResponseObject | None = None
        """The whole answer, once it has ended."""
        self.failure: OnlookerError | None = None
        """Why it failed, where it did."""

    @property
    def text(self) -> str:
        """What there is of the answer."""
        return "".join(self._pieces)

    def begin(self) -> list[ServerEvent]:
        """The answer is accepted."""
        return [ResponseCreated(response=self._object("in_progress"))]

    def delta(self, text: str) -> list[ServerEvent]:
        """A piece of text came."""
        events: list[ServerEvent] = []
        if not self._has_item:
            self._has_item = True
            self._ttft_ms = (self._clock.now_s() - self._begun_at_s) * 1000
            events = self._open_item()
        self._pieces.append(text)
        delta = TextDelta(response_id=self.response_id, item_id=self.item_id, delta=text)
        return [*events, delta]

    def end(self, end: AnswerEnd) -> list[ServerEvent]:
        """The engine ended the answer."""
        usage = Usage(
            input_tokens=end.num_prompt_tokens,
            output_tokens=end.num_output_tokens,
            total_tokens=end.num_prompt_tokens + end.num_output_tokens,
            input_token_details=InputTokenDetails(cached_tokens=end.num_cached_tokens),
        )
        asked_s = _seconds(end.details.get("asked_s"))
        facts = AnswerFacts(
            stream=self._frame.stream,
            asked_s=self._frame.asked_s if asked_s is None else asked_s,
            seen_until_s=_seconds(end.details.get("seen_until_s")),
            clip_spans_s=list(end.clip_spans_s),
            retrieved_spans_s=list(end.retrieved_spans_s),
            memory_incomplete=end.memory_incomplete,
            evidence=[
                EvidenceSpan(start_s=e.start_s, end_s=e.end_s, source=e.source, tier=e.tier)
                for e in end.evidence
            ],
            fetched_bytes=dict(end.fetched_bytes),
            fetched_ratio=end.fetched_ratio,
            ttft_ms=self._ttft_ms,
        )
        reason = end.details.get("reason")  # such as a stream that closed under the answer
        return self._close(
            _STATUS[end.finish_reason],
            usage=usage,
            facts=facts,
            reason=reason if isinstance(reason, str) else None,
        )

    def cancel(self) -> list[ServerEvent]:
        """The client does not want the rest."""
        return self._close("cancelled")

    def fail(self, error: OnlookerError) -> list[ServerEvent]:
        """The answer cannot be given."""
        self.failure = error
        body = body_of(error)
        told = ResponseError(type=body.type, code=body.code, message=body.message)
        return self._close("failed", error=told)

    def _open_item(self) -> list[ServerEvent]:
        item = self._item("in_progress")
        events: list[ServerEvent] = [OutputItemAdded(response_id=self.response_id, item=item)]
        if self._frame.conversation_id is not None:
            before = self._frame.previous_item_id
            events.append(ItemAdded(item=item, previous_item_id=before))
        events.append(ContentPartAdded(response_id=self.response_id, item_id=self.item_id))
        return events

    def _close(
        self,
        status: Status,
        *,
        usage: Usage | None = None,
        facts: AnswerFacts | None = None,
        error: ResponseError | None = None,
        reason: str | None = None,
    ) -> list[ServerEvent]:
        assert self.done is None, "an answer ends once"
        events: list[ServerEvent] = []
        if self._has_item:
            item = self._item("completed" if status == "completed" else "incomplete")
            answer_id, item_id, text = self.response_id, self.item_id, self.text
            events = [
                TextDone(response_id=answer_id, item_id=item_id, text=text),
                ContentPartDone(response_id=answer_id, item_id=item_id, part=Part(text=text)),
            ]
            if self._frame.conversation_id is not None:
                before = self._frame.previous_item_id
                events.append(ItemDone(item=item, previous_item_id=before))
            events.append(OutputItemDone(response_id=self.response_id, item=item))
        self.done = self._object(status)
        self.done.usage = usage or Usage()
        if facts is not None:
            self.done.onlooker = facts
        self.done.status_details = ResponseStatusDetails(
            type=status, reason=reason or _REASON[status], error=error
        )
        return [*events, ResponseDone(response=self.done)]

    def _item(self, status: Literal["in_progress", "completed", "incomplete"]) -> ConversationItem:
        content = [OutputText(text=self.text)] if status != "in_progress" else []
        return ConversationItem(
            id=self.item_id, role="assistant", status=status, content=list(content)
        )

    def _object(self, status: Literal["in_progress"] | Status) -> ResponseObject:
        item_status: Literal["completed", "incomplete"] = (
            "completed" if status == "completed" else "incomplete"
        )
        ended = status != "in_progress" and self._has_item
        return ResponseObject(
            id=self.response_id,
            status=status,
            output=[self._item(item_status)] if ended else [],
            max_output_tokens=self._frame.max_output_tokens,
            conversation_id=self._frame.conversation_id,
            metadata=self._frame.metadata,
            onlooker=AnswerFacts(
                stream=self._frame.stream, asked_s=self._frame.asked_s, ttft_ms=self._ttft_ms
            ),
        )


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
