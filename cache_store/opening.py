"""Builds the store and the journal from their settings."""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from onlooker.cache_store.album import Album
from onlooker.cache_store.albums.redis_album import RedisAlbum
from onlooker.cache_store.albums.sqlite_album import SqliteAlbum
from onlooker.cache_store.albums.thinning import Budgets
from onlooker.cache_store.breaker import CircuitBreaker
from onlooker.cache_store.codecs.table import CODECS
from onlooker.cache_store.config import (
    AlbumSection,
    CacheStoreSection,
    DiarySection,
    DiskSection,
    JournalSection,
    PolicyName,
    RedisSection,
    WriteOutSection,
)
from onlooker.cache_store.deleter import Deleter
from onlooker.cache_store.diaries.redis_diary import RedisDiary
from onlooker.cache_store.diaries.sqlite_diary import SqliteDiary
from onlooker.cache_store.diary import Diary
from onlooker.cache_store.eviction import AgeAware, EvictionPolicy, Lru
from onlooker.cache_store.fence import Fences
from onlooker.cache_store.journal import FrameJournal
from onlooker.cache_store.journals.redis_journal import RedisJournal
from onlooker.cache_store.journals.sqlite_journal import SqliteJournal, has_frames
from onlooker.cache_store.refill import OnDoubt
from onlooker.cache_store.tier import StoreTier
from onlooker.cache_store.tiered_store import OnDurable, TieredStore
from onlooker.cache_store.tiers.disk import DiskTier
from onlooker.cache_store.tiers.memory import MemoryTier
from onlooker.cache_store.tiers.patient import PatientTier
from onlooker.cache_store.tiers.redis import RedisTier
from onlooker.cache_store.tiers.redis_link import RedisLink
from onlooker.cache_store.tombstones import Tombstones
from onlooker.cache_store.write_out import WriteOut
from onlooker.core.backoff import Backoff
from onlooker.core.clock import Clock, SystemClock
from onlooker.core.errors import ConfigError

logger = logging.getLogger(__name__)

JOURNAL_CONNECTIONS = 4
"""Connections to Redis for the journal: one for the thread that writes, one for the one that
deletes, and some to spare."""

POLICIES: dict[PolicyName, Callable[[], EvictionPolicy]] = {"age": AgeAware, "lru": Lru}


def open_store(
    section: CacheStoreSection,
    *,
    clock: Clock,
    on_durable: OnDurable | None = None,
    on_doubt: OnDoubt | None = None,
) -> TieredStore:
    """Open a store and start it; closing it writes what still waits.

    Redis need not be there yet. `on_durable` and `on_doubt`: see `TieredStore`.

    Raises:
        ConfigError: a folder cannot be used, or the address of Redis is malformed.
    """
    fences = Fences()
    memory = MemoryTier(
        budget_bytes=section.memory.budget_bytes, policy=POLICIES[section.memory.policy]()
    )
    write_outs = []
    disk = redis = None
    if section.redis is not None:
        redis = open_redis(section.redis, clock=clock, fences=fences)
        write_outs.append(write_out(redis, section.redis.codec, section.write_out))
    if section.disk is not None:
        disk = open_disk(section.disk)
        patient = PatientTier(
            disk, timeout_s=section.disk.timeout_s, read_threads=section.disk.read_threads
        )
        write_outs.insert(0, write_out(patient, section.disk.codec, section.write_out))
    store = TieredStore(
        memory,
        write_outs,
        memory_codec=CODECS[section.memory.codec],
        on_durable=on_durable,
        on_doubt=on_doubt,
        deleter=_deleter(write_outs, section, fences),
        fences=fences,
        max_beside=section.reads_beside,
    )
    if disk is not None:
        name = disk.name
        disk.on_evicting = lambda keys, read: store.demote(name, keys, read)
    store.start()
    if redis is not None:
        redis_name = redis.name
        redis.watch.start(
            on_doubt=lambda reason: store.doubt(redis_name),
            on_may_evict=lambda may_evict: store.note_may_evict(redis_name, may_evict),
        )
    return store


def open_disk(section: DiskSection) -> DiskTier:
    """Open the disk tier. Raises ConfigError when its folder cannot be used."""
    try:
        return DiskTier(
            section.path,
            budget_bytes=section.budget_bytes,
            policy=POLICIES[section.policy](),
            sync=section.sync,
            read_threads=section.read_threads,
        )
    except OSError as error:
        raise ConfigError(
            f"cannot use the folder of the disk tier (setting cache_store.disk.path): {error}"
        ) from error


def open_album(
    section: AlbumSection, folder: Path | None, *, shared: RedisSection | None = None
) -> Album:
    """Open an album; `folder`: where other things of streams are kept, if anywhere. `shared`: in
    the Redis of a fleet, which need not be there yet.

    Raises:
        ConfigError: the folder or the file cannot be used.
    """
    root = section.path or (None if folder is None else folder / "album")
    budgets = _budgets(section, has_root=root is not None, is_shared=shared is not None)
    if shared is not None:
        return RedisAlbum(
            shared.url.get_secret_value(),
            namespace=shared.namespace,
            budgets=budgets,
            timeout_s=shared.timeout_s,
        )
    try:
        return SqliteAlbum(root, budgets)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(
            "cannot use the folder of the album (setting cache_store.album.path, or beside the "
            f"journal): {error}"
        ) from error


