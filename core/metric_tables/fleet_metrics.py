"""Metrics of servers that share streams, and of tenants."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class FleetMetrics:
    """See `onlooker.core.metrics.Metrics`."""

    def _add_fleet(self, registry: CollectorRegistry) -> None:
        self.streams_owned = Gauge(
            "onlooker_streams_owned", "Streams whose lease this server holds.", registry=registry
        )
        self.leases = Counter(
            "onlooker_leases_total",
            "Leases by what became of them: granted, taken_over, released, lost, overdue, or "
            "restored where Redis had lost them.",
            ["event"],
            registry=registry,
        )
        self.streams_in_trouble = Gauge(
            "onlooker_streams_in_trouble",
            "Streams whose view is black, blocked, frozen, blurred or moved now.",
            ["trouble"],
            registry=registry,
        )
        self.view_troubles = Counter(
            "onlooker_view_troubles_total",
            "How often a view became black, blocked, frozen, blurred or moved.",
            ["trouble"],
            registry=registry,
        )
        self.trace_spans = Counter(
            "onlooker_trace_spans_total",
            "Spans of traces, by what became of them: exported, dropped (too many waited), refused "
            "(by the collector).",
            ["outcome"],
            registry=registry,
        )
        self.relays = Gauge(
            "onlooker_relays_active",
            "Calls and connections that are being passed on to other servers.",
            registry=registry,
        )
        self.relays_total = Counter(
            "onlooker_relays_total",
            "Calls (http) and connections (websocket) passed on to the owners of their streams, by "
            "how they ended: done, left (by the client), refused (by the owner), gone (the owner, "
            "before), unreached (the owner, no connection in time), lost (the owner, meanwhile), "
            "slow_reader, drained.",
            ["kind", "outcome"],
            registry=registry,
        )
        self.unreached = Counter(
            "onlooker_servers_unreached_total",
            "Connections to other servers that were not made: tried (no answer within "
            "fleet.connect_s), held (refused at once, since it was just tried).",
            ["how"],
            registry=registry,
        )

    def _add_tenants(self, registry: CollectorRegistry) -> None:
        self.tenant_streams = Gauge(
            "onlooker_tenant_streams_active",
            "Open streams of a tenant on this server; other: of all without a label of their own.",
            ["tenant"],
            registry=registry,
        )
        self.tenant_watches = Gauge(
            "onlooker_tenant_watches_active",
            "Watches of a tenant on this server.",
            ["tenant"],
            registry=registry,
        )
        self.tenant_memory_bytes = Gauge(
            "onlooker_tenant_memory_bytes",
            "Keys and values that are remembered of a tenant's open streams on this server, one "
            "copy counted.",
            ["tenant"],
            registry=registry,
        )
        self.tenant_frames = Counter(
            "onlooker_tenant_frames_total",
            "Frame messages of a tenant: taken, or left_out for whatever reason.",
            ["tenant", "outcome"],
            registry=registry,
        )
        self.tenant_questions = Counter(
            "onlooker_tenant_questions_total",
            "Questions of a tenant that were let in.",
            ["tenant"],
            registry=registry,
        )
        self.tenant_tokens = Counter(
            "onlooker_tenant_tokens_total",
            "Tokens of a tenant's answers: input, those of it that were cached, output.",
            ["tenant", "kind"],
            registry=registry,
        )
        self.tenant_alerts = Counter(
            "onlooker_tenant_alerts_total",
            "Alerts that a tenant's watches raised.",
            ["tenant"],
            registry=registry,
        )
        self.tenant_refused = Counter(
            "onlooker_tenant_refused_total",
            "What a tenant was refused at one of its limits: streams, fps (frames), "
            "questions_per_minute, memory_bytes (frames), watches.",
            ["tenant", "limit"],
            registry=registry,
        )
        self.tenant_limits_alone = Gauge(
            "onlooker_tenant_limits_alone",
            "1 while limits of tenants hold for this server's own part of them, as Redis is away.",
            registry=registry,
        )
