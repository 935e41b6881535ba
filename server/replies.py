"""An answer as one HTTP reply."""

import asyncio
from contextlib import aclosing, suppress

from starlette.requests import Request
from starlette.responses import Response

from onlooker.core.errors import OnlookerError
from onlooker.core.waiting import CutShort, CutShortBy
from onlooker.server.answers import AnswerWriter, answer_events
from onlooker.server.errors import reply_of
from onlooker.server.pictures import Inquiry, PictureReader
from onlooker.server.sse import disconnected
from onlooker.streams.stream import Stream


async def answer_whole(
    request: Request,
    stream: Stream,
    inquiry: Inquiry,
    writer: AnswerWriter,
    pictures: PictureReader,
) -> None:
    """Run an answer to its end, which `writer` then holds; a caller who hangs up cancels it."""
    gone = asyncio.ensure_future(disconnected(request.receive))
    try:
        with suppress(CutShort), CutShortBy(gone):
            async with aclosing(answer_events(stream, inquiry, writer, pictures)) as events:
                async for _ in events:
                    pass
    finally:
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        if writer.done is None:
            writer.cancel()


def failure_reply(failure: OnlookerError) -> Response:
    """An answer that failed before its first word, as an HTTP error."""
    status, headers, body = reply_of(failure)
    return Response(body, status, headers)
