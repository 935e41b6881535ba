"""A question to several streams at once, over HTTP: what is asked, and what comes of it."""

from typing import Annotated, Literal

from pydantic import Field

from onlooker.core.protocol.answer_facts import EvidenceSpan, Usage
from onlooker.core.protocol.base import ErrorBody, Inbound, Labels, Outbound, StreamIdText, TierName
from onlooker.core.protocol.server_event import ServerEvent

MAX_NAMED = 10_000
"""So many streams can be named in one call before any setting is looked at."""


class SurveyRequest(Inbound):
    """One question to the streams that are named and to those that have the labels; to all open
    streams where neither is given."""

    question: Annotated[str, Field(min_length=1)]
    """Such as "Which camera sees the red car?", "Is anybody anywhere?" or "What is happening?"."""
    streams: Annotated[list[StreamIdText], Field(max_length=MAX_NAMED)] | None = None
    """The ids of streams that are asked."""
    labels: Labels | None = None
    """The open streams that have all of these labels are asked."""
    stream: bool = False
    """Whether to tell each stream's part by server-sent events as soon as it is there."""
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    """How long each stream's answer may be."""
    at: Annotated[str, Field(max_length=64)] | None = None
    """The time of the question as ISO 8601 (UTC where no zone is named); default: now."""
    instructions: str | None = None
    service_tier: TierName | None = None
    """The tier whose targets hold for the answers; default: that of each stream."""
    deadline_s: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] | None = None
    """The answer is made up after so many seconds from what is there by then."""


class SurveyMoment(EvidenceSpan):
    """A span of a stream's time that an answer rests on."""

    stream: str
    wall_time: float | None = None
    """Of a time that was asked for: when it was, in seconds since the Unix epoch; null where that
    is not known."""


class SurveyCamera(Outbound):
    """A stream that the answer names."""

    stream: str
    name: str
    """What people call it; its id where nobody said."""
    confidence: float | None = None
    """How likely its answer's words were to the model, from 0 to 1."""
    moments: list[SurveyMoment] = []


class SurveyPart(Outbound):
    """What came of the question to one stream."""

    stream: str
    name: str
    """What people call it; its id where nobody said."""
    status: Literal["completed", "incomplete", "failed", "refused", "timed_out"]
    """``refused``: the stream was not asked, as the error says; ``timed_out``: it was not done at
    the deadline."""
    asked: str
    """The question as it was put to this stream."""
    answer: str = ""
    says: Literal["yes", "no"] | None = None
    """What the answer comes to, where it was to be yes or no."""
    confidence: float | None = None
    asked_s: float | None = None
    """Stream time of the question."""
    moments: list[SurveyMoment] = []
    num_moments: int | None = None
    """How many times were found, where the question asks for times, however many `moments` tells;
    else null."""
    moments_exact: bool | None = None
    """Whether all that the stream's diary tells of was checked for them."""
    memory_incomplete: bool = False
    usage: Usage = Usage()
    error: ErrorBody | None = None


class SurveyReply(Outbound):
    """What the streams said together."""

    id: str
    object: Literal["survey"] = "survey"
    status: Literal["completed", "incomplete", "failed"]
    """``incomplete``: some streams were not heard, as their parts say, or some servers, see
    `unreached`; ``failed``: none was heard."""
    question: str
    form: Literal["which", "any", "each"]
    """How the question was understood: which of the streams, whether any of them, or asked of each
    for itself."""
    answer: str
    """One answer, which names cameras."""
    cameras: list[SurveyCamera] = []
    """The streams that the answer names, surest first."""
    parts: list[SurveyPart] = []
    """What each stream said, in the order in which they were asked."""
    unreached: list[str] = []
    """Servers that did not say which streams they have, so that those were not asked."""
    usage: Usage = Usage()


class SurveyStarted(ServerEvent):
    type: Literal["survey.started"] = "survey.started"
    survey_id: str
    form: Literal["which", "any", "each"]
    streams: list[str]
    """The streams that are asked."""
    unreached: list[str] = []


class SurveyPartDone(ServerEvent):
    type: Literal["survey.part"] = "survey.part"
    survey_id: str
    part: SurveyPart


class SurveyDone(ServerEvent):
    type: Literal["survey.done"] = "survey.done"
    survey: SurveyReply


SurveyEvent = SurveyStarted | SurveyPartDone | SurveyDone
