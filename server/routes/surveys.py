"""Ask several streams at once."""

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse

from onlooker.core.protocol.surveys import SurveyReply, SurveyRequest
from onlooker.server.access import EVENT_STREAM, CallerStreams, ReadyGateway, error_docs
from onlooker.server.bodies import JsonRoute
from onlooker.server.sse import EventResponse, NumberedText
from onlooker.server.surveys.replying import GONE, run_survey
from onlooker.server.surveys.survey import Survey

router = APIRouter(prefix="/v1/questions", tags=["questions"], route_class=JsonRoute)

_EXAMPLES = {
    "which": {
        "summary": "Which camera",
        "value": {"question": "Which camera sees the red car?", "labels": ["outside"]},
    },
    "any": {"summary": "Any camera, streamed", "value": {"question": "Is anybody anywhere?"}},
}


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
    reply = await run_survey(survey, http_request)
    return Response(status_code=GONE) if reply is None else JSONResponse(reply.model_dump())
