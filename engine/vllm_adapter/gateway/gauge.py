"""`LoadGauge`: what the scheduler's process tells with each request that ends."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from onlooker.core.clock import Clock
from onlooker.core.metrics import Metrics
from onlooker.engine.vllm_adapter.gateway.outcome import RequestOutcome
from onlooker.scheduler.load import EngineLoad

HOLD_S = 2.0
"""How long the last word on an engine holds that others use, too."""


class LoadGauge:
    """Holds the last word on the load, and counts how requests were served.

    Args:
        is_shared: whether other gateways use the engine, too: it need not be idle when this one has
            nothing to do.
    """

    def __init__(self, metrics: Metrics, *, clock: Clock, is_shared: bool = False) -> None:
        self._metrics, self._clock = metrics, clock
        self._hold_s = HOLD_S if is_shared else 0.0
        self._told_at_s = -math.inf
        self._load = EngineLoad()
        self._num_running = 0

    @property
    def load(self) -> EngineLoad:
        """How busy the engine is. One that has nothing to do tells nothing, and is idle."""
        if self._num_running or self._clock.now_s() < self._told_at_s + self._hold_s:
            return self._load
        return replace(
            self._load,
            busy_ratio=0.0,
            load_ratio=0.0,
            question_wait_s=0.0,
            frame_wait_s=0.0,
            frames_ratio=0.0,
            others_ratio=0.0,
            kv_free_ratio=1.0,
            encoder_free_ratio=1.0,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count a request as running while the block lasts."""
        self._num_running += 1
        try:
            yield
        finally:
            self._num_running -= 1

    def note(self, outcome: RequestOutcome) -> None:
        """Take what a finished request tells."""
        if outcome.load is not None:
            self._load, self._told_at_s = outcome.load, self._clock.now_s()
        if (served := outcome.served) is None:
            return
        self._metrics.queue_seconds.labels(served.request_class).observe(served.queue_s)
        self._metrics.slack_seconds.labels(served.request_class).observe(served.slack_s)
        for missed in served.missed:
            self._metrics.deadlines_missed.labels(missed).inc()
