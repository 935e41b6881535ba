"""A server whose engine wants frames of some size and costs nothing, so that the gateway alone is
measured. Run as a module, with a port, width, height and settings as NAME=VALUE."""

import sys
from contextlib import closing
from dataclasses import replace

from onlooker.core.clock import SystemClock
from onlooker.core.log import configure_logging
from onlooker.core.media import Clip
from onlooker.core.metrics import Metrics
from onlooker.core.settings import load_settings
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import IngestResult
from onlooker.server.config import Settings
from onlooker.server.serving import bind, make_server, quiet_uvicorn, run
from onlooker.server.wiring import make_gateway


class IdleEngine(ScriptedEngine):
    """Takes every clip without a look at it."""

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        return IngestResult(self.info.tokens_per_clip, 0)


def main(port: str, width: str, height: str, *assignments: str) -> None:
    """Serve until told to stop."""
    overrides = dict(one.split("=", 1) for one in assignments)
    settings = load_settings(
        Settings, overrides={**overrides, "server.port": port, "engine.mode": "fake"}
    )
    configure_logging(level="warning", style="text", repeats=settings.server.log_repeats)
    quiet_uvicorn()
    clock, metrics = SystemClock(), Metrics()
    info = ScriptedEngine(clock=clock).info
    engine = IdleEngine(
        clock=clock, info=replace(info, frame_width=int(width), frame_height=int(height))
    )
    with closing(bind(settings.server)) as bound:
        gateway = make_gateway(settings, engine=engine, clock=clock, metrics=metrics)
        server, _ = make_server(gateway)
        run(server, bound)


if __name__ == "__main__":
    main(*sys.argv[1:])
