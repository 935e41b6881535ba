"""Makes what keeps things of streams beside their memory: journal, album, diary, drawer."""

from importlib.util import find_spec

from onlooker.cache_store.config import DiarySection
from onlooker.cache_store.opening import open_album, open_diary, open_journal
from onlooker.cache_store.redis_drawer import RedisDrawer
from onlooker.core.clock import Clock
from onlooker.core.drawer import StreamDrawer
from onlooker.core.errors import ConfigError
from onlooker.core.file_drawer import FileDrawer
from onlooker.core.metrics import Metrics
from onlooker.server.config import Settings
from onlooker.streams.album.album_keeper import AlbumKeeper
from onlooker.streams.belongings import (
    ALERTS,
    NAMEPLATE,
    ORIGIN,
    PRIVACY,
    REFERENCE,
    WATCHES,
)
from onlooker.streams.diary.diary_keeper import DiaryKeeper
from onlooker.streams.journaling import JournalKeeper
from onlooker.streams.meaning.meanings import Meanings
from onlooker.streams.standing_orders import ORDERS


def make_journal(settings: Settings, clock: Clock, metrics: Metrics) -> JournalKeeper | None:
    """What keeps frames until their segments are stored; None where nothing does.

    Raises:
        ConfigError: its folder cannot be used.
    """
    store = settings.store
    if store.journal is None or settings.engine.mode == "resend":  # it stores nothing
        return None
    journal = open_journal(store.journal, redis=store.redis, clock=clock)
    return JournalKeeper(journal, settings=store.journal, clock=clock, metrics=metrics)


def make_albums(settings: Settings, *, clock: Clock, metrics: Metrics) -> AlbumKeeper | None:
    """Where pictures of clips are kept; None where none are.

    Raises:
        ConfigError: the album's folder cannot be used.
    """
    section = settings.cache_store.album
    if not section.enabled:
        return None
    shared = None if settings.fleet is None else settings.cache_store.redis
    album = open_album(section, settings.store.folder, shared=shared)
    return AlbumKeeper(album, settings=section, clock=clock, metrics=metrics)


def make_diaries(settings: Settings, *, clock: Clock, metrics: Metrics) -> DiaryKeeper | None:
    """Where diaries are kept; None where none are written.

    Raises:
        ConfigError: the diary's folder cannot be used, nor that of its embedder, or the extra for
            that is missing.
    """
    section = settings.cache_store.diary
    is_on = settings.engine.mode == "segments" if section.enabled is None else section.enabled
    if not is_on:
        return None
    shared = None if settings.fleet is None else settings.cache_store.redis
    meanings = _make_meanings(section, clock, metrics)
    diary = open_diary(section, settings.store.folder, shared=shared)
    return DiaryKeeper(diary, settings=section, clock=clock, metrics=metrics, meanings=meanings)


def _make_meanings(section: DiarySection, clock: Clock, metrics: Metrics) -> Meanings | None:
    """What finds sentences by meaning; None where the settings name no embedder."""
    if section.embedder is None:
        return None
    if find_spec("model2vec") is None:
        raise ConfigError(
            "cache_store.diary.embedder is set, and the extra for it is missing: pip install "
            "'onlooker[meaning]'"
        )
    from onlooker.streams.meaning.static_embedder import StaticEmbedder

    embedder = StaticEmbedder(section.embedder)
    return Meanings(embedder, settings=section, clock=clock, metrics=metrics)


def make_drawer(settings: Settings) -> StreamDrawer | None:
    """Where what belongs to streams outlives the server; None where nothing does."""
    store, fleet = settings.store, settings.fleet
    if fleet is not None and store.redis is not None:
        return RedisDrawer(
            store.redis.url.get_secret_value(),
            namespace=store.redis.namespace,
            max_streams=settings.streams.max_kept_streams,
            timeout_s=fleet.timeout_s,
        )
    if store.folder is None:
        return None
    return FileDrawer(
        store.folder,
        folders=(PRIVACY, ORIGIN, WATCHES, ALERTS, NAMEPLATE, REFERENCE, ORDERS),
        max_streams=settings.streams.max_kept_streams,
    )
