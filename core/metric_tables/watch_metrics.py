"""Metrics of watches, standing orders, alerts and the ways out for these."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from onlooker.core.metric_tables.buckets import LATENCY_BUCKETS_S


class WatchMetrics:
    """See `onlooker.core.metrics.Metrics`."""

    def _add_orders(self, registry: CollectorRegistry) -> None:
        self.orders = Counter(
            "onlooker_orders_total",
            "Watches of standing orders at streams that were opened or labelled, or whose order "
            "was changed: applied, changed, dropped, failed (the log says why).",
            ["outcome"],
            registry=registry,
        )

    def _add_watches(self, registry: CollectorRegistry) -> None:
        self.watches = Gauge(
            "onlooker_watches_active", "Watches of all streams.", registry=registry
        )
        self.checks = Counter(
            "onlooker_checks_total",
            "Checks on behalf of watches: done, failed, skipped for want of room, made_up later or "
            "lost; clips that a watch passed_over; and questions that were not asked: the picture "
            "was unchanged, or not in what they are about (unneeded), or the model quiet.",
            ["outcome"],
            registry=registry,
        )
        self.belongings_writes = Counter(
            "onlooker_belongings_writes_total",
            "Writes of what belongs to streams beside their memory (masks, retention, watches, "
            "alerts, numbers): saved, failed, refused since another server owns the stream, or "
            "retried since the disk or Redis did not answer.",
            ["outcome"],
            registry=registry,
        )
        self.forgotten_clips = Counter(
            "onlooker_forgotten_clips_total",
            "Clips that were deleted: asked (on request) or age (older than streams keep).",
            ["reason"],
            registry=registry,
        )
        self.check_seconds = Histogram(
            "onlooker_check_seconds",
            "Time of one check in the engine.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.alerts = Counter(
            "onlooker_alerts_total",
            "Alerts by what became of them: raised, held_back by cooldown or rate, superseded by a "
            "newer one, silent after all, or not_kept: told to nobody, as the stream was let go.",
            ["outcome"],
            registry=registry,
        )
        self.alert_staleness_seconds = Histogram(
            "onlooker_alert_staleness_seconds",
            "Arrival of an alert's evidence until the alert was raised.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.mqtt_alerts = Counter(
            "onlooker_mqtt_alerts_total",
            "Alerts for the broker of MQTT: delivered, known: it had it already, or dropped: too "
            "many waited.",
            ["outcome"],
            registry=registry,
        )
        self.mqtt_waiting = Gauge(
            "onlooker_mqtt_alerts_waiting",
            "Alerts that wait for the broker of MQTT.",
            registry=registry,
        )
        self.mqtt_connected = Gauge(
            "onlooker_mqtt_connected",
            "Whether the broker of MQTT is reached: 1 or 0.",
            registry=registry,
        )
        self.mqtt_failures = Counter(
            "onlooker_mqtt_failures_total",
            "Connections to the broker of MQTT that failed or were lost.",
            registry=registry,
        )
        self.push_deliveries = Counter(
            "onlooker_push_deliveries_total",
            "Deliveries of alerts to phones and chats: delivered, retried, given_up or dropped.",
            ["outcome"],
            registry=registry,
        )
        self.webhook_deliveries = Counter(
            "onlooker_webhook_deliveries_total",
            "Deliveries of alerts to webhooks: delivered, retried, given_up or dropped.",
            ["outcome"],
            registry=registry,
        )
