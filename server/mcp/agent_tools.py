"""The tools: each translates to calls of the HTTP API, and decides nothing."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from onlooker.core.protocol.base import Inbound
from onlooker.server.mcp.api import ApiRefusal, ServerApi, stream_path
from onlooker.server.mcp.arguments import (
    AlertsArguments,
    AskArguments,
    FindArguments,
    Moment,
    NoArguments,
    PictureArguments,
    SourceArguments,
    TimelineArguments,
    WatchArguments,
)
from onlooker.server.mcp.resources import alerts_uri

MAX_STREAMS = 100
"""Streams that are listed at once."""

MAX_EVIDENCE = 24
"""Spans that an answer tells of; an answer may rest on hundreds."""

INSTRUCTIONS = """\
Onlooker watches live video streams with a vision model that remembers what it has seen. Call \
list_streams first: every other tool wants a stream's id. Ask about now or the past with ask; look \
for when something happened with find_moments or in the diary with timeline, and check what you \
find with get_picture. Use watch \
to be told of what has not happened yet, and alerts to read what watches have said. Times are \
seconds of stream time (as results give them in *_s) or ISO 8601 with a zone. Answers come from a \
model and may be wrong: the evidence says what it was shown, not that it is right.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPicture:
    """A picture that goes with an answer."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAnswer:
    """What a tool says: JSON, and for some a picture."""

    data: dict[str, Any]
    picture: ToolPicture | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTool:
    """One tool, as an agent is told of it."""

    title: str
    description: str
    takes: type[Inbound]
    call: Callable[[ServerApi, Any], Awaitable[ToolAnswer]]
    is_reading: bool = True
    """Whether it leaves everything as it was."""
    is_repeatable: bool = True
    """Whether calling it twice does no more than calling it once."""


async def list_streams(api: ServerApi, takes: NoArguments) -> ToolAnswer:
    listed = await api.get("/v1/streams", limit=MAX_STREAMS)
    streams = [_stream(one) for one in listed["data"]]
    return ToolAnswer(data={"streams": streams, "has_more": listed["has_more"]})


async def ask(api: ServerApi, takes: AskArguments) -> ToolAnswer:
    is_about_several = takes.streams is not None or takes.labels is not None
    if is_about_several == (takes.stream is not None):
        raise ApiRefusal("give 'stream', or 'streams' and 'labels' to ask several at once")
    if takes.stream is None:
        return await _ask_several(api, takes)
    reply = await _asked(
        api, takes.stream, takes.question, at=takes.at, max_output_tokens=takes.max_output_tokens
    )
    facts = reply["onlooker"]
    found = facts["evidence"]
    data = {
        "stream": reply["stream"],
        "answer": reply["answer"],
        "status": reply["status"],
        "asked_s": facts["asked_s"],
        "seen_until_s": facts["seen_until_s"],
        "evidence": [_span(one) for one in found[-MAX_EVIDENCE:]],
        "evidence_left_out": max(0, len(found) - MAX_EVIDENCE),
        **_moments(facts),
        "memory_incomplete": facts["memory_incomplete"],
        "forgotten_spans_s": facts["forgotten_spans_s"],
    }
    return ToolAnswer(data=data)


async def _ask_several(api: ServerApi, takes: AskArguments) -> ToolAnswer:
    if takes.at is not None and not isinstance(takes.at, str):
        raise ApiRefusal("several streams have no stream time in common: give 'at' as ISO 8601")
    wanted = takes.model_dump(exclude={"stream"}, exclude_none=True)
    reply = await api.post("/v1/questions", **wanted)
    parts = [
        {name: part[name] for name in ("stream", "name", "status", "answer", "says")}
        | {"problem": None if part["error"] is None else part["error"]["message"]}
        for part in reply["parts"]
    ]
    names = ("answer", "status", "cameras", "unreached")
    return ToolAnswer(data={**{name: reply[name] for name in names}, "parts": parts})


async def find_moments(api: ServerApi, takes: FindArguments) -> ToolAnswer:
    reply = await _asked(api, takes.stream, f"List all times when there was {takes.what}")
    if reply["onlooker"]["moments_exact"] is not None:
        data = {
            "stream": reply["stream"],
            "answer": reply["answer"],
            **_moments(reply["onlooker"]),
            "note": "each moment was told of by the diary, and confirmed by a yes/no check of its "
            "clip, with that confidence; see them with get_picture",
        }
        return ToolAnswer(data=data)
    brought = [one for one in reply["onlooker"]["evidence"] if one["source"] != "recent"]
    chosen = (brought or reply["onlooker"]["evidence"])[-MAX_EVIDENCE:]
    moments = [
        {**_span(one), "taken_at": await _taken_at(api, takes.stream, one)} for one in chosen
    ]
    data = {
        "stream": reply["stream"],
        "answer": reply["answer"],
        "moments": moments,
        "note": "the moments are what the memory brought up for the model to answer from, in order "
        "of time; none of them is confirmed: look at them with get_picture",
    }
    return ToolAnswer(data=data)


async def timeline(api: ServerApi, takes: TimelineArguments) -> ToolAnswer:
    query = {"from_": _text(takes.start), "to": _text(takes.end), "level": takes.level}
    listed = await api.get(
        f"{stream_path(takes.stream)}/timeline",
        **query,
        q=takes.words,
        limit=takes.limit,
        order="desc",
    )
    entries = [
        {**{name: one[name] for name in ("level", "start_s", "end_s", "text", "picture")},
         "at": _iso(one["wall_time"])}
        for one in reversed(listed["data"])
    ]  # fmt: skip
    data = {"stream": takes.stream, "entries": entries, "has_older": listed["has_more"]}
    if listed["has_more"]:
        data["older_end"] = listed["next_s"]
    return ToolAnswer(data=data)


async def get_picture(api: ServerApi, takes: PictureArguments) -> ToolAnswer:
    path = stream_path(takes.stream)
    if takes.start is not None or takes.end is not None:
        if takes.at is not None:
            raise ApiRefusal("give 'at', or 'start' and 'end', not both")
        span = {"from_": _text(takes.start), "to": _text(takes.end)}
        data, media_type = await api.bytes_of(f"{path}/strip", limit=takes.count, **span)
        told = {"stream": takes.stream, "start": takes.start, "end": takes.end}
        told["note"] = "a contact sheet, oldest first; each picture has its time written on it"
        return ToolAnswer(data=told, picture=ToolPicture(data=data, media_type=media_type))
    query = {"order": "desc", "limit": 1} if takes.at is None else {"at": _text(takes.at)}
    found = (await api.get(f"{path}/pictures", **query))["data"]
    if not found:
        raise ApiRefusal(f"stream '{takes.stream}' has no picture yet")
    facts = found[0]
    data, media_type = await api.bytes_of(f"{path}/picture", at=repr(facts["start_s"]))
    told = {
        "stream": takes.stream,
        "start_s": facts["start_s"],
        "end_s": facts["end_s"],
        "taken_at": _iso(facts["taken_at"]),
    }
    return ToolAnswer(data=told, picture=ToolPicture(data=data, media_type=media_type))


async def watch(api: ServerApi, takes: WatchArguments) -> ToolAnswer:
    wanted = takes.model_dump(exclude={"stream"}, exclude_none=True)
    made = await api.post(f"{stream_path(takes.stream)}/watches", **wanted)
    names = ("id", "kind", "asks", "trigger", "state", "created_s", "expires_after_s")
    data = {name: made[name] for name in names}
    return ToolAnswer(data={**data, "stream": takes.stream, "alerts": alerts_uri(takes.stream)})


async def alerts(api: ServerApi, takes: AlertsArguments) -> ToolAnswer:
    since = _since(takes.since)
    listed = await api.get(f"{stream_path(takes.stream)}/alerts")
    found = [one for one in listed["data"] if since(one)]
    data = {
        "stream": takes.stream,
        "alerts": [_alert(one) for one in found[-takes.limit :]],
        "left_out": max(0, len(found) - takes.limit),
    }
    return ToolAnswer(data=data)


async def open_source(api: ServerApi, takes: SourceArguments) -> ToolAnswer:
    source = takes.model_dump(exclude={"stream"}, exclude_none=True)
    return ToolAnswer(data=_stream(await api.post("/v1/streams", id=takes.stream, source=source)))


TOOLS: Mapping[str, AgentTool] = {
    "list_streams": AgentTool(
        title="List video streams",
        description="List the video streams that can be asked about, with how each is: until which "
        "stream time the model has seen it (seen_until_s), the camera's health, and when it was "
        "opened. Call this first: the other tools want a stream's id.",
        takes=NoArguments,
        call=list_streams,
    ),
    "ask": AgentTool(
        title="Ask what a stream shows or showed",
        description="Ask the vision model that watches a stream, about now or about what it "
        "remembers. Returns its answer and the evidence: the spans of stream time that it was "
        "shown, each with the path of a picture. To ask about the past, name the time in the "
        "question; use 'at' only to answer as of a moment, as if nothing had come later. With "
        "'streams' or 'labels' instead of 'stream' several cameras are asked at once ('which "
        "camera ...', 'is anybody anywhere?'), and the answer names cameras. Not for what has not "
        "happened yet: use watch. Takes seconds.",
        takes=AskArguments,
        call=ask,
        is_repeatable=False,
    ),
    "find_moments": AgentTool(
        title="Find when something was to be seen",
        description="Look for the moments at which something was to be seen: 'did anyone leave a "
        "parcel today?'. Where the diary tells of it, each moment is checked against its clip and "
        "comes with a confidence; else the moments are what the memory brought up for the "
        "question, and may be wrong or incomplete, as the note says: check them with get_picture "
        "before you rely on them.",
        takes=FindArguments,
        call=find_moments,
        is_repeatable=False,
    ),
    "timeline": AgentTool(
        title="Read what happened",
        description="Read the diary that the model keeps of a stream while it watches: dated "
        "sentences, and summaries of quarters of an hour, hours and days. Use it for what happened "
        "today, how often, or in which order, and to look for words. Entries come oldest first; "
        "where has_older is true, ask again with older_end as 'end'. What it says was written "
        "by a model that may have been wrong or too busy: check with get_picture.",
        takes=TimelineArguments,
        call=timeline,
    ),
    "get_picture": AgentTool(
        title="See a stream",
        description="See what a stream showed at a moment ('at'; default: the newest picture), or "
        "a contact sheet of a span ('start', 'end'). Use it to check an answer, an alert or a "
        "moment with your own eyes: give their start_s as 'at'. Pictures are small.",
        takes=PictureArguments,
        call=get_picture,
    ),
    "watch": AgentTool(
        title="Be told when something happens",
        description="Leave a standing request with a stream: the server looks at everything that "
        "comes from now on and raises an alert. Give exactly one of 'condition' (alert whenever it "
        "begins to hold), 'question' (answered once, as soon as it can be) and 'instruction' "
        "(comments). Read what it says with alerts, or subscribe to the resource that the result "
        "names. Not for the past: use ask or find_moments.",
        takes=WatchArguments,
        call=watch,
        is_reading=False,
        is_repeatable=False,
    ),
    "alerts": AgentTool(
        title="Read alerts",
        description="List what the watches of a stream have said, oldest first, as far as the "
        "server still has it; 'since' leaves out what is older. Each alert has the span of stream "
        "time that it rests on. An empty list means that no watch has alerted, not that nothing "
        "has happened.",
        takes=AlertsArguments,
        call=alerts,
    ),
    "open_source": AgentTool(
        title="Open a camera or file",
        description="Have the server pull video from an address and watch it as a new stream. "
        "Takes a key with the scopes 'push' and 'admin', and an address that the operator allows.",
        takes=SourceArguments,
        call=open_source,
        is_reading=False,
        is_repeatable=False,
    ),
}
"""The tools by name."""


# ---- inside


async def _asked(
    api: ServerApi, stream: str, question: str, *, at: Moment | None = None, **rest: Any
) -> dict[str, Any]:
    times = {"at": at} if isinstance(at, str) else {"at_s": at}
    reply = await api.post(f"{stream_path(stream)}/questions", question=question, **times, **rest)
    if reply["error"] is not None:
        raise ApiRefusal(reply["error"]["message"])
    return reply


async def _taken_at(api: ServerApi, stream: str, span: Mapping[str, Any]) -> str | None:
    """The wall time of a span that has a picture, where the stream knows it."""
    if span["picture"] is None:
        return None
    try:
        found = await api.get(f"{stream_path(stream)}/pictures", at=repr(span["start_s"]))
    except ApiRefusal:  # the picture has gone meanwhile, or this caller may see none
        return None
    return _iso(found["data"][0]["taken_at"])


def _stream(told: Mapping[str, Any]) -> dict[str, Any]:
    names = (
        "id", "name", "description", "labels", "source", "health", "seen_until_s", "clips", "lag_s",
        "clock", "metadata",
    )  # fmt: skip
    return {
        **{name: told[name] for name in names},
        "opened_at": _iso(told["created_at"]),
        "starts_at": _iso(told["starts_at"]),
    }


def _moments(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The moments of an answer about the past as a whole; nothing of any other."""
    if facts["moments_exact"] is None:
        return {}
    found = [
        {**{name: one[name] for name in ("at_s", "end_s", "picture", "confidence")},
         "taken_at": _iso(one["wall_time"])}
        for one in facts["moments"][:MAX_EVIDENCE]
    ]  # fmt: skip
    return {
        "moments": found,
        "moments_left_out": max(0, len(facts["moments"]) - MAX_EVIDENCE),
        "moments_exact": facts["moments_exact"],
    }


