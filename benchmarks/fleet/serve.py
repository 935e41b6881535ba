"""`python -m onlooker.benchmarks.fleet.serve KIND NAME=VALUE…`: one server of a fleet, with an
engine of the benchmarks: `shared` remembers in Redis, `costed` sleeps by a cost table."""

import sys
from contextlib import closing

from onlooker.benchmarks.fleet.costed_engine import CostedEngine
from onlooker.benchmarks.fleet.shared_engine import SharedEngine, SharedStore
from onlooker.core.clock import SystemClock
from onlooker.core.log import configure_logging
from onlooker.core.metrics import Metrics
from onlooker.core.settings import load_settings
from onlooker.engine.interface import Engine
from onlooker.server.config import Settings
from onlooker.server.serving import bind, make_server, quiet_uvicorn, run
from onlooker.server.wiring import make_gateway


def main(kind: str, *assignments: str) -> None:
    """Serve until told to stop."""
    overrides = dict(assignment.split("=", 1) for assignment in assignments)
    settings = load_settings(Settings, overrides={"engine.mode": "fake", **overrides})
    configure_logging(level="warning", style="text", repeats=20)
    quiet_uvicorn()
    clock, metrics = SystemClock(), Metrics()
    with closing(bind(settings.server)) as bound:
        gateway = make_gateway(
            settings, engine=_engine(kind, settings), clock=clock, metrics=metrics
        )
        server, _ = make_server(gateway)
        server.end_in_any_case(clock)
        run(server, bound)


def _engine(kind: str, settings: Settings) -> Engine:
    if kind == "costed":
        return CostedEngine(SystemClock())
    redis = settings.cache_store.redis
    assert redis is not None
    return SharedEngine(SharedStore(redis.url.get_secret_value(), redis.namespace))


if __name__ == "__main__":
    main(*sys.argv[1:])
