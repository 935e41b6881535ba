"""A survey as one HTTP reply."""

import asyncio
from contextlib import aclosing, suppress

from starlette.requests import Request

from onlooker.core.protocol.surveys import SurveyReply
from onlooker.core.waiting import CutShort, CutShortBy
from onlooker.server.sse import disconnected
from onlooker.server.surveys.survey import Survey

GONE = 499
"""The status for nobody: the caller left before there was a reply."""


async def run_survey(survey: Survey, request: Request) -> SurveyReply | None:
    """Run a survey that has begun to its end; None where the caller hung up, which cancels it."""
    gone = asyncio.ensure_future(disconnected(request.receive))
    try:
        with suppress(CutShort), CutShortBy(gone):
            async with aclosing(survey.events()) as events:
                async for _ in events:
                    pass
    finally:
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
    return survey.reply
