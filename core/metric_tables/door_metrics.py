"""Metrics of the ways in: connections, calls that were refused, WebRTC."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class DoorMetrics:
    """See `onlooker.core.metrics.Metrics`."""

    def _add_gateway(self, registry: CollectorRegistry) -> None:
        self.connections = Gauge(
            "onlooker_connections_active", "Open realtime connections.", registry=registry
        )
        self.connections_total = Counter(
            "onlooker_connections_total",
            "Realtime connections by how they ended.",
            ["outcome"],
            registry=registry,
        )
        self.client_errors = Counter(
            "onlooker_client_errors_total",
            "Requests and messages refused, by error code.",
            ["code"],
            registry=registry,
        )
        self.responses_forgotten = Counter(
            "onlooker_responses_forgotten_total",
            "Responses that had to make room: later ones cannot go on from them.",
            registry=registry,
        )
        self.sockets_closed = Counter(
            "onlooker_sockets_closed_total",
            "Sockets closed by a limit: crowded, late, head, pipeline, pings, not_http, no_tls.",
            ["reason"],
            registry=registry,
        )
        self.tls_expires = Gauge(
            "onlooker_tls_expires_timestamp_seconds",
            "When the server's certificate ends, in Unix time; 0 without TLS.",
            registry=registry,
        )
        self.events_dropped = Counter(
            "onlooker_events_dropped_total",
            "Events that a slow subscriber did not get.",
            ["kind"],
            registry=registry,
        )

    def _add_webrtc(self, registry: CollectorRegistry) -> None:
        self.webrtc_sessions = Gauge(
            "onlooker_webrtc_sessions_active", "Open WebRTC sessions.", registry=registry
        )
        self.webrtc_sessions_total = Counter(
            "onlooker_webrtc_sessions_total",
            "WebRTC sessions by how they ended: closed by their peer, unreachable, idle, expired, "
            "stream_closed, shutdown, failed; or refused at the start.",
            ["outcome"],
            registry=registry,
        )
        self.webrtc_dropped = Counter(
            "onlooker_webrtc_dropped_total",
            "What WebRTC peers sent in vain: frames that were lost on the way or built on such a "
            "one, packets over the bitrate (too_much) or of nobody known (stranger), and addresses "
            "that are not sent to (candidate).",
            ["what"],
            registry=registry,
        )
        self.webrtc_key_frames = Counter(
            "onlooker_webrtc_key_frames_asked_total",
            "Times a WebRTC peer was asked for a key frame.",
            registry=registry,
        )
