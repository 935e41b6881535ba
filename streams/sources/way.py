"""What all ways of opening a source have in common: what they may use, and how FFmpeg is kept in.

FFmpeg opens no connection and no file by itself. It reads from objects that were opened here, or
from a relay on loopback that is connected to an address which was checked.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import av
from av.container import InputContainer

from onlooker.core.address import AddressPolicy, Target
from onlooker.core.clock import Clock
from onlooker.core.metrics import Metrics
from onlooker.core.network import Lookups, WaitBudget
from onlooker.streams.config import SourcesSection

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,avi,flv,mpjpeg,mjpeg,ogg,mpeg,h264,hevc,ivf,gif"
)
"""Demuxers for files; none of them names other files or hosts."""


@dataclass(frozen=True, slots=True)
class Access:
    """What it takes to reach one source."""

    settings: SourcesSection
    policy: AddressPolicy
    lookups: Lookups
    clock: Clock
    budget: WaitBudget
    metrics: Metrics


class SourceWay(Protocol):
    """One way of reaching one source, for one opening of it. All but `stop` is called on one
    thread."""

    @property
    def is_recorded(self) -> bool:
        """Whether it has an end, so that it is played at its own pace; known once it is open."""
        ...

    def open(self) -> InputContainer:
        """Connect, and let FFmpeg find out what comes.

        Raises:
            ClientError: the address may not be reached.
            SourceBroken, SourceLost: it cannot be opened, for good or for now.
            Exception: FFmpeg failed; `explain` may know why.
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

    def explain(self, error: Exception) -> Exception | None:
        """What may be behind an error of FFmpeg where there was no `fault`; None where this way
        knows no better."""
        ...


def open_file(file: Any, *, format: str | None = None) -> InputContainer:
    """Let FFmpeg read `file`, and nothing else."""

    def refuse(url: str, flags: int, options: dict[str, str]) -> Any:
        raise OSError("this source names other files, which are not opened")

    container: InputContainer = av.open(
        file,
        "r",
        format=format,
        io_open=refuse,
        options={"protocol_whitelist": "none", "format_whitelist": FORMATS},
    )
    return container


def login_part(target: Target, url: str) -> str:
    """The user name and password of `url` as they stand there, with the ``@`` behind them."""
    if target.username is None:
        return ""
    return url.split("://", 1)[1].partition("/")[0].rpartition("@")[0] + "@"
