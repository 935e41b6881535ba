"""Every metric in one table: name, help, labels, buckets.

Names follow Prometheus' conventions: prefix ``onlooker_``, base units, ``_total`` on counters,
``_ratio`` for 0-1. Labels come from closed sets: never a stream's id, and a tenant's only in
what is named ``onlooker_tenant_``, where whoever counts sees to it that they are few.
A `Metrics` is made once and handed to whoever records; nothing is a module global, so that tests
and several servers in one process do not share counts.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from onlooker.core.gathered import Gatherer

LATENCY_BUCKETS_S = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Buckets from a cached token to an answer that nobody waits for any more; dense where targets
usually lie."""

STEP_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Buckets for the decoding of one picture, and for one gap between tokens."""

SLACK_BUCKETS_S = (-10.0, -2.5, -1.0, -0.5, -0.1, 0.0, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Buckets for the time left until a deadline, negative once it has passed."""


class Metrics:
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
        self._add_watches(self.registry)
        self._add_memory(self.registry)
        self._add_durability(self.registry)
        self._add_album(self.registry)
        self._add_diary(self.registry)
        self._add_fleet(self.registry)
        self._add_tenants(self.registry)

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

    def _add_questions(self, registry: CollectorRegistry) -> None:
        self.questions = Counter(
            "onlooker_questions_total",
            "Questions by outcome: completed, incomplete, cancelled, failed, refused.",
            ["outcome"],
            registry=registry,
        )
        self.questions_active = Gauge(
            "onlooker_questions_active", "Answers being generated.", registry=registry
        )
        self.ttft_seconds = Histogram(
            "onlooker_question_ttft_seconds",
            "Arrival of a question to its first answer token.",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.tpot_seconds = Histogram(
            "onlooker_question_tpot_seconds",
            "Per answer: (end to end - TTFT) / (output tokens - 1).",
            buckets=STEP_BUCKETS_S,
            registry=registry,
        )

    def _add_second_looks(self, registry: CollectorRegistry) -> None:
        self.second_looks = Counter(
            "onlooker_second_looks_total",
            "Answers that were looked at before they were given: sure (given as they were), looked "
            "(given again with pictures), no_pictures (the album has none of what they rest on).",
            ["outcome"],
            registry=registry,
        )

    def _add_surveys(self, registry: CollectorRegistry) -> None:
        self.surveys = Counter(
            "onlooker_surveys_total",
            "Questions to several streams by how they ended: completed, incomplete (some streams "
            "were not heard), failed, cancelled, refused.",
            ["outcome"],
            registry=registry,
        )
        self.survey_parts = Counter(
            "onlooker_survey_parts_total",
            "What came of such questions to each stream: completed, incomplete, failed, refused, "
            "timed_out.",
            ["outcome"],
            registry=registry,
        )

    def _add_orders(self, registry: CollectorRegistry) -> None:
        self.orders = Counter(
            "onlooker_orders_total",
            "Watches of standing orders at streams that were opened or labelled, or whose order "
            "was changed: applied, changed, dropped, failed (the log says why).",
            ["outcome"],
            registry=registry,
        )

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

    def _add_memory(self, registry: CollectorRegistry) -> None:
        self.memory_index_bytes = Gauge(
            "onlooker_memory_index_bytes",
            "Memory of the index that retrieval ranks clips by, all streams together.",
            registry=registry,
        )
        self.memory_indexed_clips = Gauge(
            "onlooker_memory_indexed_clips",
            "Clips that retrieval can find, all streams together.",
            registry=registry,
        )
        self.memory_device_bytes = Gauge(
            "onlooker_memory_device_bytes",
            "KV of segments that the workers hold ready, above the tiers.",
            registry=registry,
        )
        self.memory_device_segments = Gauge(
            "onlooker_memory_device_segments",
            "Segments whose KV the workers hold ready, above the tiers.",
            registry=registry,
        )
        self.store_records = Gauge(
            "onlooker_store_records", "Segments in a tier.", ["tier"], registry=registry
        )
        self.store_queued_bytes = Gauge(
            "onlooker_store_queued_bytes",
            "Segments that wait to be written to a tier.",
            ["tier"],
            registry=registry,
        )
        self.store_moves = Counter(
            "onlooker_store_moves_total",
            "Segments between tiers: demoted to a lower one, forgotten as the last copy went, "
            "not_durable for want of room below, or written_again since a tier may have lost them "
            "(doubted counts how often). Segments that a step had to read from the store itself "
            "(read_in_step), and requests that had to wait until others had fetched theirs "
            "(fetch_waited). Reads of Redis that went on while the disk was read for the same "
            "question (read_beside), or had to wait for it (read_in_turn). On a GPU: kept in "
            "ordinary memory, since the pool that the GPU reaches had no room (unpooled), placed "
            "from the GPU's own memory (shelf_read), let go of there for newer ones "
            "(shelf_let_go), steps that waited for the thread that hands segments to the store "
            "(write_waited) or for the ring by which they get to ordinary memory (ring_waited), "
            "index entries that went to the host (index_sunk), and how often the index took more "
            "of the GPU than it was to (index_over). In streams: deletions that were retried since "
            "a tier was not reached (deletion_retried), or given up (deletion_refused).",
            ["move"],
            registry=registry,
        )
        self.compaction = Counter(
            "onlooker_compaction_clips_total",
            "Clips that left the recent window and were to be compacted, by outcome: compacted, "
            "put_off (each time that the engine had no time for it), lost (they could not be "
            "read).",
            ["outcome"],
            registry=registry,
        )
        self.compaction_saved_bytes = Counter(
            "onlooker_compaction_saved_bytes_total",
            "Bytes of keys and values by which clips became smaller when they were compacted.",
            registry=registry,
        )
        self.notes = Counter(
            "onlooker_memory_notes_total",
            "Questions and answers to be noted, by outcome: kept, failed, refused.",
            ["outcome"],
            registry=registry,
        )

    def _add_durability(self, registry: CollectorRegistry) -> None:
        self.journal_frames = Counter(
            "onlooker_journal_frames_total",
            "Kept frames by what they survive: none, process, second, machine, server, replicated.",
            ["guarantee"],
            registry=registry,
        )
        self.journal_entries_skipped = Counter(
            "onlooker_journal_entries_skipped_total",
            "Journaled frames that were left out when a stream was restored, by why they could not "
            "be decoded: undecodable, too_costly, too_large.",
            ["reason"],
            registry=registry,
        )
        self.journal_bytes = Gauge(
            "onlooker_journal_bytes",
            "Frames in the journal whose segments are not durable yet.",
            registry=registry,
        )
        self.store_events = Counter(
            "onlooker_store_events_total",
            "What befell segments in their tiers, in segments: hits, misses, corrupt, foreign, "
            "read_errors, write_errors, refused, stored, evicted, and failed (given up); and "
            "error_replies of Redis, by which it refuses to do its work.",
            ["tier", "event"],
            registry=registry,
        )
        self.store_doubted = Gauge(
            "onlooker_store_doubted",
            "1 while the store cannot be relied on to have what was durable in it: it came back "
            "empty, another server took over, or it evicts. Else 0.",
            registry=registry,
        )
        self.store_bytes = Gauge(
            "onlooker_store_bytes", "Bytes of segments, by tier.", ["tier"], registry=registry
        )
        self.memory_fetched_bytes = Counter(
            "onlooker_memory_fetched_bytes_total",
            "KV that answers read of what left the recent window, by the tier where it lay.",
            ["tier"],
            registry=registry,
        )
        self.answers_incomplete = Counter(
            "onlooker_answers_memory_incomplete_total",
            "Answers of which something that should be remembered could not be read.",
            registry=registry,
        )

    def _add_album(self, registry: CollectorRegistry) -> None:
        self.album_pictures = Gauge(
            "onlooker_album_size_pictures",
            "Pictures in the album; servers that share a Redis each tell all of it.",
            registry=registry,
        )
        self.album_bytes = Gauge(
            "onlooker_album_size_bytes",
            "Room that the album's pictures take; servers that share a Redis each tell all of it.",
            registry=registry,
        )
        self.album_pictures_total = Counter(
            "onlooker_album_pictures_total",
            "Pictures for the album by what became of them: kept; thinned or aged, later; dropped "
            "since too many waited, refused since too many streams have pictures, or failed.",
            ["outcome"],
            registry=registry,
        )

    def _add_diary(self, registry: CollectorRegistry) -> None:
        self.diary_entries = Gauge(
            "onlooker_diary_size_entries",
            "Entries in the diary; servers that share a Redis each tell all of it.",
            registry=registry,
        )
        self.diary_bytes = Gauge(
            "onlooker_diary_size_bytes",
            "Room that the diary's entries take; servers that share a Redis each tell all of it.",
            registry=registry,
        )
        self.diary_entries_total = Counter(
            "onlooker_diary_entries_total",
            "Entries for the diary by what became of them: kept; thinned or aged, later; dropped "
            "since too many waited, refused since too many streams have diaries, or failed.",
            ["outcome"],
            registry=registry,
        )
        self.diary_sentences_total = Counter(
            "onlooker_diary_sentences_total",
            "Clips that were worth a sentence by what became of them: written; silent or repeated, "
            "since there was nothing new to say; skipped or passed_over, since there was no room; "
            "failed.",
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
