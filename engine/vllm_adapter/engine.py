"""Which engine the settings ask for."""

from onlooker.cache_store.config import CacheStoreSection
from onlooker.core.clock import Clock
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection
from onlooker.engine.interface import Engine
from onlooker.engine.vllm_adapter.gateway.model_folder import check_source
from onlooker.engine.vllm_adapter.gateway.resend_engine import ResendEngine
from onlooker.scheduler.config import SchedulerSection


def make_engine(
    settings: EngineSection,
    clock: Clock,
    metrics: Metrics,
    store: CacheStoreSection | None = None,
    scheduler: SchedulerSection | None = None,
) -> Engine:
    """The vLLM engine for ``settings.mode``; nothing is loaded before its `start`.

    `scheduler`: None takes the defaults; only segments mode orders vLLM's steps.
    `store`: where segments sink to; None keeps them in the worker's memory alone.

    Raises:
        ConfigError: the model's folder is missing or not whole. It is told before vLLM is imported,
            which takes many seconds.
    """
    check_source(settings.model)
    if settings.mode == "segments":
        # The segment engine imports vLLM, whose environment the settings decide.
        from onlooker.engine.vllm_adapter.gateway.platform import is_cpu_build, prepare_environment

        prepare_environment(settings.vllm, cpu=is_cpu_build(), model_is_local=True)
        from onlooker.engine.vllm_adapter.gateway.segment_engine import SegmentEngine

        return SegmentEngine(settings, clock, metrics, store, scheduler)
    return ResendEngine(settings, clock, metrics)
