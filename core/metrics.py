"""`Metrics`: every metric, from one table: name, help, labels, buckets.

The table is cut by what metrics tell of; a file of `onlooker.core.metric_tables` has one part.

Names follow Prometheus' conventions: prefix ``onlooker_``, base units, ``_total`` on counters,
``_ratio`` for 0-1. Labels come from closed sets: never a stream's id, and a tenant's only in
what is named ``onlooker_tenant_``, where whoever counts sees to it that they are few.
A `Metrics` is made once and handed to whoever records; nothing is a module global, so that tests
and several servers in one process do not share counts.
"""

from prometheus_client import CollectorRegistry

from onlooker.core.gathered import Gatherer
from onlooker.core.metric_tables.door_metrics import DoorMetrics
from onlooker.core.metric_tables.engine_metrics import EngineMetrics
from onlooker.core.metric_tables.fleet_metrics import FleetMetrics
from onlooker.core.metric_tables.frame_metrics import FrameMetrics
from onlooker.core.metric_tables.memory_metrics import MemoryMetrics
from onlooker.core.metric_tables.question_metrics import QuestionMetrics
from onlooker.core.metric_tables.watch_metrics import WatchMetrics


class Metrics(
    DoorMetrics,
    FrameMetrics,
    QuestionMetrics,
    EngineMetrics,
    WatchMetrics,
    MemoryMetrics,
    FleetMetrics,
):
    """All metrics of one server, on one registry."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.gatherer = Gatherer()
        self.registry.register(self.gatherer)
        self._add_gateway(self.registry)
        self._add_frames(self.registry)
        self._add_webrtc(self.registry)
        self._add_questions(self.registry)
        self._add_surveys(self.registry)
        self._add_second_looks(self.registry)
        self._add_orders(self.registry)
        self._add_scheduling(self.registry)
        self._add_engine(self.registry)
        self._add_sources(self.registry)
        self._add_watches(self.registry)
        self._add_memory(self.registry)
        self._add_durability(self.registry)
        self._add_album(self.registry)
        self._add_diary(self.registry)
        self._add_fleet(self.registry)
        self._add_tenants(self.registry)
