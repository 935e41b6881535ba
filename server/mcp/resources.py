"""The resources: addresses of what a server has, and how they are read."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from onlooker.core.ids import STREAM_ID_PATTERN
from onlooker.server.mcp.api import ApiRefusal, ServerApi, stream_path

STREAMS_URI = "onlooker://streams"
STREAM_TEMPLATE = "onlooker://streams/{stream}"
ALERTS_TEMPLATE = "onlooker://streams/{stream}/alerts"
PICTURE_TEMPLATE = "onlooker://streams/{stream}/pictures/{at}"

MAX_FOLLOWED = 16
"""Streams that one subscription follows, each by an event reader of its own."""

Part = Literal["state", "alerts", "picture"]

TELLS: Mapping[str, tuple[Part, ...]] = {
    "stream.alert": ("alerts",),
    "stream.updated": ("state",),
    "stream.closed": ("state", "alerts"),
}
"""Which parts of a stream an event changes; other events change none that is told of."""

_ADDRESS = re.compile(
    rf"onlooker://streams/(?P<stream>{STREAM_ID_PATTERN})"
    r"(?:/(?P<alerts>alerts)|/pictures/(?P<at>[^/]{1,64}))?"
)


@dataclass(frozen=True, slots=True)
class StreamAddress:
    """A resource of one stream."""

    stream: str
    part: Part
    at: str | None = None
    """For a picture: its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadResource:
    """What a resource holds: text or, of a picture, bytes."""

    content: str | bytes
    media_type: str


def stream_uri(stream: str) -> str:
    """The address of a stream's state."""
    return STREAM_TEMPLATE.format(stream=stream)


def alerts_uri(stream: str) -> str:
    """The address of a stream's alerts."""
    return ALERTS_TEMPLATE.format(stream=stream)


def address_of(uri: str) -> StreamAddress | None:
    """What an address of a stream's names; None: it is no such address."""
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        return None
    part: Part = "alerts" if found["alerts"] else "picture" if found["at"] else "state"
    return StreamAddress(found["stream"], part, found["at"])


async def read(api: ServerApi, uri: str) -> ReadResource:
    """Read a resource. Raises `ApiRefusal`."""
    if uri == STREAMS_URI:
        return _json(await api.get("/v1/streams", limit=100))
    address = address_of(uri)
    if address is None:
        known = ", ".join((STREAMS_URI, STREAM_TEMPLATE, ALERTS_TEMPLATE, PICTURE_TEMPLATE))
        raise ApiRefusal(f"there is no resource '{uri[:200]}'; there is {known}")
    path = stream_path(address.stream)
    if address.part == "picture":
        data, media_type = await api.bytes_of(f"{path}/picture", at=address.at)
        return ReadResource(content=data, media_type=media_type)
    if address.part == "state":
        return _json(await api.get(path))
    listed = await api.get(f"{path}/alerts")
    return _json({**listed, "data": [{**one, "frame": None} for one in listed["data"]]})


def _json(value: object) -> ReadResource:
    return ReadResource(content=json.dumps(value), media_type="application/json")
