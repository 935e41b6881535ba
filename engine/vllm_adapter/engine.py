"""Which engine the settings ask for."""

from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from onlooker.cache_store.config import CacheStoreSection
from onlooker.core.clock import Clock, SystemClock
from onlooker.core.errors import OnlookerError
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection
from onlooker.engine.interface import Engine
from onlooker.engine.shared_core import CoreSeat, SharedCore
from onlooker.engine.vllm_adapter.gateway.model_folder import check_source
from onlooker.engine.vllm_adapter.gateway.resend_engine import ResendEngine
from onlooker.scheduler.config import SchedulerSection

if TYPE_CHECKING:  # it imports vLLM
    from onlooker.engine.vllm_adapter.gateway.segment_engine import SegmentEngine


def make_engine(
    settings: EngineSection,
    clock: Clock,
    metrics: Metrics,
    store: CacheStoreSection | None = None,
    scheduler: SchedulerSection | None = None,
    core: SharedCore | None = None,
) -> Engine:
    """The vLLM engine for ``settings.mode``; nothing is loaded before its `start`.

    `scheduler`: None takes the defaults; only segments mode orders vLLM's steps.
    `store`: where segments sink to; None keeps them in the worker's memory alone.
    `core`: the engine core of several gateways; None starts one of this gateway's own.

    Raises:
        ConfigError: the model's folder is missing or not whole. It is told before vLLM is imported,
            which takes many seconds.
    """
    return _made(settings, clock, metrics, store, scheduler, core)


def run_core(
    settings: EngineSection,
    store: CacheStoreSection,
    scheduler: SchedulerSection,
    seats: Sequence[CoreSeat],
    num_gateways: int,
    link: Connection,
) -> None:
    """The whole life of a process that runs the engine core of several gateways; see
    `onlooker.engine.vllm_adapter.gateway.core_host.host_core`."""
    try:
        engine = _made(settings, SystemClock(), Metrics(), store, scheduler, None)
    except OnlookerError as error:
        link.send(error.message)
        return
    from onlooker.engine.vllm_adapter.gateway.core_host import host_core

    host_core(engine, settings.vllm, seats, num_gateways=num_gateways, link=link)


def _made(
    settings: EngineSection,
    clock: Clock,
    metrics: Metrics,
    store: CacheStoreSection | None,
    scheduler: SchedulerSection | None,
    core: SharedCore | None,
) -> "SegmentEngine | ResendEngine":
    check_source(settings.model)
    if settings.mode == "segments":
        # The segment engine imports vLLM, whose environment the settings decide.
        from onlooker.engine.vllm_adapter.gateway.platform import is_cpu_build, prepare_environment

        prepare_environment(settings.vllm, cpu=is_cpu_build(), model_is_local=True)
        from onlooker.engine.vllm_adapter.gateway.segment_engine import SegmentEngine

        return SegmentEngine(settings, clock, metrics, store, scheduler, core)
    return ResendEngine(settings, clock, metrics, core)
