"""Settings of streams: how frames come in, become clips and are asked about."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from onlooker.core.address import AddressRules
from onlooker.core.settings import Section


class FleetSection(Section):
    """Several servers that share the Redis of `cache_store.redis`, and so the memory of streams. A
    stream is owned by one of them at a time."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")
    """This server's name, which no other server has and which stays over restarts. Null: host name
    and port."""

    url: str | None = None
    """Where clients and other servers reach this one, such as ``http://10.0.0.7:8000``. Null: host
    name and port."""

    lease_s: float = Field(default=10.0, ge=1, le=600)
    """How long a server that nothing is heard of keeps its streams. A server that cannot reach
    Redis for about three quarters of it closes its streams. A server whose port refuses connections
    is not waited for."""

    timeout_s: float = Field(default=1.0, gt=0, le=60)
    """Limit for each call to Redis about leases."""


class PerceptionSection(Section):
    """How frames become clips."""

    clip_interval_s: float = Field(default=1.0, gt=0, le=60)
    """One clip for every so many seconds of stream time: two frames are picked per interval, the
    others are skipped. Larger means less work and coarser memory."""

    max_pair_gap_s: float = Field(default=0.75, gt=0, le=60)
    """How long (stream time) a frame may wait for its partner; then it becomes a clip by itself,
    repeated. Sources slower than this get one clip per frame at once."""

    gate_threshold: float = Field(default=0.04, ge=0, le=1)
    """A frame is skipped as a near-duplicate when no part of it differs from the last kept frame
    by more than this share of the full brightness range. 0 keeps everything."""

    cut_threshold: float = Field(default=0.25, ge=0, le=1)
    """Mean difference from the previous frame above which a frame starts a new scene; a clip never
    spans two scenes."""

    refresh_s: float = Field(default=5.0, gt=0, le=3600)
    """A scene that does not change is shown to the model again after so many seconds."""

    decode_threads: int = Field(default=2, ge=1, le=64)
    """Threads that compare pictures, for all streams together; those that wait for decoder
    processes come on top."""


class DecodingSection(Section):
    """The processes that decode foreign pictures and video, and what each message may cost there.
    Budgets are in seconds of processor time, whatever else the machine does."""

    workers: int = Field(default=3, ge=1, le=64)
    """Messages that are decoded at the same time. Where there are two or more, no tenant gets the
    last of them."""

    patience_s: float = Field(default=0.05, ge=0.001, le=60)
    """A message that takes longer lets the next begin beside it; at most `workers` do so."""

    still_budget_s: float = Field(default=0.25, ge=0.01, le=60)
    """For one picture, streamed or brought by a question; one that takes more is dropped as
    `too_costly`."""

    megapixel_budget_s: float = Field(default=0.03, ge=0, le=10)
    """More of it for each million pixels that the picture has."""

    chunk_budget_s: float = Field(default=0.5, ge=0.01, le=60)
    """For one message of H.264, VP8 or VP9."""

    piece_budget_s: float = Field(default=5.0, ge=0.01, le=300)
    """For one piece of WebM or MP4, which may hold many pictures."""

    tenant_share: float = Field(default=2.0, gt=0, le=64)
    """Processor seconds a second above which a tenant waits behind those below it, and has one
    message decoded at a time."""

    max_offences: int = Field(default=3, ge=1, le=1000)
    """So many messages over their budget within `offence_window_s` have their stream (or the
    question pictures of their tenant) refused for `refuse_s`."""

    offence_window_s: float = Field(default=30.0, gt=0, le=86_400)
    """How long a message over its budget is held against its sender."""

    refuse_s: float = Field(default=30.0, gt=0, le=86_400)
    """How long such a sender's messages are dropped unread."""

    max_waiting: int = Field(default=256, ge=1, le=65_536)
    """Messages of one tenant that wait for their turn; question pictures beyond are refused, and
    streams, which wait with one message each, are not counted."""

    stall_s: float = Field(default=15.0, gt=0, le=3600)
    """When messages have waited so long without one of them being done, ``/readyz`` says so."""

    memory_mib: int = Field(default=2048, ge=512, le=65_536)
    """Address space of each process in MiB; it takes a fraction of it."""


