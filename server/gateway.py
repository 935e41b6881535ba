"""What every route and connection of one server shares. Made once, in `app.create_app`."""

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from onlooker.core.clock import Clock
from onlooker.core.errors import EngineDead, NotFound, ShuttingDown, TooLarge
from onlooker.core.metrics import Metrics
from onlooker.core.protocol.http import ServerObject
from onlooker.core.tracer import Tracer
from onlooker.server.auth import Authenticator, OriginGuard
from onlooker.server.config import Settings
from onlooker.server.drainable import Drainable
from onlooker.server.errors import NotReady
from onlooker.server.fleet.fleet_relay import FleetRelay
from onlooker.server.fleet.herald import Herald
from onlooker.server.fleet.placer import Placer
from onlooker.server.limits import Places
from onlooker.server.lobby import Lobby
from onlooker.server.mqtt.door import MqttDoor
from onlooker.server.pictures import PictureReader
from onlooker.server.pulse import Pulse
from onlooker.server.pushers import HttpPushers
from onlooker.server.release import package_version
from onlooker.server.rota import Rota
from onlooker.server.stored_responses import StoredResponses
from onlooker.streams.hub import StreamHub
from onlooker.streams.importing.importer import Importer
from onlooker.streams.tenants import TenantStreams

if TYPE_CHECKING:  # it needs the extra `webrtc`
    from onlooker.streams.webrtc.roster import PeerRoster
if TYPE_CHECKING:  # it needs the extra `traces`
    from onlooker.server.traces.exporter import SpanExporter


MOVED_RETRY_S = 1.0
"""When to come again to a server whose streams go on at others."""


class Phase(StrEnum):
    """Where a server is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Gateway:
    """What routes and connections of one server share, and what is asked of it everywhere."""

    settings: Settings
    hub: StreamHub
    clock: Clock
    metrics: Metrics
    auth: Authenticator
    origins: OriginGuard
    pictures: PictureReader
    pushers: HttpPushers
    responses: StoredResponses
    rota: Rota
    """Whose turn it is between questions to several streams."""
    importer: Importer
    places: Places
    """Of realtime connections."""
    requests: Places
    """Of running HTTP requests."""
    lobby: Lobby
    pulse: Pulse
    """What all connections do now and then."""
    started_wall_s: float
    name: str
    """This server's name, which no other server has."""
    url: str
    """Where clients and other servers reach it."""
    peers: "PeerRoster | None" = None
    """WebRTC sessions; None where the extra ``webrtc`` is not installed."""
    relay: FleetRelay | None = None
    """What passes calls on to other servers; None where there are none."""
    herald: Herald | None = None
    """What tells other servers of this one; None where there are none."""
    placer: Placer | None = None
    """What chooses who opens a new stream; None where there are no others."""
    mqtt: MqttDoor | None = None
    """What tells a broker of MQTT; None where there is none."""
    tracer: Tracer | None = None
    """What records traces; None where they are off."""
    exporter: "SpanExporter | None" = None
    """What posts them; None where they are off."""
    shared_port: int | None = None
    """The port at which any of several gateways of this machine may answer; None where this one is
    alone."""
    own_urls: tuple[str, ...] = ()
    """Where each of these gateways answers itself."""
    phase: Phase = Phase.STARTING
    is_leaving: bool = False
    """Whether the process ends soon: then it is no door to other servers either."""
    progress: str = "starting"
    """What the start is waiting for, in plain words."""
    connections: set[Drainable] = field(default_factory=set)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server goes away, which ends event readers."""

    def check_ready(self) -> None:
        """Let work in, or not.

        Raises:
            NotReady: the model is being loaded.
            ShuttingDown: the server is draining.
            EngineDead: the engine is gone for good. While it is being started again, what needs
                it waits for a while.
        """
        if self.phase is Phase.STARTING:
            raise NotReady(f"the server is starting: {self.progress}", retry_after_s=5.0)
        if self.phase is Phase.DRAINING:
            raise ShuttingDown(
                "the server is shutting down; try another one",
                retry_after_s=MOVED_RETRY_S if self.goes_on_elsewhere else 5.0,
            )
        if self.phase is Phase.FAILED or not self.hub.alive():
            raise EngineDead("the engine is gone; the server must be restarted")

    def check_open(self) -> None:
        """Let in what may be about a stream that is here, or not. In a fleet a server that is
        drained serves each of its streams until that goes on elsewhere, and opens none.

        Raises: what `check_ready` does.
        """
        if self.phase is not Phase.DRAINING or not self.goes_on_elsewhere:
            self.check_ready()

    def check_door(self) -> None:
        """Let in what is for another server, or not. A server that is drained still is a door, but
        not one that ends soon.

        Raises: what `check_ready` does.
        """
        if self.phase is not Phase.DRAINING or self.is_leaving:
            self.check_ready()

    def begin_drain(self) -> None:
        """Take nothing new from now on."""
        self.phase, self.hub.takes_new = Phase.DRAINING, False

    def end_drain(self) -> None:
        """Take work again."""
        self.phase, self.hub.takes_new = Phase.READY, True

    @property
    def goes_on_elsewhere(self) -> bool:
        """Whether what ends here goes on at other servers."""
        return self.relay is not None

    def describe(self) -> ServerObject:
        """What this server says of itself."""
        fleet, hub = self.settings.fleet, self.hub
        room = hub.room
        return ServerObject(
            name=self.name,
            url=self.url if fleet is not None else "",
            version=package_version(),
            model=hub.info.model,
            status=self.phase.value,
            streams=len(hub.streams()),
            max_streams=self.settings.streams.max_streams,
            connections=self.places.taken,
            load_ratio=round(hub.load_ratio, 3),
            room_ratio=round(room.ratio, 3),
            room_streams=room.streams if self.phase is Phase.READY else 0,
        )

    def streams_of(self, tenant: str) -> TenantStreams:
        """The streams of one tenant."""
        return TenantStreams(self.hub, tenant)

    def check_model(self, model: str | None) -> None:
        """Refuse to answer for a model that is not served. Raises `NotFound`."""
        served = self.hub.info.model
        if model is not None and model != served:
            raise NotFound(
                f"model '{model[:80]}' is not served here; this server has '{served}'",
                param="model",
            )

    @property
    def dialogue_turns(self) -> int:
        """How many earlier questions and answers a question brings along whose client does not
        say."""
        turns = self.settings.server.dialogue_turns
        return self.hub.info.dialogue_turns if turns is None else turns

    def output_tokens(self, wanted: int | Literal["inf"] | None, *, param: str) -> int:
        """Return how many tokens an answer may have. Raises `TooLarge` over the server's limit."""
        server = self.settings.server
        if wanted is None:
            return server.default_output_tokens
        if wanted == "inf":
            return server.max_output_tokens
        if wanted > server.max_output_tokens:
            raise TooLarge(
                f"an answer may have {server.max_output_tokens} tokens (setting "
                f"server.max_output_tokens); asked for {wanted}",
                param=param,
            )
        return wanted
