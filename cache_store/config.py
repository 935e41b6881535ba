"""Settings of the stores: how much is kept where, and how long anything may take."""

from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from onlooker.core.guarantee import Guarantee
from onlooker.core.settings import Section

MIB = 1 << 20
GIB = 1 << 30

KvCodecName = Literal["raw", "int8", "int4", "cachegen"]
PolicyName = Literal["age", "lru"]


class SyncPolicy(StrEnum):
    """When the journal forces its bytes to the disk; the same choices as Redis' ``appendfsync``."""

    ALWAYS = "always"
    EVERY_SECOND = "every_second"
    NEVER = "never"


class RamSection(Section):
    """Segments in this process' RAM."""

    budget_bytes: int = Field(default=GIB, ge=MIB)
    """Limit for all records together. Records that wait to be written may take up to the size of
    the write queues on top of it."""

    codec: KvCodecName = "raw"
    """How KV is kept: ``raw`` is exact and free; ``int8`` and ``int4`` take a half or a quarter of
    bfloat16's room, some precision, and time in the engine's own thread at each save and load.
    ``cachegen`` takes a fifth or less and three to six times as long: for slow links, not for
    RAM."""

    policy: PolicyName = "age"
    """What goes first when RAM is full: ``age`` gives up old, rarely retrieved clips first and text
    last; ``lru`` gives up what was unused for longest."""


class DiskSection(Section):
    """Segments in files. Survives a restart."""

    path: Path
    """A folder that no other process uses; made where it does not exist."""

    budget_bytes: int = Field(default=16 * GIB, ge=MIB)
    """Limit for all files together; leave room for the journal and the file system."""

    codec: KvCodecName = "raw"
    """The same choices as for `cache_store.memory.codec`; the work is done by the writer thread."""

    policy: PolicyName = "age"
    """The same choices as for `cache_store.memory.policy`."""

    read_threads: int = Field(default=4, ge=1, le=64)
    """Threads that share a large read: one alone leaves a disk half idle."""

    timeout_s: float = Field(default=5.0, gt=0, le=600)
    """How long a read or a deletion is waited for when the disk, or the network share that the
    folder is on, hangs. Then the folder is not asked any more until the call has ended; what is
    there is missed, and what is to be deleted is deleted later."""

    sync: bool = True
    """Whether a segment counts as durable only once the medium has it. Where this is false, a crash
    of the process loses nothing, but a loss of power loses the last seconds."""


class RedisSection(Section):
    """Segments in a Redis that other replicas share."""

    url: SecretStr
    """``redis://``, ``rediss://`` or ``unix://`` with the password, if any, in it."""

    namespace: str = Field(default="onlooker:1", pattern=r"^[A-Za-z0-9][A-Za-z0-9:._-]{0,63}$")
    """The name of every key in Redis starts with this."""

    codec: KvCodecName = "raw"
    """The same choices as for `cache_store.memory.codec`; the work is done by the writer thread."""

    ttl_s: int | None = Field(default=7 * 86400, ge=1)
    """After how long a segment expires. Null means never; then give Redis an eviction policy."""

    timeout_s: float = Field(default=1.0, gt=0, le=60)
    """Limit for each wait on the connection. A question waits for about this long at most when
    Redis hangs, and not at all once Redis is known to hang."""

    connect_timeout_s: float = Field(default=0.5, gt=0, le=60)
    """Limit for making a connection."""

    slow_s: float = Field(default=2.0, gt=0, le=60)
    """A round trip that takes longer counts as a failure."""

    max_failures: int = Field(default=2, ge=1, le=100)
    """Failures in a row after which Redis is left alone for a while."""

    min_backoff_s: float = Field(default=0.5, gt=0, le=3600)
    """How long Redis is left alone the first time; the time doubles with each failure after
    that."""

    max_backoff_s: float = Field(default=30.0, gt=0, le=3600)
    """The longest time for which Redis is left alone."""

    batch_bytes: int = Field(default=8 * MIB, ge=1024, le=GIB)
    """Bytes aimed at for one round trip."""

    batch_records: int = Field(default=256, ge=1, le=10_000)
    """The most segments in one round trip."""

    list_timeout_s: float = Field(default=5.0, gt=0, le=600)
    """Limit for listing what is there of a stream, which takes many round trips and which the
    engine waits for when a stream is opened. What was not listed in time is missing, and told as
    incomplete. A Redis that holds many millions of keys of others may need more."""

    check_s: float = Field(default=1.0, gt=0, le=3600)
    """How often to look whether Redis still has what was stored: whether it came back empty,
    another server took over, or it evicts. A write looks too. Until what was lost is written again,
    streams tell the guarantee ``none``."""

    max_connections: int = Field(default=16, ge=2, le=1000)
    """Connections that may be open at once. Each thread that talks to Redis takes one: the engine's
    reader, the writer, those that write again and delete, and the one that looks whether records
    were lost."""


