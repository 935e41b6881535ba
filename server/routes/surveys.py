"""Ask several streams at once."""

import asyncio
from contextlib import aclosing, suppress
from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse

from onlooker.core.protocol.surveys import SurveyReply, SurveyRequest
from onlooker.core.waiting import CutShort, CutShortBy
from onlooker.server.access import EVENT_STREAM, CallerStreams, ReadyGateway, error_docs
from onlooker.server.bodies import JsonRoute
from onlooker.server.sse import EventResponse, NumberedText, disconnected
from onlooker.server.surveys.survey import Survey

router = APIRouter(prefix="/v1/questions", tags=["questions"], route_class=JsonRoute)

_EXAMPLES = {
    "which": {
        "summary": "Which camera",
        "value": {"question": "Which camera sees the red car?", "labels": ["outside"]},
    },
    "any": {"summary": "Any camera, streamed", "value": {"question": "Is anybody anywhere?"}},
}

GONE = 499
"""The status for nobody: the caller left before there was a reply."""


@router.post(
    "",
    summary="Ask several streams",
    response_model=SurveyReply,
    responses={
        **error_docs(400, 413, 429),
        200: {
            "description": "One answer with each stream's part; with `stream: true` "
            "`survey.started`, `survey.part` for each stream, and `survey.done`.",
            "content": EVENT_STREAM,
        },
    },
)
async def ask_streams(
    gateway: ReadyGateway,
    streams: CallerStreams,
    http_request: Request,
    request: Annotated[SurveyRequest, Body(openapi_examples=_EXAMPLES)],
) -> Response:
    """Put one question to several streams, wherever in the fleet they are: those that are named,
    those with the labels, or all. Each is asked for itself, side by side; the one answer names the
    cameras and the moments, and says which streams were not heard. Hanging up cancels it."""
    survey = Survey(gateway, http_request, streams, request)
    started = await survey.begin()
    if request.stream:
        return EventResponse(
            survey.events(),
            NumberedText(),
            clock=gateway.clock,
            settings=gateway.settings.server,
            begun=[started],
        )
    return await answered(survey, http_request)


async def answered(survey: Survey, http_request: Request) -> Response:
    """The whole survey as one reply; a caller who hangs up cancels it."""
    gone = asyncio.ensure_future(disconnected(http_request.receive))
    try:
        with suppress(CutShort), CutShortBy(gone):
            async with aclosing(survey.events()) as events:
                async for _ in events:
                    pass
    finally:
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
    if survey.reply is None:
        return Response(status_code=GONE)
    return JSONResponse(survey.reply.model_dump())
