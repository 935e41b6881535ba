"""A server whose engine wants frames of some size and costs nothing, so that the gateway alone is
measured; with several gateways, each has such an engine. Run as a module, with a port, width,
height and settings as NAME=VALUE."""

import socket
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

from onlooker.core.clock import SystemClock
from onlooker.core.log import configure_logging
from onlooker.core.media import Clip
from onlooker.core.metrics import Metrics
from onlooker.core.settings import load_settings
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import IngestResult
from onlooker.server.config import Settings
from onlooker.server.gateways.gatehouse import serve_gateways
from onlooker.server.gateways.gateway_process import GatewayPlace, run_gateway
from onlooker.server.serving import bind, make_server, quiet_uvicorn, run
from onlooker.server.wiring import make_gateway


class IdleEngine(ScriptedEngine):
    """Takes every clip without a look at it."""

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        return IngestResult(self.info.tokens_per_clip, 0)


@dataclass(frozen=True, slots=True)
class IdleLife:
    """The life of one of several gateways whose engines cost nothing."""

    width: int
    height: int

    def __call__(
        self,
        place: GatewayPlace,
        settings: Settings,
        shared: socket.socket,
        own: socket.socket,
        pipe: Connection,
    ) -> None:
        engine = _engine(self.width, self.height)
        run_gateway(place, settings, shared, own, pipe, engine=engine)


def _engine(width: int, height: int) -> IdleEngine:
    clock = SystemClock()
    info = ScriptedEngine(clock=clock).info
    return IdleEngine(clock=clock, info=replace(info, frame_width=width, frame_height=height))


def main(port: str, width: str, height: str, *assignments: str) -> None:
    """Serve until told to stop."""
    overrides = dict(one.split("=", 1) for one in assignments)
    settings = load_settings(
        Settings, overrides={**overrides, "server.port": port, "engine.mode": "fake"}
    )
    configure_logging(level="warning", style="text", repeats=settings.server.log_repeats)
    quiet_uvicorn()
    clock, metrics = SystemClock(), Metrics()
    if settings.server.gateways > 1:
        life = IdleLife(int(width), int(height))
        serve_gateways(
            settings, clock=clock, say=print, on_ready=lambda told, base: None, life=life
        )
        return
    engine = _engine(int(width), int(height))
    with closing(bind(settings.server)) as bound:
        gateway = make_gateway(settings, engine=engine, clock=clock, metrics=metrics)
        server, _ = make_server(gateway)
        run(server, bound)


if __name__ == "__main__":
    main(*sys.argv[1:])
