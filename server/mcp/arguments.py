"""What the tools take. The texts beneath the fields are what a model reads of them."""

from typing import Annotated

from pydantic import Field

from onlooker.core.protocol.base import Inbound, Labels, StreamIdText
from onlooker.core.protocol.timeline import DiaryLevel

Moment = Annotated[float, Field(ge=0, allow_inf_nan=False)] | Annotated[str, Field(max_length=64)]
"""A time as the tools take it: seconds of stream time, or ISO 8601."""


class NoArguments(Inbound):
    """For tools that take none."""


class AskArguments(Inbound):
    stream: StreamIdText | None = None
    """The stream's id, as `list_streams` tells it. Without it several are asked at once."""
    streams: Annotated[list[StreamIdText], Field(max_length=1000)] | None = None
    """Instead of `stream`: the ids of several, for "which camera ..." and "... anywhere"."""
    labels: Labels | None = None
    """Instead of `stream`: all that have all of these labels. An empty list: all streams."""
    question: Annotated[str, Field(min_length=1)]
    """The question. For the past, name the time in it: "at 12:30", "ten minutes ago"."""
    at: Moment | None = None
    """Answer as of this moment: nothing seen later counts. Seconds of stream time, or ISO 8601
    (2026-05-01T12:30:00Z). Default: now."""
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    """How long the answer may be."""


class FindArguments(Inbound):
    stream: StreamIdText
    """The stream's id, as `list_streams` tells it."""
    what: Annotated[str, Field(min_length=1)]
    """What to look for, in plain words: "a parcel at the door". May name a time: "this morning"."""


class TimelineArguments(Inbound):
    stream: StreamIdText
    """The stream's id, as `list_streams` tells it."""
    start: Moment | None = None
    """Where to begin: seconds of stream time, or ISO 8601. Default: the beginning."""
    end: Moment | None = None
    """Where to end. Default: now."""
    level: DiaryLevel | None = None
    """Only sentences (`scene`), or summaries of a `quarter` of an hour, an `hour` or a `day`.
    Default: all."""
    words: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Only entries that hold all of these words, in any form: "red car"."""
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    """Entries at most; the newest are given."""


class PictureArguments(Inbound):
    stream: StreamIdText
    """The stream's id, as `list_streams` tells it."""
    at: Moment | None = None
    """The moment to see: seconds of stream time, or ISO 8601. Default: the newest picture."""
    start: Moment | None = None
    """With `end`, instead of `at`: a contact sheet of pictures spread over this span."""
    end: Moment | None = None
    """Where the span ends. Default: now."""
    count: Annotated[int, Field(ge=1, le=48)] = 12
    """Pictures on the contact sheet, at most."""


class WatchArguments(Inbound):
    """Exactly one of `condition`, `question` and `instruction`."""

    stream: StreamIdText
    """The stream's id, as `list_streams` tells it."""
    condition: str | None = None
    """Alert whenever this begins to hold: "someone leaves a parcel"."""
    question: str | None = None
    """Answer this once, as soon as it can be told from the video."""
    instruction: str | None = None
    """Comment on what changes, in this manner."""
    answer_prompt: str | None = None
    """With `condition`: what to ask the model when it is met; its answer is the alert's text."""
    cooldown_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Seconds of silence after an alert."""
    expires_after_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Seconds after which the watch ends by itself. Without, it stays until it is deleted."""


class AlertsArguments(Inbound):
    stream: StreamIdText
    """The stream's id, as `list_streams` tells it."""
    since: Moment | None = None
    """Only alerts raised since then: ISO 8601, or seconds of stream time. Default: all that the
    server still has."""
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    """How many at most; the newest are given."""


class SourceArguments(Inbound):
    url: Annotated[str, Field(min_length=1, max_length=2048)]
    """The camera's or file's address: rtsp(s), rtmp(s), http(s), srt, udp or file. The operator
    says which are allowed."""
    stream: StreamIdText | None = None
    """The id that the new stream is to have. Default: a fresh one."""
    fps: Annotated[float, Field(gt=0, le=240)] | None = None
    """Frames a second to take, at most."""
    every_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """For the address of a still picture: seconds between two fetches."""
