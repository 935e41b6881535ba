"""`StreamDrawer`: where small named documents of streams outlive the server that wrote them."""

from collections.abc import Mapping
from typing import Protocol

from onlooker.core.ids import StreamId

Documents = Mapping[str, bytes]
"""Documents by name. A name is one word, or two with a slash between them. Empty content
deletes."""


class DrawerAway(Exception):
    """The drawer cannot be reached now; the same call may succeed later. The message says why."""


class DrawerFailed(Exception):
    """The drawer takes or gives nothing, and will not by itself. The message says why."""


class WriteRefused(Exception):
    """Another server owns the stream by now: what this one still writes of it is not taken."""


class StreamDrawer(Protocol):
    """Where documents are kept, by stream. It is called on the event loop; calls about one stream
    come one after the other."""

    async def read(self, stream_id: StreamId) -> dict[str, bytes]:
        """All documents of a stream.

        Raises:
            DrawerAway, DrawerFailed: it is not known what there is, which is not the same as
                nothing: one of them may be a mask.
        """
        ...

    async def write(self, stream_id: StreamId, documents: Documents, *, epoch: int) -> None:
        """Have these documents kept, beside the others of the stream, all of them or none where
        that can be done. When it returns they outlive the process. `epoch` is that of the writer's
        ownership, 0 where there is none.

        Raises:
            WriteRefused: the epoch is old.
            DrawerAway: they may be written or not.
            DrawerFailed: they are not written.
        """
        ...

    async def exchange(
        self, stream_id: StreamId, name: str, *, before: bytes, after: bytes
    ) -> bool:
        """Write one document if it still is as it was read, and say whether it is `after` now: also
        where it was already, as when a write is tried again whose reply was lost. It is for what
        several servers change, so that of two changes at once none is lost. Empty content stands
        for no document.

        Raises: as `write`, but for `WriteRefused`.
        """
        ...

    async def clear(self, stream_id: StreamId, *, epoch: int) -> None:
        """Delete all documents of a stream. Raises: as `write`."""
        ...

    async def stream_ids(self) -> list[StreamId]:
        """The streams that have a document, in order.

        Raises:
            DrawerAway, DrawerFailed: it is not known.
        """
        ...

    async def close(self) -> None:
        """Let go of threads and connections."""
        ...
