"""`SourceLeases`: gives out the right to feed one stream, to one source at a time."""

from collections.abc import Callable

from onlooker.core.clock import Clock
from onlooker.core.errors import Conflict
from onlooker.streams.events import SourceChanged
from onlooker.streams.ingest.ingest import Ingest
from onlooker.streams.lease import SourceChange, SourceLease, SourceStatus


class SourceLeases:
    """Of one stream. `publish`: tells viewers how the source fares."""

    def __init__(
        self,
        stream: str,
        ingest: Ingest,
        *,
        clock: Clock,
        publish: Callable[[SourceChanged], object],
    ) -> None:
        self._stream, self._ingest = stream, ingest
        self._clock, self._publish = clock, publish
        self._lease: SourceLease | None = None
        self.last: SourceStatus | None = None
        """How the last source fared; None where there was none yet."""

    @property
    def owner(self) -> str | None:
        """Who feeds the stream now."""
        return None if self._lease is None else self._lease.owner

    @property
    def is_pulled(self) -> bool:
        """Whether the server pulls the source, which may be lost and come back."""
        return self._lease is not None and self._lease.is_pulled

    def take(self, owner: str, *, is_pulled: bool, is_opening: bool) -> SourceLease:
        """Become the one who feeds the stream; see `Stream.claim_source`.

        Raises:
            Conflict: another source feeds it.
        """
        if self._lease is not None:
            raise Conflict(
                f"stream '{self._stream}' is already fed by {self._lease.owner}: stop that source, "
                "or open another stream",
                param="stream",
            )
        self._lease = SourceLease(
            owner,
            clock=self._clock,
            is_pulled=is_pulled,
            is_opening=is_opening or is_pulled,
            on_change=self._note,
            on_release=self._release,
        )
        self._ingest.begin_source()
        return self._lease

    def clear(self) -> None:
        """Let go of whoever feeds the stream, which is closed."""
        self._lease = None

    def _note(self, change: SourceChange, status: SourceStatus) -> None:
        self.last = status
        self._publish(SourceChanged(change, status))

    def _release(self, lease: SourceLease) -> None:
        if self._lease is lease:
            self._lease = None
            self._ingest.end_source()
