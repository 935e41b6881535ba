"""What all ways of opening a source have in common: what they may use, and how FFmpeg is kept in.

FFmpeg runs in a process that opens no connection and no file by itself. What it reads was opened
here, or comes from a relay on loopback that is connected to an address which was checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from onlooker.core.address import AddressPolicy, Target
from onlooker.core.clock import Clock
from onlooker.core.metrics import Metrics
from onlooker.core.network import Lookups, WaitBudget
from onlooker.core.recordings.containers import FORMATS
from onlooker.streams.decoding.pulled_video import OpenOther, PulledFile
from onlooker.streams.source_config import SourcesSection

CONFINED: Mapping[str, str] = {"protocol_whitelist": "none", "format_whitelist": FORMATS}
"""FFmpeg's options for a file that may name no others."""


@dataclass(frozen=True, slots=True)
class Access:
    """What it takes to reach one source."""

    settings: SourcesSection
    policy: AddressPolicy
    lookups: Lookups
    clock: Clock
    budget: WaitBudget
    metrics: Metrics


class OneWayFile:
    """A file that comes as it comes: nobody can seek in it."""

    is_at_hand = False

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0) -> int:
        """Never called where `seekable` is heeded. Raises `OSError`."""
        raise OSError("this source cannot be sought in")


@dataclass(frozen=True, slots=True)
class Opening:
    """What FFmpeg, in its process, is to open: a file that is read here, a relay of ours on
    loopback, or an address whose files are all opened here."""

    file: PulledFile | None = None
    url: str = ""
    """For FFmpeg, where there is no file."""
    format: str | None = None
    """FFmpeg's name of the format; None lets it find out."""
    options: Mapping[str, str] = field(default_factory=lambda: CONFINED)
    """FFmpeg's options."""
    timeouts_s: tuple[float, float] | None = None
    """To open, and to read, where FFmpeg reads from a relay."""
    relay_port: int | None = None
    open_other: OpenOther | None = None
    """Opens what the source names; None: it may name nothing."""


class SourceWay(Protocol):
    """One way of reaching one source, for one opening of it. All but `stop` is called on one
    thread."""

    @property
    def is_recorded(self) -> bool:
        """Whether it has an end, so that it is played at its own pace; known once it is open."""
        ...

    def open(self) -> Opening:
        """Connect, and say how FFmpeg is to find out what comes.

        Raises:
            ClientError: the address may not be reached.
            SourceBroken, SourceLost: it cannot be opened, for good or for now.
        """
        ...

    def stop(self) -> None:
        """End reads under way and let go of connections. Called from any thread, any number of
        times, also while `open` runs."""
        ...

    @property
    def fault(self) -> Exception | None:
        """What went wrong underneath FFmpeg, which takes it for an end or an 'I/O error'; None
        where nothing did."""
        ...

    def explain(self, *, has_begun: bool) -> Exception | None:
        """What may be behind an error of FFmpeg where there was no `fault`; None where this way
        knows no better. `has_begun`: FFmpeg had found the video before."""
        ...


def login_part(target: Target, url: str) -> str:
    """The user name and password of `url` as they stand there, with the ``@`` behind them."""
    if target.username is None:
        return ""
    return url.split("://", 1)[1].partition("/")[0].rpartition("@")[0] + "@"
