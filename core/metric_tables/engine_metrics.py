"""Metrics of the engine and of the policy that orders its work."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from onlooker.core.metric_tables.buckets import LATENCY_BUCKETS_S, SLACK_BUCKETS_S


class EngineMetrics:
    """See `onlooker.core.metrics.Metrics`."""

    def _add_scheduling(self, registry: CollectorRegistry) -> None:
        self.queue_seconds = Histogram(
            "onlooker_request_queue_seconds",
            "Arrival of a frame or question to the engine step that starts it.",
            ["request_class"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.slack_seconds = Histogram(
            "onlooker_request_slack_seconds",
            "Time that a request had left when it was started; negative: late already.",
            ["request_class"],
            buckets=SLACK_BUCKETS_S,
            registry=registry,
        )
        self.deadlines_missed = Counter(
            "onlooker_deadlines_missed_total",
            "Deadlines missed: of the first token, of a frame, of the mean gap between tokens.",
            ["request_class"],
            registry=registry,
        )
        self.admissions = Counter(
            "onlooker_admissions_total",
            "Streams and questions by what was decided: admit, degrade, refuse.",
            ["kind", "verdict"],
            registry=registry,
        )
        self.streams_at_level = Gauge(
            "onlooker_streams_at_level",
            "Live streams by rung of the quality ladder; 0 is full quality.",
            ["level"],
            registry=registry,
        )
        self.engine_busy = Gauge(
            "onlooker_engine_busy_ratio",
            "Share of the last seconds in which the engine ran a step.",
            registry=registry,
        )
        self.engine_load = Gauge(
            "onlooker_engine_load_ratio",
            "Share in use of what the engine can do in steps of full length; quality follows it.",
            registry=registry,
        )
        self.gateway_load = Gauge(
            "onlooker_gateway_load_ratio",
            "Share of its one thread that the gateway uses; quality follows it as well.",
            registry=registry,
        )
        self.cost_error = Gauge(
            "onlooker_step_cost_error_ratio",
            "Mean error of predicted step times, as a share of the measured ones.",
            registry=registry,
        )
        self.scheduler_fallback = Gauge(
            "onlooker_scheduler_fallback",
            "1 after the scheduling policy failed: requests are served in order of arrival.",
            registry=registry,
        )

    def _add_engine(self, registry: CollectorRegistry) -> None:
        self.engine_up = Gauge(
            "onlooker_engine_up", "1 while the engine can take work.", registry=registry
        )
        self.tokens = Counter(
            "onlooker_engine_tokens_total",
            "Tokens by kind: computed and cached (of prompts), generated.",
            ["work", "kind"],
            registry=registry,
        )
        self.clip_places = Counter(
            "onlooker_clip_places_total",
            "Places of clips' pictures by kind: computed, or left out as they had hardly changed.",
            ["kind"],
            registry=registry,
        )
        self.engine_restarts = Counter(
            "onlooker_engine_restarts_total",
            "Starts of an engine that had died, by outcome: started, failed, given_up.",
            ["outcome"],
            registry=registry,
        )
        self.gateway_restarts = Counter(
            "onlooker_gateway_restarts_total",
            "Times that this one of several gateways of a machine was started again since it died.",
            registry=registry,
        )