class WriteOutSection(Section):
    """The queues between RAM and each lower tier."""

    max_bytes: int = Field(default=256 * MIB, ge=MIB)
    """Limit for the segments that wait for one tier. Once the queue is full, new segments are not
    durable and the caller is told. Size it for the longest stall of the tier times the rate of new
    KV."""

    max_records: int = Field(default=4096, ge=1, le=1_000_000)
    """The most segments that may wait for one tier."""

    batch_bytes: int = Field(default=32 * MIB, ge=1024)
    """One write to a tier ends before it exceeds this, unless a single segment does."""

    batch_records: int = Field(default=64, ge=1, le=10_000)
    """The most segments in one write to a tier."""

    max_attempts: int = Field(default=5, ge=1, le=1000)
    """How often the writing of a segment is tried when the tier fails. What a full tier refuses is
    not tried again."""

    retry_s: float = Field(default=1.0, gt=0, le=3600)
    """How long the writer pauses after a failed write."""


class DeletionSection(Section):
    """The deleting of streams from the tiers below RAM, which goes on in the background. What is
    not done yet is noted in a folder, so that a restart goes on with it."""

    path: Path | None = None
    """The folder in which deletions are noted that are not done yet; made where it does not exist.
    Several servers may share it that keep segments in Redis alone. Null: ``deletions`` beside the
    disk tier, or else the journal; without these, as in a fleet that has all in Redis, what could
    not be deleted while Redis was away is forgotten with the process, and can only expire."""

    wait_s: float = Field(default=5.0, gt=0, le=600)
    """How long one attempt waits for a write to a tier that is under way."""

    min_retry_s: float = Field(default=1.0, gt=0, le=3600)
    """How long to wait after a tier could not be reached; the time doubles with each attempt after
    that."""

    max_retry_s: float = Field(default=60.0, gt=0, le=86400)
    """The longest time between attempts."""

    max_streams: int = Field(default=10_000, ge=1, le=1_000_000)
    """Deletions that may be pending at once. One more is given up, with a line in the log; what is
    left of its stream can only expire, or be evicted."""


class AlbumSection(Section):
    """A small picture of every clip, so that answers and alerts can show what they rest on."""

    enabled: bool = True
    """Whether pictures are kept."""

    path: Path | None = None
    """A folder that no other process uses; made where it does not exist. Where this is null,
    pictures are kept in the folder ``album`` beside the journal or the disk tier, and without those
    in memory, up to `memory_bytes`. In a fleet they are in its Redis, up to `redis_bytes`."""

    max_bytes: int = Field(default=4 * GIB, ge=MIB)
    """Limit for the pictures of all streams in files. Beyond it old and quiet stretches lose
    pictures first."""

    memory_bytes: int = Field(default=64 * MIB, ge=MIB)
    """The same for pictures in memory."""

    redis_bytes: int = Field(default=512 * MIB, ge=MIB)
    """The same for the pictures of all servers of a fleet, in Redis."""

    max_tenant_bytes: int | None = Field(default=None, ge=MIB)
    """Limit for the pictures of one tenant. Null: `max_bytes`."""

    max_stream_bytes: int | None = Field(default=None, ge=MIB)
    """Limit for the pictures of one stream. Null: `max_bytes`."""

    max_streams: int = Field(default=10_000, ge=1, le=1_000_000)
    """Streams that may have pictures at once, open or closed; others get none."""

    keep_for_s: float | None = Field(default=None, gt=0)
    """Seconds after which a picture is deleted. Null: it stays as long as there is room, and as
    long as its stream is kept (`streams.privacy.keep_for_s`)."""

    max_side: int = Field(default=448, ge=16, le=4096)
    """Pixels along the longer side of a picture; the model's frames have no more than theirs."""

    format: Literal["jpeg", "webp"] = "jpeg"
    """How pictures are encoded. ``webp`` takes a third less room and four times the work."""

    quality: int = Field(default=70, ge=1, le=95)
    """Quality of the encoding."""

    max_waiting_bytes: int = Field(default=64 * MIB, ge=MIB)
    """Limit for the frames that wait to be encoded. Beyond it clips get no picture."""

    max_pictures: int = Field(default=600, ge=1, le=10_000)
    """The most pictures in one reply, film or contact sheet."""

    timeout_s: float = Field(default=5.0, gt=0, le=600)
    """How long a read or a deletion is waited for."""