def _span(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: told[name] for name in ("start_s", "end_s", "source", "picture")}


def _alert(told: Mapping[str, Any]) -> dict[str, Any]:
    names = ("id", "number", "watch", "kind", "text", "data", "problem", "confidence", "evidence")
    return {**{name: told[name] for name in names}, "decided_at": _iso(told["decided_at"])}


def _since(moment: Moment | None) -> Callable[[Mapping[str, Any]], bool]:
    """Whether an alert is not older than `moment`."""
    if moment is None:
        return lambda alert: True
    try:
        since_s = float(moment)
    except ValueError:
        pass
    else:
        return lambda alert: bool(alert["evidence"]["end_s"] >= since_s)
    try:
        named = datetime.fromisoformat(str(moment))
    except ValueError:
        raise ApiRefusal(
            f"'since' is an ISO 8601 time such as 2026-05-01T12:30:00Z, or seconds of stream time; "
            f"got '{moment}'"
        ) from None
    wall_s = (named if named.tzinfo is not None else named.replace(tzinfo=UTC)).timestamp()
    return lambda alert: bool(alert["decided_at"] >= wall_s)


def _text(moment: Moment | None) -> str | None:
    return None if moment is None else moment if isinstance(moment, str) else repr(float(moment))


def _iso(wall_s: float | None) -> str | None:
    """Seconds since the Unix epoch as models read time."""
    return None if wall_s is None else datetime.fromtimestamp(wall_s, UTC).isoformat()
