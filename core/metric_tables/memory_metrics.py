"""Metrics of what is remembered: index, tiers, journal, album, diary."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class MemoryMetrics:
    """See `onlooker.core.metrics.Metrics`."""

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
        self.diary_vector_bytes = Gauge(
            "onlooker_diary_vectors_size_bytes",
            "Room that the vectors of the diary's sentences, by which they are found by meaning, "
            "take in memory.",
            registry=registry,
        )
        self.diary_vectors_total = Counter(
            "onlooker_diary_vectors_total",
            "Vectors of the diary's sentences: made; let_go for others, or deleted, later.",
            ["outcome"],
            registry=registry,
        )
