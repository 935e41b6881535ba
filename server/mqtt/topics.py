"""`MqttTopics`: where a broker has what a server tells it.

PREFIX/servers/SERVER/status                  online, or offline (the last will)
PREFIX/streams/TENANT/STREAM/availability     online, or offline
                            /state            health and source, as JSON
                            /alert            the newest alert, as JSON
                            /picture          its evidence, the bytes of an image
                            /answer           the newest answer, as JSON
                            /watches/WATCH    a watch, and its newest alert, as JSON
DISCOVERY/KIND/DEVICE/OBJECT/config           an entity for Home Assistant
"""

import hashlib
import re
from dataclasses import dataclass

from onlooker.core.ids import StreamId, split_stream_id

ONLINE, OFFLINE = b"online", b"offline"

_NO_LEVEL = re.compile(r"[+#/\0]")
_NO_ID = re.compile(r"[^A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class MqttTopics:
    """All topics of one server."""

    prefix: str
    discovery_prefix: str | None
    server: str
    """The server's name."""

    @property
    def status(self) -> str:
        """Whether the server is connected."""
        return f"{self.prefix}/servers/{_NO_LEVEL.sub('_', self.server)}/status"

    @property
    def all_states(self) -> str:
        """A filter for the states of all streams, of other servers, too."""
        return f"{self.prefix}/streams/+/+/state"

    def of(self, stream_id: StreamId) -> "StreamTopics":
        """The topics of one stream."""
        tenant, stream = split_stream_id(stream_id)
        return StreamTopics(
            base=f"{self.prefix}/streams/{tenant}/{stream}",
            server_status=self.status,
            discovery_prefix=self.discovery_prefix,
            device=f"onlooker_{word(stream)}_{digest(self.prefix, tenant, stream)}",
        )


@dataclass(frozen=True, slots=True)
class StreamTopics:
    """All topics of one stream."""

    base: str
    server_status: str
    discovery_prefix: str | None
    device: str
    """How Home Assistant knows the stream; the same on whatever server it is."""

    @property
    def availability(self) -> str:
        return f"{self.base}/availability"

    @property
    def state(self) -> str:
        return f"{self.base}/state"

    @property
    def alert(self) -> str:
        return f"{self.base}/alert"

    @property
    def picture(self) -> str:
        return f"{self.base}/picture"

    @property
    def answer(self) -> str:
        return f"{self.base}/answer"

    def watch(self, watch_id: str) -> str:
        """A watch of the stream."""
        return f"{self.base}/watches/{watch_id}"

    def config(self, kind: str, entity: str) -> str | None:
        """Where an entity is described; None where none are."""
        if self.discovery_prefix is None:
            return None
        return f"{self.discovery_prefix}/{kind}/{self.device}/{entity}/config"


def watch_entity(watch_id: str) -> str:
    """What the entity of a watch is called in topics."""
    return f"watch_{word(watch_id)}_{digest(watch_id)}"


def word(name: str) -> str:
    """A name in the letters that Home Assistant takes for ids; two names may become one."""
    return _NO_ID.sub("_", name)


def digest(*names: str) -> str:
    """Tells names apart that have become one word."""
    return hashlib.blake2s("/".join(names).encode(), digest_size=4).hexdigest()
