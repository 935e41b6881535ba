"""Settings of the stores: how much is kept where, and for how long anything may take."""

from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from onlooker.core.guarantee import Guarantee
from onlooker.core.settings import Section

MIB = 1 << 20
GIB = 1 << 30

KvCodecName = Literal["raw", "int8", "int4"]
PolicyName = Literal["age", "lru"]


class SyncPolicy(StrEnum):
    """When the journal has its bytes on the disk, as Redis' ``appendfsync``."""

    ALWAYS = "always"
    EVERY_SECOND = "every_second"
    NEVER = "never"


class RamSection(Section):
    """Segments in this process' RAM."""

    budget_bytes: int = Field(default=GIB, ge=MIB)
    """All records together. Records that wait to be written may take as much as the write queues
    hold on top of it."""

    codec: KvCodecName = "raw"
    """How KV is kept: ``raw`` is exact and free; ``int8`` and ``int4`` take a half or a quarter of
    bfloat16's room, some precision, and time in the engine's own thread at each save and load."""

    policy: PolicyName = "age"
    """What goes first when it is full: ``age`` gives up old, rarely retrieved clips first and text
    last; ``lru`` what was unused for longest."""


class DiskSection(Section):
    """Segments in files. Survives a restart."""

    path: Path
    """A folder that no other process uses; made where it does not exist."""

    budget_bytes: int = Field(default=16 * GIB, ge=MIB)
    """All files together; leave room for the journal and the file system."""

    codec: KvCodecName = "raw"
    """The same choices as for `cache_store.memory.codec`; the work is done by the writer thread."""

    policy: PolicyName = "age"
    """The same choices as for `cache_store.memory.policy`."""

    read_threads: int = Field(default=4, ge=1, le=64)
    """Threads that share a large read: one alone leaves a disk half idle."""

    sync: bool = True
    """Whether a segment counts as durable only once the medium has it. Without, a crash of the
    process loses nothing, a loss of power the last seconds."""


class RedisSection(Section):
    """Segments in a Redis that other replicas share."""

    url: SecretStr
    """``redis://``, ``rediss://`` or ``unix://`` with the password, if any, in it."""

    namespace: str = Field(default="onlooker:1", pattern=r"^[A-Za-z0-9][A-Za-z0-9:._-]{0,63}$")
    """Starts the name of every key."""

    codec: KvCodecName = "raw"
    """The same choices as for `cache_store.memory.codec`; the work is done by the writer thread."""

    ttl_s: int | None = Field(default=7 * 86400, ge=1)
    """After how long a segment expires; null for never (then give Redis an eviction policy)."""

    timeout_s: float = Field(default=1.0, gt=0, le=60)
    """For each wait on the connection. A question waits for about this long at most when Redis
    hangs, and not at all once it is known to."""

    connect_timeout_s: float = Field(default=0.5, gt=0, le=60)
    """For making a connection."""

    slow_s: float = Field(default=2.0, gt=0, le=60)
    """A round trip over this counts as a failure."""

    max_failures: int = Field(default=2, ge=1, le=100)
    """Failures in a row after which Redis is left alone for a while."""

    min_backoff_s: float = Field(default=0.5, gt=0, le=3600)
    """How long it is left alone the first time; doubles with each failure after that."""

    max_backoff_s: float = Field(default=30.0, gt=0, le=3600)
    """The longest it is left alone."""

    batch_bytes: int = Field(default=8 * MIB, ge=1024, le=GIB)
    """Aimed at for one round trip."""

    batch_records: int = Field(default=256, ge=1, le=10_000)
    """The most segments in one round trip."""

    max_connections: int = Field(default=16, ge=2, le=1000)
    """Connections that may be open at once. Each thread that talks to Redis takes one: the engine's
    reader, the writer, and the one that writes again."""


class WriteOutSection(Section):
    """The queues between RAM and each lower tier."""

    max_bytes: int = Field(default=256 * MIB, ge=MIB)
    """Segments waiting for one tier. Full means that new ones are not durable and the caller is
    told; size it for the longest stall of the tier times the rate of new KV."""

    max_records: int = Field(default=4096, ge=1, le=1_000_000)
    """Likewise, as a count."""

    batch_bytes: int = Field(default=32 * MIB, ge=1024)
    """Where one write to a tier ends."""

    batch_records: int = Field(default=64, ge=1, le=10_000)
    """The most segments in one write to a tier."""

    max_attempts: int = Field(default=5, ge=1, le=1000)
    """How often a segment is tried when the tier fails; what a full tier refuses is not tried
    again."""

    retry_s: float = Field(default=1.0, gt=0, le=3600)
    """Pause after a failed write."""


class JournalSection(Section):
    """Encoded frames kept until the segment made of them is durable."""

    path: Path
    """A folder that no other process uses; made where it does not exist."""

    max_bytes: int = Field(default=2 * GIB, ge=MIB)
    """All files together. Full means that new frames are accepted without a guarantee."""

    rotate_bytes: int = Field(default=MIB, ge=64 * 1024)
    """Size of one file. A file goes once all its frames are durable, so each stream that is being
    watched takes about two of them."""

    max_streams: int = Field(default=1024, ge=1, le=100_000)
    """Streams with open files at once."""

    sync: SyncPolicy = SyncPolicy.EVERY_SECOND
    """``always``: an accepted frame survives a loss of power, at the price of one sync per frame.
    ``every_second``: it survives a crash of the process, and of the machine after about a second.
    ``never``: of the machine when its system gets round to it."""

    stall_s: float = Field(default=1.0, gt=0, le=60)
    """How long a frame waits for the journal; then it, and all others until the write has ended,
    are accepted without a guarantee."""

    settle_s: float = Field(default=1.0, gt=0, le=60)
    """How often the engine is asked which clips are durable, so that their frames can go."""


class CacheStoreSection(Section):
    """Where the KV of segments is kept beside the device."""

    memory: RamSection = RamSection()
    disk: DiskSection | None = None
    """Null: nothing survives a restart but what Redis has."""
    redis: RedisSection | None = None
    """Null: no other replica can go on with a stream."""
    write_out: WriteOutSection = WriteOutSection()
    journal: JournalSection | None = None
    """Null: frames whose segment is not yet durable are lost in a crash."""

    @property
    def survives(self) -> Guarantee:
        """What a segment survives once it is in the first tier below RAM."""
        if self.disk is None:
            return Guarantee.NONE if self.redis is None else Guarantee.PROCESS
        return Guarantee.MACHINE if self.disk.sync else Guarantee.PROCESS

    @model_validator(mode="after")
    def _journal_can_be_emptied(self) -> Self:
        if self.journal is not None and self.disk is None and self.redis is None:
            raise ValueError(
                "a journal keeps frames until their segments are on disk or in Redis: set "
                "cache_store.disk.path or cache_store.redis.url as well, or no journal"
            )
        return self
