"""Settings of streams: how frames come in, become clips and are asked about."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from onlooker.core.address import AddressRules
from onlooker.core.cores import num_cores
from onlooker.core.settings import Section
from onlooker.streams.masks import Mask
from onlooker.streams.moments.config import MomentsSection

Scheme = Literal["http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp", "file"]
"""What the addresses of sources may begin with."""


def _network(text: str) -> str:
    ipaddress.ip_network(text, strict=False)
    return text


Network = Annotated[str, AfterValidator(_network)]
"""An IP address, or a network such as ``239.0.0.0/8``."""


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

    connect_s: float = Field(default=1.0, gt=0, le=60)
    """Limit for connecting to another server. One that does not take a connection in time may have
    vanished with its machine: calls about its streams get 503 until its leases have run out."""

    hold_s: float = Field(default=2.0, ge=0, le=60)
    """For how long a server that could not be connected to is not tried again by every call; one
    call at a time tries after that."""

    relay: bool = True
    """Whether calls and connections about a stream that another server owns are passed on to it.
    False: they are answered with 421 and the owner's address."""

    relay_timeout_s: float = Field(default=120.0, gt=0, le=3600)
    """How long the owner of a stream may be silent in a call that is passed on to it."""

    notice_s: float = Field(default=2.0, gt=0, le=60)
    """How often this server tells the others how it is (`GET /v1/servers`), and hears how they are.
    Each hears all, so that what this asks of Redis goes with the square of the number of servers:
    with more than a hundred, take 10."""

    margin: float = Field(default=0.2, ge=0, le=1)
    """A new stream is opened by the server that was asked for it, unless another one has so much
    more room, as a share of what a server can do. 1: unless it is full."""

    ca: Path | None = None
    """PEM file of the authority whose certificates the servers show each other, where their `url`
    is https. Null: the authorities that this machine trusts."""


class HealthSection(Section):
    """Camera health: views that are black, blocked, frozen, blurred or moved, found without the
    model by comparing thumbnails with what the view usually looks like."""

    enabled: bool = True
    """Whether views are looked after at all."""

    sample_s: float = Field(default=1.0, ge=0.1, le=60)
    """Stream time between two pictures that are compared."""

    warm_up_s: float = Field(default=30.0, ge=1, le=3600)
    """A view must have been seen for so long before it can be blocked, frozen, blurred or moved;
    black it can be at once."""

    hold_s: float = Field(default=5.0, ge=0, le=3600)
    """ViewTrouble is told once it has lasted so long, and so is its end."""

    frozen_s: float = Field(default=20.0, ge=1, le=3600)
    """So many seconds of pictures must have been the same for a view to be frozen. Of sources
    without noise, such as a shared screen, it never is."""

    relearn_s: float = Field(default=600.0, ge=10, le=86_400)
    """A view that was moved for so long is the usual one from then on, and well again."""

    black_level: float = Field(default=16.0, ge=0, le=128)
    """Mean brightness (0-255) up to which a picture without contrast is black."""

    blocked_ratio: float = Field(default=0.25, ge=0, le=1)
    """A part of a view with less than this share of its usual edges is flat; a view most of whose
    parts are is blocked."""

    blurred_ratio: float = Field(default=0.25, ge=0, le=1)
    """A view with less than this share of its usual fine detail is blurred."""

    moved_ratio: float = Field(default=0.5, ge=0, le=1)
    """A view in which this share of the parts shows edges elsewhere than usual, and hardly any part
    shows them where they were, has moved."""


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

    hold_s: float = Field(default=2.0, gt=0, le=3600)
    """How long (stream time) a picture stands for what was there while no other is looked at. A
    question about a time that was seen is answered from the clip that was kept last before it;
    longer gaps count as not seen, and the first picture after one is always kept. A stream that
    looks at fewer frames by its own choice holds each for two intervals at least."""

    health: HealthSection = HealthSection()
    """Whether and how cameras are looked after."""

    decode_threads: int = Field(default=2, ge=1, le=64)
    """Threads that compare pictures, for all streams together; those that wait for decoder
    processes come on top."""


