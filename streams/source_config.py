"""Settings of video that the server pulls, imports, or is sent over WebRTC."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from onlooker.core.address import AddressRules
from onlooker.core.settings import Section

Scheme = Literal["http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp", "file"]
"""What the addresses of sources may begin with."""


def _network(text: str) -> str:
    ipaddress.ip_network(text, strict=False)
    return text


Network = Annotated[str, AfterValidator(_network)]
"""An IP address, or a network such as ``239.0.0.0/8``."""


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
