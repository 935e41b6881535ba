"""What a source of pictures does."""

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from onlooker.core.media import Pixels


@dataclass(frozen=True, slots=True)
class SourcePicture:
    """One picture of a source."""

    at_s: float
    """Source time: seconds since the source's beginning."""
    pixels: Pixels


class Source(Protocol):
    """A file, a camera, a network stream or a drawn world. Enter it before use, from one task."""

    name: str
    """The source's name, for people to read."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    async def picture(self, due_s: float) -> SourcePicture | None:
        """The picture for source time `due_s`, which only grows; None when there are no more.

        A recording gives its last picture up to that time; a live source its newest one, and waits
        for it.

        Raises:
            UnsupportedMedia: the source cannot be decoded.
            ConnectionLost: the source broke off.
        """
        ...
