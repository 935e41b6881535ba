"""The Python client: `Client` and what it gives.

from onlooker.clients.python import Client
"""

from onlooker.clients.python.answers import Answer, PendingAnswer
from onlooker.clients.python.client import Client
from onlooker.clients.python.errors import (
    AnswerCancelled,
    AnswerFailed,
    ConnectionLost,
    ServerUnreachable,
)
from onlooker.clients.python.events import Connected, Disconnected, Event, Problem
from onlooker.clients.python.options import ClientOptions, Reconnect
from onlooker.clients.python.stream import RemoteStream
from onlooker.core.media import Codec
from onlooker.core.protocol.server_events import (
    StreamAlert,
    StreamClosed,
    StreamWatch,
    VideoAck,
    VideoPace,
)

__all__ = [
    "Answer",
    "AnswerCancelled",
    "AnswerFailed",
    "Client",
    "ClientOptions",
    "Codec",
    "Connected",
    "ConnectionLost",
    "Disconnected",
    "Event",
    "PendingAnswer",
    "Problem",
    "Reconnect",
    "RemoteStream",
    "ServerUnreachable",
    "StreamAlert",
    "StreamClosed",
    "StreamWatch",
    "VideoAck",
    "VideoPace",
]
