"""The store of leases in this process, as `RedisLeases` has it in Redis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from onlooker.cache_store.leases import Claim, LeasesUnreachable, OwnedBy, Renewal


@dataclass(slots=True)
class _Lease:
    epoch: int
    server: str
    until_s: float


@dataclass(slots=True)
class LeaseBook:
    """What all servers share, and `now_s`, its clock."""

    now_s: Callable[[], float]
    leases: dict[str, _Lease] = field(default_factory=dict)
    fences: dict[str, tuple[int, str]] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    """Streams that were opened and not closed, whoever has them."""

    def owner(self, stream: str) -> _Lease | None:
        """The lease of a stream that has not run out."""
        lease = self.leases.get(stream)
        return lease if lease is not None and self.now_s() < lease.until_s else None

    def lets_write(self, stream: str, epoch: int) -> bool:
        """Whether a write of this epoch is taken."""
        return epoch >= self.fences.get(stream, (0, ""))[0]

    def lose_all(self) -> None:
        """Come back empty."""
        self.leases.clear()
        self.fences.clear()
        self.open.clear()


class BookLeases:
    """See `onlooker.cache_store.leases.LeaseStore`; nothing in it waits."""

    def __init__(self, book: LeaseBook, server: str, *, lease_s: float) -> None:
        self._book, self._server, self._lease_s = book, server, lease_s
        self.is_cut_off = False

    async def acquire(self, stream: str, *, instead_of: int = 0) -> Claim | OwnedBy:
        self._reach()
        held = self._book.owner(stream)
        if held is not None and held.server != self._server and held.epoch != instead_of:
            left_s = held.until_s - self._book.now_s()
            return OwnedBy(held.server, held.server, held.epoch, left_s)
        newest, last = self._book.fences.get(stream, (0, ""))
        epoch = max(newest + 1, int(self._book.now_s() * 1e6))
        was_open = stream in self._book.open
        self._grant(stream, epoch)
        return Claim(epoch, is_handed_over=last not in ("", self._server), was_open=was_open)

    async def renew(self, claims: Sequence[tuple[str, int]]) -> list[Renewal]:
        self._reach()
        return [self._renew(stream, epoch) for stream, epoch in claims]

    async def elsewhere(self, stream: str) -> OwnedBy | None:
        self._reach()
        held = self._book.owner(stream)
        if held is None:
            is_open = stream in self._book.open
            return OwnedBy("", "", 0, 0.0, is_left=True) if is_open else None
        left_s = held.until_s - self._book.now_s()
        is_own = held.server == self._server
        return OwnedBy(held.server, held.server, held.epoch, left_s, is_left=is_own)

    async def release(self, stream: str, epoch: int, *, is_left: bool = False) -> None:
        self._reach()
        held = self._book.leases.get(stream)
        if held is not None and held.epoch == epoch:
            del self._book.leases[stream]
            if not is_left:
                self._book.open.discard(stream)

    async def close(self) -> None:
        pass

    def _renew(self, stream: str, epoch: int) -> Renewal:
        held = self._book.owner(stream)
        newest = self._book.fences.get(stream)
        if (newest and newest[0] != epoch) or (held and held.epoch != epoch):
            return Renewal.LOST
        self._grant(stream, epoch)
        return Renewal.RENEWED if newest else Renewal.RESTORED

    def _grant(self, stream: str, epoch: int) -> None:
        self._book.leases[stream] = _Lease(epoch, self._server, self._book.now_s() + self._lease_s)
        self._book.fences[stream] = (epoch, self._server)
        self._book.open.add(stream)

    def _reach(self) -> None:
        if self.is_cut_off:
            raise LeasesUnreachable("cut off")
