"""`ServerEvent`: what all events of the server have."""

from onlooker.core.protocol.base import Outbound


class ServerEvent(Outbound):
    """The base of all server events."""

    event_id: str = ""
    sequence_number: int = 0
    """The event's number on its connection: 1, 2, 3 …, no gaps. Where a stream is followed over
    HTTP, the stream's event number."""