class SourcesSection(Section):
    """What the server may pull by itself. The defaults keep it out of the network it runs in."""

    schemes: tuple[str, ...] = ("http", "https", "rtsp", "rtsps")
    """URL schemes that may be pulled; ``file`` needs `file_dirs` besides."""

    allow_hosts: tuple[str, ...] = ("*",)
    """Host names (``cam1.example.org``, ``*.example.org``) or networks (``192.0.2.0/24``) that may
    be pulled from; ``*`` is every public one."""

    allow_private: bool = False
    """Whether private, loopback and link-local addresses that `allow_hosts` matches may be reached.
    Off, only a network or an address written out in `allow_hosts` opens them."""

    file_dirs: tuple[Path, ...] = ()
    """Directories below which files may be opened; empty: no files."""

    open_timeout_s: float = Field(default=10.0, gt=0, le=300)
    """Time to connect and find the video."""

    read_timeout_s: float = Field(default=10.0, gt=0, le=300)
    """Time without a packet after which a live source counts as lost."""

    min_bytes_per_s: float = Field(default=100.0, ge=0, le=1e9)
    """Bytes a second that a network source must send at least while it is waited for, on average
    over `read_timeout_s`; a slower one counts as lost."""

    lookup_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """Time to look up the name of a source's host."""

    lookup_threads: int = Field(default=8, ge=1, le=256)
    """Names of hosts that are looked up at the same time; further ones wait for their turn."""

    max_redirects: int = Field(default=3, ge=0, le=10)
    """Redirects followed; every target is checked again."""

    reconnect_min_s: float = Field(default=0.5, gt=0, le=300)
    """First wait before a lost source is opened again; doubles each time."""

    reconnect_max_s: float = Field(default=30.0, gt=0, le=3600)
    """Longest wait between two attempts."""

    max_reconnects: int = Field(default=20, ge=0)
    """Attempts in a row without a single frame before the source is given up."""

    max_sources: int = Field(default=16, ge=0, le=1024)
    """Sources pulled at the same time; each has a thread."""

    @property
    def rules(self) -> AddressRules:
        """Which addresses and files sources may come from."""
        return AddressRules(
            what="source",
            used="pulled from",
            param="url",
            section="streams.sources",
            schemes=self.schemes,
            allow_hosts=self.allow_hosts,
            allow_private=self.allow_private,
            file_dirs=self.file_dirs,
        )


class StreamsSection(Section):
    """Streams: what they take in, how long they stay and what may be asked of them."""

    clock: Literal["live", "virtual"] = "live"
    """Clock of streams that do not choose one."""

    max_streams: int = Field(default=64, ge=1)
    """Streams open at the same time."""

    stream_idle_s: float = Field(default=600.0, gt=0)
    """A stream that nobody feeds, watches or asks for so long is closed."""

    max_fps: float = Field(default=60.0, gt=0, le=1000)
    """Frame messages a second that one stream takes in, with bursts of one second; more are dropped
    unread."""

    max_frame_bytes: int = Field(default=4 << 20, ge=1024)
    """Bytes of one encoded frame or container piece."""

    max_frame_pixels: int = Field(default=4096 * 4096, ge=1024)
    """Pixels of one frame, checked in its header before anything is decoded."""

    mailbox_frames: int = Field(default=4, ge=1, le=1024)
    """Pictures that wait to be decoded; in live mode the newest win."""

    mailbox_chunks: int = Field(default=120, ge=2, le=4096)
    """Messages of coded video that wait to be decoded; beyond, they drop to the next key frame."""

    mailbox_bytes: int = Field(default=16 << 20, ge=1 << 16)
    """Bytes that wait to be decoded, per stream."""

    max_lag_s: float = Field(default=5.0, gt=0)
    """A picture that waited longer is dropped; at half of it the source is asked to slow down."""

    fresh_wait_s: float = Field(default=0.25, ge=0, le=10)
    """How long a question about now waits for frames that have arrived but were not yet seen."""

    first_clip_wait_s: float = Field(default=10.0, ge=0, le=300)
    """How long a question waits when the model has seen nothing of the stream yet."""

    max_ask_wait_s: float = Field(default=60.0, gt=0)
    """How long a live question that names its time may wait for that time."""

    max_questions_per_stream: int = Field(default=4, ge=1)
    """Answers under way for one stream."""

    max_questions: int = Field(default=32, ge=1)
    """Answers under way in all."""

    events_retained: int = Field(default=1024, ge=16)
    """Events kept per stream for subscribers that come back; acknowledgements are not kept."""

    alerts_retained: int = Field(default=256, ge=1, le=100_000)
    """Alerts kept per stream for subscribers that come back."""

    perception: PerceptionSection = PerceptionSection()

    decoding: DecodingSection = DecodingSection()
    sources: SourcesSection = SourcesSection()
