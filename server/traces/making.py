"""Makes what records and posts traces, where the settings ask for them."""

import random
from importlib.util import find_spec
from typing import TYPE_CHECKING

from onlooker.core.clock import Clock
from onlooker.core.errors import ConfigError
from onlooker.core.metrics import Metrics
from onlooker.core.tracer import Tracer
from onlooker.server.release import package_version
from onlooker.server.traces.config import TracesSection

if TYPE_CHECKING:  # it needs the extra `traces`
    from onlooker.server.traces.exporter import SpanExporter


def make_tracer(traces: TracesSection, *, clock: Clock, metrics: Metrics) -> Tracer | None:
    """What records traces; None where they are off.

    Raises:
        ConfigError: they are on, and the extra ``traces`` is not installed.
    """
    if traces.endpoint is None:
        return None
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.proto") is None:
        raise ConfigError(
            "traces.endpoint is set, and the package that speaks to a collector is missing: "
            "pip install 'onlooker[traces]', or take the setting back"
        )
    return Tracer(
        clock=clock,
        metrics=metrics,
        rng=random.Random(),  # noqa: S311 - chooses what is traced, guards nothing
        ratio=traces.ratio,
        frame_ratio=traces.frame_ratio,
        slow_frame_s=traces.slow_frame_s,
        slow_frames_per_s=traces.slow_frames_per_s,
        with_texts=traces.with_texts,
        max_queued=traces.max_queued,
    )


def make_exporter(
    traces: TracesSection, tracer: Tracer | None, *, server: str, metrics: Metrics
) -> "SpanExporter | None":
    """What posts them for the server of this name; None where they are off."""
    if tracer is None:
        return None
    from onlooker.server.traces.exporter import SpanExporter

    resource = {
        "service.name": traces.service,
        "service.version": package_version(),
        "service.instance.id": server,
    }
    return SpanExporter(tracer, traces, resource=resource, metrics=metrics)