class DecodingSection(Section):
    """The processes that decode foreign pictures and video, and what each message may cost there.
    Budgets are in seconds of processor time, whatever else the machine does."""

    workers: int | None = Field(default=None, ge=1, le=256)
    """Messages that are decoded at the same time. Where there are two or more, no tenant gets the
    last of them. None: one more than there are cores."""

    patience_s: float = Field(default=0.05, ge=0.001, le=60)
    """A message that takes longer lets the next begin beside it; at most `workers` do so."""

    still_budget_s: float = Field(default=0.25, ge=0.01, le=60)
    """For one picture, streamed or brought by a question; one that takes more is dropped as
    `too_costly`."""

    megapixel_budget_s: float = Field(default=0.03, ge=0, le=10)
    """More of it for each million pixels that the picture has."""

    chunk_budget_s: float = Field(default=0.5, ge=0.01, le=60)
    """For one message of H.264, VP8 or VP9, and, with what its pixels add, for one packet of a
    pulled source."""

    open_budget_s: float = Field(default=2.0, ge=0.01, le=300)
    """For opening a pulled source: finding out what it is, and its first picture."""

    piece_budget_s: float = Field(default=5.0, ge=0.01, le=300)
    """For one piece of WebM or MP4, which may hold many pictures."""

    tenant_share: float | None = Field(default=None, gt=0, le=256)
    """Processor seconds a second above which a tenant waits behind those below it, and has one
    message decoded at a time. None: as many as there are cores."""

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

    @property
    def num_workers(self) -> int:
        """`workers`, as this machine has it."""
        return min(256, num_cores() + 1) if self.workers is None else self.workers

    @property
    def share(self) -> float:
        """`tenant_share`, as this machine has it."""
        return float(num_cores()) if self.tenant_share is None else self.tenant_share


class SourcesSection(Section):
    """What the server may pull by itself. The defaults keep it out of the network it runs in."""

    schemes: tuple[Scheme, ...] = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp")
    """URL schemes that may be pulled. Files need `file_dirs`; ``udp``, and ``srt`` where it waits
    to be called, need `listen_on`."""

    allow_hosts: tuple[str, ...] = ("*",)
    """Host names (``cam1.example.org``, ``*.example.org``) or networks (``192.0.2.0/24``) that may
    be pulled from; ``*`` is every public one."""

    allow_private: bool = False
    """Whether private, loopback and link-local addresses that `allow_hosts` matches may be reached.
    Off, only a network or an address written out in `allow_hosts` opens them."""

    file_dirs: tuple[Path, ...] = ()
    """Directories below which files may be opened; empty: no files."""

    listen_on: tuple[Network, ...] = ()
    """Addresses of this machine (``192.0.2.7``, ``0.0.0.0`` for all of them) and multicast groups
    (``239.0.0.0/8``) at which a source may have the server wait for UDP or SRT; empty: nowhere.
    Senders are heard only where `allow_hosts` and `allow_private` let them be pulled from."""

    listen_min_port: int = Field(default=1024, ge=1, le=65_535)
    """Lowest port that a source may have the server listen at."""

    listen_max_port: int = Field(default=65_535, ge=1, le=65_535)
    """Highest port that a source may have the server listen at."""

    min_every_s: float = Field(default=0.2, gt=0, le=3600)
    """Least time between two fetches of a picture that a source may ask for."""

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

    max_drift_s: float = Field(default=5.0, ge=0.5, le=600)
    """How far a live source's own time and the clock may be apart before the time counts at which
    its pictures arrive; twice as much at once is a jump."""

    max_redirects: int = Field(default=3, ge=0, le=10)
    """Redirects followed; every target is checked again."""

    reconnect_min_s: float = Field(default=0.5, gt=0, le=300)
    """First wait before a lost source is opened again; doubles each time."""

    reconnect_max_s: float = Field(default=30.0, gt=0, le=3600)
    """Longest wait between two attempts. A live source that has given a picture is tried again for
    as long as its stream is open, whatever it answers."""

    first_attempts: int = Field(default=3, ge=1, le=1000)
    """Attempts before a source that has never given a picture has failed. A recording that breaks
    off is opened so often to hear the rest of it."""

    max_sources: int = Field(default=16, ge=0, le=1024)
    """Sources pulled at the same time; each has a thread. One that is lost keeps its place, so that
    it can come back; closing its stream frees it."""

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


class ImportsSection(Section):
    """Recordings that the server imports in the background
    (``POST /v1/streams/{stream}/imports``)."""

    path: Path | None = None
    """Folder for uploads and for the list of imports, which are gone on with after a restart. Null:
    a temporary one, and imports end with the server."""

    max_upload_bytes: int = Field(default=8 << 30, ge=1 << 10)
    """Bytes that one recording may have, uploaded or fetched. It is deleted when it has been
    imported."""

    upload_timeout_s: float = Field(default=3600.0, gt=0, le=86_400)
    """Time for a recording to come in."""

    max_running: int = Field(default=1, ge=1, le=64)
    """Imports that go on at the same time, of all tenants; others wait."""

    processes: int = Field(default=1, ge=1, le=16)
    """Decoder processes of each import; they give way to whatever else the machine does."""

    max_tenant_jobs: int = Field(default=16, ge=1, le=4096)
    """Imports of one tenant that come in, wait or go on; further ones are refused."""

    max_kept: int = Field(default=64, ge=0, le=65_536)
    """Imports of one tenant that are over and can still be asked about."""

    max_recorded_s: float = Field(default=7 * 86_400.0, gt=0, le=30 * 86_400)
    """Length of one recording, by its own times."""

    picture_budget_s: float = Field(default=60.0, ge=0.1, le=3600)
    """Processor time from one picture that is wanted to the next, after which a decoder process is
    ended and the import has failed."""

    patience_s: float = Field(default=120.0, ge=1, le=3600)
    """How long a decoder process may do nothing before it is ended."""

    memory_mib: int = Field(default=4096, ge=512, le=65_536)
    """Address space of each decoder process in MiB; it takes a fraction of it."""