class DiarySection(Section):
    """Dated sentences that the model writes while it watches, and summaries of them, so that
    questions about hours and days can be answered."""

    enabled: bool | None = None
    """Whether a diary is written. Null: where the model has stream memory (`engine.mode` is
    ``segments``)."""

    path: Path | None = None
    """A folder that no other process uses; made where it does not exist. Where this is null, the
    diary is kept in the folder ``diary`` beside the journal or the disk tier, and without those in
    memory, up to `memory_bytes`. In a fleet it is in its Redis, up to `redis_bytes`."""

    max_bytes: int = Field(default=512 * MIB, ge=MIB)
    """Limit for the diaries of all streams in files. Beyond it the oldest sentences go first, and
    the summaries after them."""

    memory_bytes: int = Field(default=16 * MIB, ge=MIB)
    """The same for diaries in memory."""

    redis_bytes: int = Field(default=64 * MIB, ge=MIB)
    """The same for the diaries of all servers of a fleet, in Redis."""

    max_tenant_bytes: int | None = Field(default=None, ge=MIB)
    """Limit for the diaries of one tenant. Null: `max_bytes`."""

    max_stream_bytes: int | None = Field(default=None, ge=MIB)
    """Limit for the diary of one stream. Null: `max_bytes`."""

    max_streams: int = Field(default=10_000, ge=1, le=1_000_000)
    """Streams that may have diaries at once, open or closed; others get none."""

    keep_for_s: float | None = Field(default=None, gt=0)
    """Seconds after which an entry is deleted. Null: it stays as long as there is room, and as long
    as its stream is kept (`streams.privacy.keep_for_s`)."""

    max_together: int = Field(default=8, ge=1, le=64)
    """Changes of one stream that are gathered, at most, so that their sentences are written
    together: a sentence costs an engine step for each of its tokens, and those that are written
    together share them. Who reads the diary has those written that are gathered so far."""

    gather_s: float = Field(default=10.0, ge=0, le=600)
    """Seconds for which changes of live streams are gathered, at most; the sentences of all streams
    are written at the same moments. 0: each at once. On the virtual clock time bounds nothing."""

    max_writing: int = Field(default=8, ge=1, le=256)
    """Sentences that the model may be writing at once, of all streams; others wait for them."""

    max_per_minute: int = Field(default=30, ge=1, le=6000)
    """Sentences about any minute of a stream. Beyond it they are left out and counted, and the next
    one says what is there by then."""

    min_gap_s: float = Field(default=0.0, ge=0, le=3600)
    """The least stream time between two sentences about a live stream."""

    max_tokens: int = Field(default=48, ge=4, le=1024)
    """Tokens of one sentence."""

    max_summary_items: int = Field(default=24, ge=1, le=1000)
    """Things that a summary tells of, the rare ones first; of the rest it says how many."""

    max_waiting: int = Field(default=1024, ge=1, le=1_000_000)
    """Entries that wait to be written to where the diary is kept. Beyond it they are left out."""

    timeout_s: float = Field(default=5.0, gt=0, le=600)
    """How long a read or a deletion is waited for."""

    embedder: Path | None = None
    """A folder with a model2vec model, by which questions about the past find sentences that say
    what is asked for in other words. Takes the extra ``meaning``. Null: they are found by their
    words alone."""

    min_nearness: float = Field(default=0.25, gt=0, le=1)
    """How near in meaning to what is asked for a sentence must be to be checked for it, as the
    cosine of their vectors. It depends on the model of `embedder`."""

    max_near: int = Field(default=64, ge=1, le=10_000)
    """Sentences that one question has checked for their meaning, at most: the nearest."""

    vector_bytes: int = Field(default=64 * MIB, ge=MIB)
    """Limit for the vectors of all streams' sentences in memory. Beyond it those of streams that
    were not asked for longest go, and are made again when they are."""


JournalStore = Literal["auto", "file", "redis", "none"]