def open_diary(
    section: DiarySection, folder: Path | None, *, shared: RedisSection | None = None
) -> Diary:
    """Open a diary, as `open_album` opens an album.

    Raises:
        ConfigError: the folder or the file cannot be used.
    """
    root = section.path or (None if folder is None else folder / "diary")
    budgets = _budgets(section, has_root=root is not None, is_shared=shared is not None)
    if shared is not None:
        return RedisDiary(
            shared.url.get_secret_value(),
            namespace=shared.namespace,
            budgets=budgets,
            timeout_s=shared.timeout_s,
        )
    try:
        return SqliteDiary(root, budgets)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(
            "cannot use the folder of the diary (setting cache_store.diary.path, or beside the "
            f"journal): {error}"
        ) from error


def open_journal(
    section: JournalSection, *, redis: RedisSection | None = None, clock: Clock | None = None
) -> FrameJournal:
    """Open a journal where `CacheStoreSection.placed` said, and start it. `redis`, `clock`: for
    one in Redis, which need not be there yet.

    Raises:
        ConfigError: its folder cannot be used, or it has no place.
    """
    if section.store == "redis":
        assert redis is not None, "settings see to it"
        return _open_redis_journal(section, redis, clock or SystemClock())
    if section.path is None:
        raise ConfigError(
            "the journal has no place: set cache_store.journal.path to a folder, or "
            "cache_store.journal.store to redis (where cache_store.redis.url is set) or to none"
        )
    try:
        journal = SqliteJournal(
            section.path,
            max_bytes=section.max_bytes,
            max_streams=section.max_streams,
            sync=section.sync,
            wal_bytes=section.wal_bytes,
        )
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(
            f"cannot use the folder of the journal (setting cache_store.journal.path): {error}"
        ) from error
    journal.start()
    return journal


def open_redis(section: RedisSection, *, clock: Clock, fences: Fences | None = None) -> RedisTier:
    """Make the Redis tier, which connects when it is first used. Raises ConfigError when the
    address is malformed."""
    return RedisTier(
        _link(section, clock, max_connections=section.max_connections),
        namespace=section.namespace,
        ttl_s=section.ttl_s,
        batch_bytes=section.batch_bytes,
        batch_records=section.batch_records,
        list_timeout_s=section.list_timeout_s,
        check_s=section.check_s,
        fences=fences,
    )


def _budgets(section: AlbumSection | DiarySection, *, has_root: bool, is_shared: bool) -> Budgets:
    max_bytes = section.max_bytes if has_root else section.memory_bytes
    max_bytes = section.redis_bytes if is_shared else max_bytes
    return Budgets(
        max_bytes=max_bytes,
        max_tenant_bytes=section.max_tenant_bytes or max_bytes,
        max_stream_bytes=section.max_stream_bytes or max_bytes,
        max_streams=section.max_streams,
    )


def _open_redis_journal(section: JournalSection, redis: RedisSection, clock: Clock) -> RedisJournal:
    if section.path is not None and has_frames(section.path):
        logger.warning(
            "a journal in a file was found, and is not read: frames that were not stored when this "
            "server last ended are in it. Start it once with cache_store.journal.store = file to "
            "have them, or delete the files",
            extra={"setting": "cache_store.journal.path"},
        )
    journal = RedisJournal(
        _link(redis, clock, max_connections=JOURNAL_CONNECTIONS),
        namespace=redis.namespace,
        max_bytes=section.max_bytes,
        max_streams=section.max_streams,
        ttl_s=redis.ttl_s,
        wait_replicas=section.wait_replicas,
        wait_s=min(section.wait_s, redis.timeout_s / 2),
    )
    journal.start()
    return journal


def _link(section: RedisSection, clock: Clock, *, max_connections: int) -> RedisLink:
    breaker, adding = (
        CircuitBreaker(
            max_failures=max_failures,
            min_backoff_s=section.min_backoff_s,
            max_backoff_s=section.max_backoff_s,
            clock=clock,
        )
        for max_failures in (section.max_failures, 1)
    )
    try:
        return RedisLink(
            section.url.get_secret_value(),
            timeout_s=section.timeout_s,
            connect_timeout_s=section.connect_timeout_s,
            slow_s=section.slow_s,
            max_connections=max_connections,
            breaker=breaker,
            adding=adding,
            clock=clock,
        )
    except ValueError as error:
        raise ConfigError(
            "the address of Redis (setting cache_store.redis.url) must start with redis://, "
            "rediss:// or unix://"
        ) from error


def write_out(tier: StoreTier, codec: str, section: WriteOutSection) -> WriteOut:
    """The queue before a lower tier, not yet started."""
    return WriteOut(
        tier,
        codec=CODECS[codec],
        max_bytes=section.max_bytes,
        max_records=section.max_records,
        batch_bytes=section.batch_bytes,
        batch_records=section.batch_records,
        max_attempts=section.max_attempts,
        retry_s=section.retry_s,
    )


def _deletions_folder(section: CacheStoreSection) -> Path | None:
    """Where deletions that are not done are noted; None where there is no folder for it."""
    if section.deletion.path is not None:
        return section.deletion.path
    folder = section.folder if section.disk is None else section.disk.path
    return None if folder is None else folder / "deletions"


def _deleter(write_outs: Sequence[WriteOut], section: CacheStoreSection, fences: Fences) -> Deleter:
    settings = section.deletion
    return Deleter(
        write_outs,
        tombstones=Tombstones(_deletions_folder(section)),
        fences=fences,
        wait_s=settings.wait_s,
        backoff=Backoff(settings.min_retry_s, settings.max_retry_s),
        max_streams=settings.max_streams,
    )
