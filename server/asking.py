"""Puts one question to a stream and turns what comes back into events."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from onlooker.core.errors import OnlookerError
from onlooker.core.log import response_id_var
from onlooker.core.protocol.server_events import ServerEvent
from onlooker.engine.interface import AnswerDelta, Turn
from onlooker.scheduler.slo import Tier
from onlooker.server.answers import AnswerWriter
from onlooker.server.errors import hide, reply_of
from onlooker.server.pictures import PictureReader
from onlooker.server.sse import disconnected
from onlooker.streams.stream import Stream


def tier_of(name: str | None) -> Tier | None:
    """The tier that a client names, if any."""
    return None if name is None else Tier(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question, complete."""

    text: str
    max_tokens: int
    images: tuple[str, ...] = ()
    """Data URLs."""
    dialogue: tuple[Turn, ...] = ()
    instructions: str | None = None
    at_s: float | None = None
    temperature: float = 0.0
    seed: int | None = None
    tier: Tier | None = None
    """Whose targets hold; None takes the stream's."""


async def answer_events(
    stream: Stream, ask: Ask, writer: AnswerWriter, pictures: PictureReader
) -> AsyncGenerator[ServerEvent]:
    """Yield an answer's events, from after `AnswerWriter.begin` to `response.done`.

    Whatever fails ends the answer with status ``failed``; nothing is raised. Closing the generator
    aborts the answer without a terminal event: who closes it calls `AnswerWriter.cancel`.
    """
    response_id_var.set(writer.response_id)
    try:
        images = await pictures.read(ask.images)
        answer = stream.ask(
            ask.text,
            response_id=writer.response_id,
            asked_s=ask.at_s,
            max_tokens=ask.max_tokens,
            instructions=ask.instructions,
            dialogue=ask.dialogue,
            images=images,
            temperature=ask.temperature,
            seed=ask.seed,
            tier=ask.tier,
        )
        async with aclosing(answer) as pieces:
            async for piece in pieces:
                if isinstance(piece, AnswerDelta):
                    events = writer.delta(piece.text)
                else:
                    events = writer.end(piece)
                for event in events:
                    yield event
        return
    except OnlookerError as error:
        failure = error
    except Exception as error:
        failure = hide(error, where="answer")
    if writer.done is None:
        for event in writer.fail(failure):
            yield event


def failure_reply(failure: OnlookerError) -> Response:
    """An answer that failed before its first word, as an HTTP error."""
    status, headers, body = reply_of(failure)
    return Response(body, status, headers)


async def answer_whole(
    request: Request, stream: Stream, ask: Ask, writer: AnswerWriter, pictures: PictureReader
) -> None:
    """Run an answer to its end, which `writer` then holds; a caller who hangs up cancels it."""

    async def run() -> None:
        async with aclosing(answer_events(stream, ask, writer, pictures)) as events:
            async for _ in events:
                pass

    answering = asyncio.ensure_future(run())
    gone = asyncio.ensure_future(disconnected(request.receive))
    try:
        await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            answering.result()
    finally:
        for task in (answering, gone):
            task.cancel()
        await asyncio.gather(answering, gone, return_exceptions=True)
        if writer.done is None:
            writer.cancel()
