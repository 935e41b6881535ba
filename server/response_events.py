"""`ResponseTeller`: an answer in the words of OpenAI's responses, as events and as one object."""

from collections.abc import Iterator
from typing import Any

from onlooker.core.clock import Clock
from onlooker.core.ids import new_id
from onlooker.core.protocol.answer_events import (
    OutputItemAdded,
    ResponseDone,
    ResponseObject,
    TextDelta,
)
from onlooker.core.protocol.answer_facts import InputTokenDetails
from onlooker.core.protocol.conversation_items import ConversationItem
from onlooker.core.protocol.openai_responses import (
    FunctionCallReply,
    IncompleteDetails,
    MessageReply,
    OutputTextReply,
    ResponsesError,
    ResponsesReply,
    ResponsesRequest,
    ResponsesUsage,
    TextReply,
)
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.server.answers import AnswerWriter

Told = dict[str, Any]
"""One event, ready to be written as JSON."""


class ResponseTeller:
    """Turns the events of an answer into those of OpenAI's responses. Call `begin` first, `tell`
    with every event, in order."""

    def __init__(
        self, request: ResponsesRequest, writer: AnswerWriter, clock: Clock, *, max_tokens: int
    ) -> None:
        self._request, self._writer, self._clock = request, writer, clock
        self._max_tokens = max_tokens
        self._created_at = clock.wall_s()
        self._item_id = new_id("msg")
        self._calls: list[FunctionCallReply] | None = None
        self._num_told = 0

    def begin(self) -> list[Told]:
        """The events that tell that the answer is accepted."""
        response = self.reply(is_begun_only=True).model_dump()
        return [
            self._told(f"response.{word}", response=response) for word in ("created", "in_progress")
        ]

    def tell(self, event: ServerEvent) -> list[Told]:
        """The events that tell of what happened; none for what OpenAI has no event for."""
        if isinstance(event, OutputItemAdded) and isinstance(event.item, ConversationItem):
            item = self._message("in_progress", with_text=False)
            part = OutputTextReply().model_dump()
            return [
                self._told("response.output_item.added", output_index=0, item=item.model_dump()),
                self._told("response.content_part.added", **self._place, part=part),
            ]
        if isinstance(event, TextDelta):
            logprobs = [token.model_dump() for token in event.logprobs or ()]
            delta = {"delta": event.delta, "logprobs": logprobs}
            return [self._told("response.output_text.delta", **self._place, **delta)]
        if isinstance(event, ResponseDone):
            return [*self._end_message(event.response), *self._tell_calls(), self._end(event)]
        return []

    def reply(self, *, is_begun_only: bool = False) -> ResponsesReply:
        """The response as one object. `is_begun_only`: as it was before anything was said."""
        done, asked = None if is_begun_only else self._writer.done, self._request
        usage, error = None, self._writer.failure
        if done is not None and done.usage is not None:
            usage = ResponsesUsage(
                input_tokens=done.usage.input_tokens,
                input_tokens_details=InputTokenDetails(
                    cached_tokens=done.usage.input_token_details.cached_tokens
                ),
                output_tokens=done.usage.output_tokens,
                total_tokens=done.usage.total_tokens,
            )
        found = done.status if done is not None else "in_progress"
        return ResponsesReply.model_validate({
            "id": self._writer.response_id,
            "created_at": self._created_at,
            "completed_at": self._clock.wall_s() if found == "completed" else None,
            "status": found,
            "error": None if error is None else ResponsesError(
                code=error.code, message=error.message
            ),
            "incomplete_details": IncompleteDetails(reason="max_output_tokens")
            if found == "incomplete" else None,
            "instructions": asked.instructions,
            "max_output_tokens": self._max_tokens,
            "model": asked.model,
            "output": [] if done is None else self._output(done),
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": asked.previous_response_id,
            "store": asked.store is not False,
            "temperature": asked.temperature or 0.0,
            "text": TextReply() if asked.text is None or asked.text.format is None else TextReply(
                format=asked.text.format.model_dump(by_alias=True)
            ),
            "tool_choice": _choice(asked),
            "tools": [tool.model_dump(exclude={"defer_loading"}) for tool in asked.tools or ()],
            "top_logprobs": asked.top_logprobs or 0,
            "top_p": 1.0 if asked.top_p is None else asked.top_p,
            "usage": usage,
            "metadata": asked.metadata or {},
            "onlooker": {} if done is None else done.onlooker,
        })  # fmt: skip

    @property
    def _place(self) -> Told:
        return {"item_id": self._item_id, "output_index": 0, "content_index": 0}

    def _told(self, kind: str, **fields: Any) -> Told:
        number = self._num_told
        self._num_told += 1
        return {"type": kind, "sequence_number": number, **fields}

    def _message(self, status: str, *, with_text: bool = True) -> MessageReply:
        text = OutputTextReply(text=self._writer.text, logprobs=self._writer.logprobs)
        return MessageReply.model_validate(
            {"id": self._item_id, "status": status, "content": [text] if with_text else []}
        )

    def _output(self, done: ResponseObject) -> list[MessageReply | FunctionCallReply]:
        status = "completed" if done.status == "completed" else "incomplete"
        # An answer that says nothing and calls nothing is still a message, which clients look for.
        is_said = self._writer.text or (done.status == "completed" and not self._writer.calls)
        return [*([self._message(status)] if is_said else []), *self._called()]

    def _called(self) -> list[FunctionCallReply]:
        if self._calls is None:
            self._calls = [
                FunctionCallReply(
                    id=new_id("fc"), call_id=call.id, name=call.name, arguments=call.arguments
                )
                for call in self._writer.calls
            ]
        return self._calls

    def _end_message(self, done: ResponseObject) -> Iterator[Told]:
        if not self._writer.text:
            return
        (item, *_) = self._output(done)
        assert isinstance(item, MessageReply)
        part = item.content[0].model_dump()
        text = {"text": part["text"], "logprobs": part["logprobs"]}
        yield self._told("response.output_text.done", **self._place, **text)
        yield self._told("response.content_part.done", **self._place, part=part)
        yield self._told("response.output_item.done", output_index=0, item=item.model_dump())

    def _tell_calls(self) -> Iterator[Told]:
        first = 1 if self._writer.text else 0
        for index, call in enumerate(self._called(), first):
            begun = call.model_copy(update={"status": "in_progress", "arguments": ""})
            place = {"item_id": call.id, "output_index": index}
            made = {"arguments": call.arguments, "name": call.name}
            yield self._told(
                "response.output_item.added", output_index=index, item=begun.model_dump()
            )
            yield self._told(
                "response.function_call_arguments.delta", **place, delta=call.arguments
            )
            yield self._told("response.function_call_arguments.done", **place, **made)
            yield self._told(
                "response.output_item.done", output_index=index, item=call.model_dump()
            )

    def _end(self, event: ResponseDone) -> Told:
        status = event.response.status
        kind = status if status in ("completed", "incomplete") else "failed"
        return self._told(f"response.{kind}", response=self.reply().model_dump())


def _choice(asked: ResponsesRequest) -> str | dict[str, Any]:
    choice = asked.tool_choice or "auto"
    return choice if isinstance(choice, str) else choice.model_dump()
