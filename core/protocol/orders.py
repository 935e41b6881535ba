"""Standing orders over HTTP: watches over labels; and the alerts of several streams in one list."""

from typing import Literal

from onlooker.core.protocol.base import ErrorBody, Labels, Outbound
from onlooker.core.protocol.watches import AlertObject, WatchChanges


class OrderConfig(WatchChanges):
    """A new standing order: what a watch has, and the labels of the streams that are to have it."""

    labels: Labels = []
    """Streams that have all of these labels have the watch; with none, all streams of the
    tenant."""


class OrderChanges(WatchChanges):
    """What may change of a standing order; absent fields stay as they are."""

    labels: Labels | None = None
    """Streams that have all of these labels have the watch from now on, and no others."""


class OrderedStream(Outbound):
    """A stream that is open and has an order's labels."""

    stream: str
    name: str
    """What people call it; its id where nobody said."""
    has_watch: bool
    """Whether it has the watch now."""
    error: ErrorBody | None = None
    """Why not, where it could not be given."""


class OrderObject(Outbound):
    """A standing order as it is kept."""

    id: str
    """Also the id of the watch that each of the streams has."""
    object: Literal["order"] = "order"
    labels: list[str]
    kind: Literal["alert", "commentary", "question"]
    condition: str | None = None
    instruction: str | None = None
    question: str | None = None
    paused: bool = False
    """Whether its watches look at nothing until it is changed again."""
    created_at: float
    """In seconds since the Unix epoch."""
    changed_at: float | None = None
    """When it was changed last; null where it never was."""
    streams: list[OrderedStream] | None = None
    """The streams that were given the watch just now, or whose watch follows a change; null where
    an order is only told."""
    unreached: list[str] = []
    """Servers that did not say which streams they have. A stream there has the watch, as the order
    is then, once it is opened again or its labels change."""


class OrderList(Outbound):
    object: Literal["list"] = "list"
    data: list[OrderObject]


class AlertOfStream(Outbound):
    """An alert, with the stream that it is about."""

    stream: str
    name: str
    """What people call the stream; its id where nobody said."""
    alert: AlertObject


class AlertsOfAll(Outbound):
    """The newest alerts of several streams, newest first."""

    object: Literal["list"] = "list"
    data: list[AlertOfStream]
    unreached: list[str] = []
    """Servers whose alerts are missing, since they did not answer."""