class JournalSection(Section):
    """Encoded frames kept until the segment made of them is durable."""

    store: JournalStore = "auto"
    """Where they are kept. ``file``: in a file in `path`, which this server finds again. ``redis``:
    in the Redis of `cache_store.redis`, where the next owner of a stream finds them, so that they
    survive the loss of this server. ``none``: nowhere. ``auto``: in Redis in a fleet, else in a
    file where `path` is set."""

    path: Path | None = None
    """A folder that no other process uses; made where it does not exist. Watches and what is known
    of streams are kept beside the frames, also where those are in Redis."""

    max_bytes: int = Field(default=2 * GIB, ge=MIB)
    """Limit for the frames of this server. Once the journal is full, new frames are accepted
    without a guarantee. The files may take `wal_bytes` and the room of a former peak on top."""

    wal_bytes: int = Field(default=16 * MIB, ge=MIB, le=GIB)
    """Size at which SQLite's log is copied into its file, both in `path`. Most frames are let go of
    before they are copied where it is large."""

    max_streams: int = Field(default=1024, ge=1, le=100_000)
    """Streams of this server that may have frames in the journal at once."""

    batch_bytes: int = Field(default=8 * MIB, ge=64 * 1024, le=GIB)
    """The frames of one commit, or of one round trip to Redis, end before they exceed this, unless
    those of a single message do."""

    wait_replicas: int = Field(default=0, ge=0, le=16)
    """How many replicas of Redis are to have a frame before it is acknowledged as ``replicated``.
    Where fewer have it in time it is acknowledged as ``server``."""

    wait_s: float = Field(default=0.25, gt=0, le=60)
    """How long the replicas are waited for; at most half of `cache_store.redis.timeout_s`."""

    sync: SyncPolicy = SyncPolicy.EVERY_SECOND
    """``always``: an accepted frame survives a loss of power, at the price of one sync per frame.
    ``every_second``: it survives a crash of the process, and one of the machine after about a
    second. ``never``: it survives a crash of the process, and one of the machine once the system
    has written it out."""

    stall_s: float = Field(default=1.0, gt=0, le=60)
    """How long a frame waits for the journal. After that, this frame and all others are accepted
    without a guarantee until the write has ended."""

    settle_s: float = Field(default=1.0, gt=0, le=60)
    """How often the engine is asked which clips are durable, so that their frames can go."""

    alike_s: float = Field(default=1.0, gt=0, le=3600)
    """How often (stream time) it is noted that the picture is still the same, for a picture that
    nothing is kept of. So much of it may be forgotten in a crash."""


class CacheStoreSection(Section):
    """Where the KV of segments is kept beside the device."""

    memory: RamSection = RamSection()
    disk: DiskSection | None = None
    """Where this is null, nothing survives a restart but what Redis has."""
    redis: RedisSection | None = None
    """Where this is null, no other replica can go on with a stream."""
    write_out: WriteOutSection = WriteOutSection()
    deletion: DeletionSection = DeletionSection()

    reads_beside: int = Field(default=4, ge=0, le=64)
    """How many reads of Redis may go on while the disk is read for the same question. Others ask
    one after the other; ``onlooker_store_moves_total{move="read_in_turn"}`` counts them."""

    album: AlbumSection = AlbumSection()
    diary: DiarySection = DiarySection()
    journal: JournalSection | None = None
    """Where this is null, and the server is not one of a fleet, frames whose segment is not yet
    durable are lost in a crash."""

    @property
    def survives(self) -> Guarantee:
        """What a segment survives once it is in the first tier below RAM."""
        if self.disk is not None:
            return Guarantee.MACHINE if self.disk.sync else Guarantee.PROCESS
        if self.redis is None:
            return Guarantee.NONE
        if self.journal is not None and self.journal.store == "redis":
            # Frames leave Redis after their segments came, and replicas hear of it in that order.
            return Guarantee.REPLICATED
        return Guarantee.PROCESS

    @property
    def folder(self) -> Path | None:
        """Where what is known of streams is kept: beside the journal, or else the segments."""
        if self.journal is not None and self.journal.path is not None:
            return self.journal.path
        return None if self.disk is None else self.disk.path

    def placed(self, *, is_fleet: bool) -> Self:
        """These settings with the place of the journal chosen: its `store` is ``file`` or
        ``redis``, or there is none."""
        section = self.journal
        if section is None:
            section = JournalSection(store="auto" if is_fleet else "none")
        store = section.store
        if store == "auto":
            store = "redis" if is_fleet else "file"
        placed = None if store == "none" else section.model_copy(update={"store": store})
        return self.model_copy(update={"journal": placed})

    @model_validator(mode="after")
    def _journal_can_be_kept(self) -> Self:
        journal = self.journal
        if journal is None or journal.store == "none":
            return self
        if self.disk is None and self.redis is None:
            raise ValueError(
                "a journal keeps frames until their segments are on disk or in Redis: set "
                "cache_store.disk.path or cache_store.redis.url as well, or no journal"
            )
        if journal.store == "file" and journal.path is None:
            raise ValueError("a journal in a file needs a folder: set cache_store.journal.path")
        if journal.store == "redis" and self.redis is None:
            raise ValueError("a journal in Redis needs an address: set cache_store.redis.url")
        return self
