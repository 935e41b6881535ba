"""`LoadGauge`: what the scheduler's process tells with each request that ends."""

from typing import Any

from onlooker.core.metrics import Metrics
from onlooker.scheduler.load import LOAD_KEY, EngineLoad
from onlooker.scheduler.ticket import SERVED_KEY


class LoadGauge:
    """Holds the last word on the load, and counts how requests were served."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._load = EngineLoad()
        self.num_running = 0
        """Requests that the engine has."""

    @property
    def load(self) -> EngineLoad:
        """How busy the engine is. One that has nothing to do tells nothing, and is idle."""
        if self.num_running:
            return self._load
        now = self._load
        return EngineLoad(
            question_s=now.question_s,
            clip_s=now.clip_s,
            context_s=now.context_s,
            room_ratio=now.room_ratio,
            num_steps=now.num_steps,
            costs=now.costs,
            cost_error_ratio=now.cost_error_ratio,
            has_fallen_back=now.has_fallen_back,
        )

    def note(self, details: dict[str, Any]) -> None:
        """Take what a finished request carries out of its `details`."""
        load = EngineLoad.from_params(details)
        details.pop(LOAD_KEY, None)
        if load is not None:
            self._load = load
        served = details.pop(SERVED_KEY, None)
        if served is None:
            return
        name = served["request_class"]
        self._metrics.queue_seconds.labels(name).observe(served["queue_s"])
        self._metrics.slack_seconds.labels(name).observe(served["slack_s"])
        for missed in served["missed"]:
            self._metrics.deadlines_missed.labels(missed).inc()
