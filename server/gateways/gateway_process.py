"""One of several gateways, in a process of its own."""

import signal
import socket
from dataclasses import dataclass
from multiprocessing.connection import Connection

from onlooker.core.clock import SystemClock
from onlooker.core.errors import ConfigError, OnlookerError
from onlooker.core.log import configure_logging_as_parent
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import Engine
from onlooker.server.certificates import open_certificates
from onlooker.server.config import Settings
from onlooker.server.gateways.messages import BecameReady, Progressed, StartFailed
from onlooker.server.gateways.porter_link import PorterLink
from onlooker.server.serving import GatewayServer, make_server, quiet_uvicorn, run_alone, serve
from onlooker.server.wiring import make_engine, make_gateway


@dataclass(frozen=True, slots=True)
class GatewayPlace:
    """Which gateway a process is to be."""

    index: int
    num_gateways: int
    num_restarts: int
    """How often it was started again."""
    shared_port: int
    """The port at which any of the gateways may answer."""
    own_urls: tuple[str, ...]
    """Where each gateway answers itself."""


def run_gateway(
    place: GatewayPlace,
    settings: Settings,
    shared: socket.socket,
    own: socket.socket,
    pipe: Connection,
    *,
    engine: Engine | None = None,
) -> None:
    """Serve until told to stop by SIGTERM, or until nobody is at the other end of `pipe`. Ctrl-C,
    which a terminal sends to all processes at once, is for the porter to hear. `engine`: None makes
    the one that the settings name."""
    configure_logging_as_parent()
    quiet_uvicorn()
    link = PorterLink(pipe, gateway=place.index, num_gateways=place.num_gateways)
    try:
        server, failures = _make(place, settings, link, engine)
    except OnlookerError as error:
        _tell(link, error)
        return
    run_alone(server, _serve(server, link, shared, own))
    for failure in failures:
        _tell(link, failure)


def _make(
    place: GatewayPlace, settings: Settings, link: PorterLink, engine: Engine | None
) -> tuple[GatewayServer, list[OnlookerError]]:
    clock, metrics = SystemClock(), Metrics()
    metrics.gateway_restarts.inc(place.num_restarts)
    section = settings.server
    certificates = open_certificates(section.tls, host=section.host, clock=clock, metrics=metrics)
    if engine is None:
        engine = make_engine(settings, clock=clock, metrics=metrics, core=link)
    gateway = make_gateway(settings, engine=engine, clock=clock, metrics=metrics)
    gateway.own_urls, gateway.shared_port = place.own_urls, place.shared_port

    def on_ready() -> None:
        info = gateway.hub.info
        link.tell(BecameReady(info.model, info.knows))

    server, failures = make_server(
        gateway,
        certificates=certificates,
        progress=lambda line: link.tell(Progressed(line)),
        on_ready=on_ready,
        # While it starts again there are others to answer, and who asks for a stream that this one
        # had must find its port closed, to take the stream over.
        opens_when_ready=place.num_restarts > 0,
    )
    server.end_in_any_case(clock)
    server.stop_signals = (signal.SIGTERM,)
    return server, failures


async def _serve(server: GatewayServer, link: PorterLink, *bound: socket.socket) -> None:
    async with link:
        await serve(server, *bound)


def _tell(link: PorterLink, error: OnlookerError) -> None:
    link.tell(StartFailed(error.message, is_config=isinstance(error, ConfigError)))