class WebRtcSection(Section):
    """Video that comes in over WebRTC (``POST /v1/whip/{stream}``), where the extra ``webrtc`` is
    installed."""

    max_sessions: int = Field(default=32, ge=0, le=4096)
    """Sessions at the same time, of all tenants; 0 takes none."""

    max_tenant_sessions: int = Field(default=16, ge=1, le=4096)
    """Sessions of one tenant at the same time."""

    connect_timeout_s: float = Field(default=20.0, gt=0, le=300)
    """A session over which nothing can be sent after so long is ended."""

    idle_s: float = Field(default=10.0, gt=0, le=3600)
    """A session that sends no whole frame for so long is ended."""

    max_offer_bytes: int = Field(default=24 << 10, ge=1024, le=1 << 20)
    """Bytes of an SDP offer, or of candidates that come later; those of browsers have about 10,000.
    """

    max_candidates: int = Field(default=32, ge=1, le=256)
    """Addresses of one peer that are tried; others are left out. Each is sent a few packets of a
    hundred bytes before it has answered, and no more."""

    max_bits_per_s: int = Field(default=6_000_000, ge=100_000, le=1_000_000_000)
    """Bits a second that one session may send for long, with bursts of two seconds; what is over it
    is dropped unread. Peers are told, and asked for less where the model looks at less."""

    min_bits_per_s: int = Field(default=200_000, ge=10_000, le=1_000_000_000)
    """The least that a peer is asked to come down to, however little the model looks at."""

    loss_patience_s: float = Field(default=0.25, ge=0, le=5)
    """How long a lost packet is waited for, and asked for again, before the peer is asked for a key
    frame instead."""

    addresses: tuple[str, ...] = ()
    """Addresses of this machine at which media comes in. Empty: the one of `server.host`, or all of
    the machine's where that is all of them."""

    min_port: int = Field(default=0, ge=0, le=65_535)
    """First UDP port for media. 0 takes any free ones."""

    max_port: int = Field(default=0, ge=0, le=65_535)
    """Last UDP port for media. A session takes one port of each address."""

    announced_addresses: tuple[str, ...] = ()
    """Addresses under which peers reach those of this machine, where they differ: the public one
    behind NAT, the host's where the server runs in a container. Ports must be the same."""

    refused_peers: tuple[str, ...] = (
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
        "::/127", "fe80::/10", "ff00::/8",
    )  # fmt: skip
    """Networks to which nothing is ever sent, whatever addresses a peer names as its own. Loopback
    is taken all the same from an address of ours that is loopback itself."""

    stun_server: str = ""
    """``host:port`` of a STUN server, which tells this server and its peers their public addresses.
    """

    turn_server: str = ""
    """``host:port`` of a TURN server, which relays media where nothing else gets through."""

    turn_username: str = ""
    """User name for the TURN server. Whoever may push is told it, as a browser needs it too."""

    turn_password: SecretStr = SecretStr("")
    """Password for the TURN server; told as the user name is."""

    @field_validator("addresses", "announced_addresses")
    @classmethod
    def _are_addresses(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            ipaddress.ip_address(text)
        return texts

    @field_validator("refused_peers")
    @classmethod
    def _are_networks(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            ipaddress.ip_network(text)
        return texts

    @field_validator("stun_server", "turn_server")
    @classmethod
    def _are_servers(cls, text: str) -> str:
        if text and not re.fullmatch(r"[A-Za-z0-9.-]{1,253}:[0-9]{1,5}", text):
            raise ValueError("it should be host:port, such as turn.example.org:3478")
        return text

    @model_validator(mode="after")
    def _ports_are_a_range(self) -> Self:
        if bool(self.min_port) != bool(self.max_port) or self.min_port > self.max_port:
            raise ValueError("min_port and max_port are the ends of a range, or both 0")
        if self.min_bits_per_s > self.max_bits_per_s:
            raise ValueError("min_bits_per_s is larger than max_bits_per_s")
        return self


class PrivacySection(Section):
    """What of streams nobody is to see, and for how long the rest is kept."""

    masks: tuple[Mask, ...] = ()
    """Parts of the pictures of every stream that are blacked out or blurred before anything looks
    at them, such as `[{"polygon": [[0, 0], [0.5, 0], [0.5, 1]], "effect": "black"}]`: corners in
    shares of width and height. A stream's own masks come on top."""

    max_masks: int = Field(default=32, ge=0, le=1024)
    """Masks of one stream, beside those of the server."""

    max_mask_points: int = Field(default=64, ge=3, le=1024)
    """Corners of one mask."""

    keep_for_s: float | None = Field(default=None, gt=0)
    """How long anything of a stream is kept, in seconds since it was captured: clips in all tiers,
    notes, journal, retained alerts and answers. None: as long as there is room. A stream may be
    given less, not more."""

    sweep_interval_s: float = Field(default=30.0, gt=0, le=3600)
    """How often what is older than that is deleted."""

    max_clips_per_sweep: int = Field(default=512, ge=1, le=100_000)
    """Clips of one stream that are deleted at a time; more go one after another, with pauses."""

    @field_validator("masks", mode="before")
    @classmethod
    def _are_not_words(cls, masks: object) -> object:
        """A list of words is what any text is taken for that is no JSON."""
        if isinstance(masks, str) and masks.strip()[:1] not in ("[", ""):
            example = '[{"polygon": [[0, 0], [1, 0], [1, 1]]}]'
            raise ValueError(f"masks are a JSON list such as {example}")
        return masks


class NameplatesSection(Section):
    """What people may call a stream and say of it."""

    max_name_chars: int = Field(default=80, ge=1, le=1000)
    """Characters of a stream's name."""

    max_description_chars: int = Field(default=500, ge=1, le=4000)
    """Characters of its description, which stands in the prompts of questions to it."""

    max_labels: int = Field(default=16, ge=1, le=1000)
    """Labels of one stream, and those that one call may name."""

    max_label_chars: int = Field(default=40, ge=1, le=200)
    """Characters of one label."""

    max_reference_bytes: int = Field(default=64 << 10, ge=1024, le=1 << 20)
    """Bytes of a reference picture as it is kept, in the size in which the model sees pictures."""

    in_prompts: bool = True
    """Whether the model is told of the nameplate of the stream that is asked, where it can make use
    of that."""


class SecondLookSection(Section):
    """Answers that are given again with pictures out of the album."""

    max_pictures: int = Field(default=0, ge=0, le=16)
    """Pictures that are shown again for one answer, as far as the engine takes them; 0: no answer
    is given again. Where it is on, no word of an answer is told before the first try is over."""

    min_confidence: float = Field(default=0.5, ge=0, le=1)
    """An answer is given again whose words were less likely to the model, in the geometric mean."""

    after_s: float = Field(default=600.0, ge=0, le=1e9)
    """And one that rests only on memory older than this, beside what was seen last."""


class StreamsSection(Section):
    """Streams: what they take in, how long they stay and what may be asked of them."""

    clock: Literal["live", "virtual"] = "live"
    """Clock of streams that do not choose one."""

    max_streams: int = Field(default=64, ge=1)
    """Streams open at the same time."""

    move_every_s: float = Field(default=0.05, ge=0, le=10)
    """When this server is drained, a stream is let go every so many seconds, for another server to
    go on with; more often where half of `server.drain_s` is too short for that."""

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

    max_gap_s: float = Field(default=1800.0, ge=10, le=1e9)
    """The longest time without a picture that is kept in a recording. One whose next picture is
    further ahead has a wrong time there, and goes on as if nothing had been between. It holds for
    frames that are pushed on the live clock, too; those on the virtual clock are believed."""

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

    max_kept_streams: int = Field(default=100_000, ge=1, le=10_000_000)
    """Streams whose masks, watches, alerts, `starts_at` and numbers are kept for when they are
    found again. On disk the one that was not written for longest makes room, which is logged; in a
    fleet, where they lie in Redis, a further stream is not opened until one is deleted."""

    max_orders: int = Field(default=64, ge=1, le=10_000)
    """Standing orders of one tenant: watches over labels (`POST /v1/watches`)."""

    alerts_retained: int = Field(default=256, ge=1, le=100_000)
    """Alerts kept per stream for subscribers that come back."""

    perception: PerceptionSection = PerceptionSection()

    decoding: DecodingSection = DecodingSection()
    privacy: PrivacySection = PrivacySection()
    nameplates: NameplatesSection = NameplatesSection()
    second_look: SecondLookSection = SecondLookSection()
    sources: SourcesSection = SourcesSection()
    webrtc: WebRtcSection = WebRtcSection()
    imports: ImportsSection = ImportsSection()
    moments: MomentsSection = MomentsSection()
