"""`Shared`: what all streams of a server have in common."""

from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import tzinfo

from onlooker.core.clock import Clock
from onlooker.core.metrics import Metrics
from onlooker.core.tracer import Tracer
from onlooker.engine.supervisor import EngineSupervisor
from onlooker.streams.album.album_keeper import AlbumKeeper
from onlooker.streams.config import StreamsSection
from onlooker.streams.decoding.desk import Decoding
from onlooker.streams.diary.diary_keeper import DiaryKeeper
from onlooker.streams.ownership import Ownership
from onlooker.streams.tenancy.accounts import Accounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all streams of a server have in common; made once, with the hub."""

    engine: EngineSupervisor
    clock: Clock
    metrics: Metrics
    settings: StreamsSection
    pool: Executor
    """The threads on which pictures are compared, off the event loop."""
    ownership: Ownership | None = None
    """Which streams are this server's; None where there is no other server."""
    decoding: Decoding
    """Where what strangers send is decoded."""
    albums: AlbumKeeper | None = None
    """The pictures of all streams; None where none are kept."""
    diaries: DiaryKeeper | None = None
    """The diaries of all streams; None where none are written."""
    accounts: Accounts
    """What tenants may have and do, and what they have and did."""
    zone: tzinfo | None = None
    """The time zone in which questions name clock times; None: the machine's own."""
    tracer: Tracer | None = None
    """What records traces; None where there are none."""
