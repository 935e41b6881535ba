"""An answer on its way to the door, over the WebSocket or as server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from onlooker.core.clock import SystemClock
from onlooker.core.errors import InvalidRequest
from onlooker.core.protocol.answer_events import ResponseDone, TextDelta
from onlooker.core.protocol.client_events import ResponseConfig
from onlooker.core.protocol.conversation_items import MessageItem, TextPart
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import AnswerDelta, AnswerEvent, Question
from onlooker.server.answers import AnswerWriter, answer_events
from onlooker.server.config import ServerSection
from onlooker.server.gateway import Gateway
from onlooker.server.pictures import Inquiry
from onlooker.server.realtime.conversation import Conversation
from onlooker.server.realtime.responses import Responses
from onlooker.server.sse import EventResponse, NumberedText
from onlooker.server.text_limits import TextLimits
from onlooker.server.wiring import make_gateway
from onlooker.streams.stream import Stream, StreamOptions
from tests.fakes.decoders import LocalWorkshop
from tests.fakes.served import make_settings
from tests.fakes.waiting import limited, until
from tests.unit.server.realtime.test_conversation import make_conversation, message

SHORT, LONG = 2, 200


@asynccontextmanager
async def counting() -> AsyncIterator[Callable[[], int]]:
    """Counts the tasks that are made meanwhile."""
    loop, num = asyncio.get_running_loop(), 0

    def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
        nonlocal num
        num += 1
        return asyncio.Task(work, loop=loop, **options)

    loop.set_task_factory(make)
    try:
        yield lambda: num
    finally:
        loop.set_task_factory(None)


class Told(list[ServerEvent]):
    """Events of a connection, and when an answer's end is among them."""

    def __init__(self) -> None:
        super().__init__()
        self.done = asyncio.Event()

    def emit(self, event: ServerEvent) -> None:
        self.append(event)
        if isinstance(event, ResponseDone):
            self.done.set()


async def over_a_connection(stream: Stream, gateway: Gateway) -> int:
    """Ask as a WebSocket does; returns how many pieces of text came."""
    told, tasks = Told(), set[Any]()

    def spawn(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        return task

    conversation = Conversation(
        max_items=9, max_bytes=10**6, dialogue_turns=2, texts=TextLimits(10**6, 10**6)
    )
    conversation.add(MessageItem(role="user", content=[TextPart(type="input_text", text="go on")]))
    responses = Responses(gateway, conversation, emit=told.emit, spawn=spawn)
    responses.create(ResponseConfig(), stream)
    await told.done.wait()
    await asyncio.gather(*tasks)
    return sum(isinstance(event, TextDelta) for event in told)


async def as_server_sent_events(stream: Stream, gateway: Gateway) -> int:
    """Ask over HTTP; returns how many pieces of text came."""
    question, bodies = Question(text="go on", max_tokens=1000), []
    writer = AnswerWriter(question, stream=stream.name, clock=gateway.clock)

    async def send(message: Any) -> None:
        bodies.append(message.get("body", b""))

    async def receive() -> Any:
        await asyncio.Event().wait()

    response = EventResponse(
        answer_events(stream, Inquiry(question), writer, gateway.pictures),
        NumberedText(),
        clock=SystemClock(),
        settings=ServerSection(),
    )
    await response({"type": "http"}, receive, send)
    return b"".join(bodies).count(b"event: response.output_text.delta")


@asynccontextmanager
async def answering(
    text: str, *, engine: ScriptedEngine | None = None
) -> AsyncIterator[tuple[Gateway, Stream]]:
    """A gateway whose engine always says `text`, and a stream to ask."""
    settings = make_settings(server__default_output_tokens=1000)
    engine = engine or ScriptedEngine([("", text)])
    gateway = make_gateway(settings, engine=engine, workshop=LocalWorkshop())
    await gateway.hub.start(lambda line: None)
    try:
        yield gateway, await gateway.hub.open_stream(options=StreamOptions(clock="live"))
    finally:
        await gateway.hub.close(deadline_s=0)


@pytest.mark.parametrize("ask", [over_a_connection, as_server_sent_events])
async def test_a_long_answer_makes_no_more_tasks_than_a_short_one(ask: Any) -> None:
    tasks = {}
    for num_tokens in (SHORT, LONG):
        text = " ".join(["word"] * num_tokens)
        async with (
            answering(text) as (gateway, stream),
            limited("the end of the responses"),
            counting() as num_tasks,
        ):
            assert await ask(stream, gateway) == num_tokens
            tasks[num_tokens] = num_tasks()
    assert tasks[LONG] <= tasks[SHORT]


@pytest.mark.parametrize("image", [(), ("no picture",)])
@pytest.mark.parametrize("is_read_to_the_end", [True, False])
async def test_what_is_due_at_the_end_is_done_however_an_answer_ends(
    image: tuple[str, ...], is_read_to_the_end: bool
) -> None:
    ends = 0

    async def end() -> None:
        nonlocal ends
        ends += 1

    async with answering("one two three") as (gateway, stream):
        question = Question(text="go on")
        writer = AnswerWriter(question, stream=None, clock=gateway.clock)
        inquiry = Inquiry(question, image)
        events = answer_events(stream, inquiry, writer, gateway.pictures, at_end=end)
        await anext(events)
        if is_read_to_the_end:
            assert [event async for event in events] or writer.failure is not None
        await events.aclose()
        assert ends == 1
        assert isinstance(writer.failure, InvalidRequest) == bool(image)


class Looking(ScriptedEngine):
    """Says what it does, and is never done."""

    asked: Question | None = None

    async def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        self.asked = question
        yield AnswerDelta("Looking. ", is_interim=True)
        await asyncio.Event().wait()


async def test_a_conversation_keeps_no_words_that_were_said_meanwhile() -> None:
    told, conversation = Told(), make_conversation()
    async with answering("", engine=Looking()) as (gateway, stream):
        conversation.add(message("When did a cat come?"))
        responses = Responses(gateway, conversation, emit=told.emit, spawn=asyncio.create_task)
        responses.create(ResponseConfig(), stream)
        await until(lambda: any(isinstance(event, TextDelta) for event in told))
        await responses.cancel(None)
    assert isinstance(told[-1], ResponseDone)
    item = conversation.get(conversation.last_id or "")
    assert (item.role, item.text, item.status) == ("assistant", "", "incomplete")
    conversation.add(message("What is there?"))
    asked = conversation.inquiry(instructions=None, override=None).question
    assert (asked.text, asked.dialogue) == ("What is there?", ())


@pytest.mark.parametrize("is_given", [True, False])
async def test_a_question_beside_the_conversation_brings_the_turns_that_it_was_given(
    is_given: bool,
) -> None:
    told, conversation, engine = Told(), make_conversation(), Looking()
    said = [message("What is on the left?"), message("A purple star", "assistant")]
    said.append(message("When did it appear?"))
    for one in said:
        conversation.add(one)
    config = ResponseConfig(conversation="none", input=[*said] if is_given else None)
    async with answering("", engine=engine) as (gateway, stream):
        responses = Responses(gateway, conversation, emit=told.emit, spawn=asyncio.create_task)
        responses.create(config, stream)
        await until(lambda: engine.asked)
        (running,) = responses._running
        await responses.cancel(running)
    assert engine.asked is not None
    assert len(engine.asked.dialogue) == is_given
    alone = "When did the purple star appear?"
    assert engine.asked.text == ("When did it appear?" if is_given else alone)
