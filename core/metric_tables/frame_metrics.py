"""Metrics of streams and frames: what came, what became of it, and where it is pulled from."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from onlooker.core.gathered import Gatherer
from onlooker.core.metric_tables.buckets import LATENCY_BUCKETS_S, STEP_BUCKETS_S


class FrameMetrics:
    """See `onlooker.core.metrics.Metrics`."""

    gatherer: Gatherer
    """Gathers what is noted for every frame, or every clip, so that it is counted in bulk."""

    def _add_frames(self, registry: CollectorRegistry) -> None:
        self.streams = Gauge("onlooker_streams_active", "Open streams.", registry=registry)
        self.streams_total = Counter(
            "onlooker_streams_total", "Streams closed, by reason.", ["reason"], registry=registry
        )
        self.frames = Counter(
            "onlooker_frames_total",
            "Frames by what became of them: kept, skipped, or the reason they were dropped.",
            ["outcome", "reason"],
            registry=registry,
        )
        self.clips = Counter(
            "onlooker_clips_total",
            "Clips by result of their ingest: seen, restored, lost.",
            ["result"],
            registry=registry,
        )
        self.decode_seconds = Histogram(
            "onlooker_frame_decode_seconds",
            "Time to decode and resize one frame, off the event loop.",
            ["codec"],
            buckets=STEP_BUCKETS_S,
            registry=registry,
        )
        self.decode_cpu_seconds = Counter(
            "onlooker_decode_cpu_seconds_total",
            "Processor time that decoder processes spent on messages that they decoded.",
            ["codec"],
            registry=registry,
        )
        self.decode_wait_seconds = Histogram(
            "onlooker_decode_wait_seconds",
            "Time that a message waited for its turn to be decoded.",
            buckets=STEP_BUCKETS_S,
            registry=registry,
        )
        self.decoders_ended = Counter(
            "onlooker_decoders_ended_total",
            "Decoder processes that ended over a message and were replaced: too_costly, crashed, "
            "killed (by somebody else).",
            ["why"],
            registry=registry,
        )
        self.senders_refused = Counter(
            "onlooker_senders_refused_total",
            "Times that a stream, or a tenant's question pictures, were refused for a while: too "
            "many of their messages were too costly.",
            registry=registry,
        )
        self.ingest_seconds = Histogram(
            "onlooker_clip_ingest_seconds",
            "Time from handing a clip to the engine to its end of prefill.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.frame_lag_seconds = Histogram(
            "onlooker_frame_lag_seconds",
            "Arrival of a frame to the end of its prefill: how far behind now the model sees.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )

    def _add_sources(self, registry: CollectorRegistry) -> None:
        self.too_slow = Counter(
            "onlooker_too_slow_total",
            "Operations that were ended because the other side took too long or sent too little.",
            ["what"],  # opening, reading, webhook
            registry=registry,
        )
        self.time_jumps = Counter(
            "onlooker_time_jumps_total",
            "Times that a source's own time did not go on as expected: a gap that was kept, a "
            "wrong time that was moved, a clock that is not followed any more.",
            ["kind"],  # gap, moved, arrival
            registry=registry,
        )
        self.source_reconnects = Counter(
            "onlooker_source_reconnects_total",
            "Times a pulled source was opened again after a failure.",
            registry=registry,
        )
        self.sources_failed = Counter(
            "onlooker_sources_failed_total",
            "Pulled sources that failed and are not tried again.",
            registry=registry,
        )
        self.imports = Counter(
            "onlooker_imports_total",
            "Recordings that the server imported, by how that ended (done, failed, cancelled).",
            ["outcome"],
            registry=registry,
        )
        self.source_packets_dropped = Counter(
            "onlooker_source_packets_dropped_total",
            "Datagrams of UDP and SRT sources that were lost on the way for good, or came from "
            "senders that may not be pulled from.",
            ["why"],  # lost, refused
            registry=registry,
        )

    # ---- what is noted for every frame, or every clip: gathered, and counted in bulk

    def note_frame(self, outcome: str, reason: str) -> Callable[..., None]:
        """What counts a frame of this outcome in `frames`."""
        return self.gatherer.sum_of(
            ("frames", outcome, reason),
            lambda: self.frames.labels(outcome=outcome, reason=reason).inc,
        )

    def note_decoded(self, codec: str) -> Callable[..., None]:
        """What notes for how long a message of this codec was decoded, in `decode_seconds`."""
        return self.gatherer.each_of(
            ("decode", codec), lambda: self.decode_seconds.labels(codec=codec).observe
        )

    def note_decode_cpu(self, codec: str) -> Callable[..., None]:
        """What notes the processor time that went into a message, in `decode_cpu_seconds`."""
        return self.gatherer.sum_of(
            ("decode_cpu", codec), lambda: self.decode_cpu_seconds.labels(codec=codec).inc
        )

    @property
    def note_decode_wait(self) -> Callable[..., None]:
        """What notes for how long a message waited for its turn, in `decode_wait_seconds`."""
        return self.gatherer.each_of("wait", lambda: self.decode_wait_seconds.observe)

    @property
    def note_clip_seen(self) -> Callable[..., None]:
        """What counts a clip that the model has seen, in `clips`."""
        return self.gatherer.sum_of("seen", lambda: self.clips.labels(result="seen").inc)

    @property
    def note_ingest(self) -> Callable[..., None]:
        """What notes for how long the model took over a clip, in `ingest_seconds`."""
        return self.gatherer.each_of("ingest", lambda: self.ingest_seconds.observe)

    @property
    def note_frame_lag(self) -> Callable[..., None]:
        """What notes how late a clip was seen, in `frame_lag_seconds`."""
        return self.gatherer.each_of("lag", lambda: self.frame_lag_seconds.observe)
