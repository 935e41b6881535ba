"""Which stream an OpenAI client's HTTP call is about."""

from starlette.requests import Request

from onlooker.core.errors import InvalidRequest
from onlooker.core.ids import is_stream_id
from onlooker.core.protocol.http import STREAM_HEADER
from onlooker.server.gateway import Gateway
from onlooker.server.relay.finding import found
from onlooker.streams.stream import Stream, StreamOptions
from onlooker.streams.tenants import TenantStreams


def asked_stream(request: Request, named: str | None) -> str | None:
    """The stream that a call asks: `named` in its messages, or in its header.

    Raises:
        InvalidRequest: both name one, and not the same; or the header names none.
    """
    header = request.headers.get(STREAM_HEADER)
    if header is None:
        return named
    if not is_stream_id(header):
        raise InvalidRequest(f"the header {STREAM_HEADER} holds the id of a stream")
    if named not in (None, header):
        raise InvalidRequest(f"the messages ask another stream than the header {STREAM_HEADER}")
    return header


async def stream_to_ask(gateway: Gateway, streams: TenantStreams, name: str | None) -> Stream:
    """The stream of this name; a fresh one, which goes again, where only pictures are asked about.

    Raises:
        what `found` does.
    """
    if name is not None:
        return await found(gateway, streams, name)
    return await streams.open_stream(options=StreamOptions(clock="virtual", persistent=False))
