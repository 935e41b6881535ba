"""The keys that are on their way up from lower tiers, so that none is fetched twice at once."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from onlooker.cache_store.key import SegmentKey
from onlooker.cache_store.tier import Fetch, FetchOutcome

_SEVERITY = (FetchOutcome.MISS, FetchOutcome.ERROR, FetchOutcome.FOREIGN, FetchOutcome.CORRUPT)


@dataclass(frozen=True, slots=True)
class LoadResult:
    """How a load ended: a hit and its tier, or the worst outcome that any tier reported."""

    fetch: Fetch
    tier: str | None


@dataclass(slots=True, eq=False)
class KeyLoad:
    """One key on its way up. Whoever started it runs it; any number may wait for `done`."""

    key: SegmentKey
    done: Future[LoadResult] = field(default_factory=Future)
    worst: FetchOutcome = FetchOutcome.MISS

    def missed(self, outcome: FetchOutcome) -> None:
        """Note that a tier did not have the record, and why."""
        self.worst = max(self.worst, outcome, key=_SEVERITY.index)

    def end(self, result: LoadResult | None = None) -> None:
        """Let those who wait go on. Without a `result` the load is a miss. Only the first call
        counts."""
        if not self.done.done():
            self.done.set_result(result or LoadResult(Fetch(self.worst), None))


class Loads:
    """The loads under way, by key. Not thread-safe: the store's lock guards it.

    A put or a deletion takes over a key: its load goes on for those who already wait, but
    `finish` then says that what it brought is outdated and must not be kept.
    """

    def __init__(self) -> None:
        self._by_key: dict[SegmentKey, KeyLoad] = {}

    def get(self, key: SegmentKey) -> KeyLoad | None:
        return self._by_key.get(key)

    def begin(self, key: SegmentKey) -> KeyLoad:
        assert key not in self._by_key
        self._by_key[key] = load = KeyLoad(key)
        return load

    def take_over(self, key: SegmentKey) -> None:
        self._by_key.pop(key, None)

    def take_over_stream(self, stream_prefix: str) -> None:
        for key in [key for key in self._by_key if key.stream_prefix == stream_prefix]:
            del self._by_key[key]

    def finish(self, load: KeyLoad) -> bool:
        """Remove a load. Returns whether what it brought is still wanted."""
        if self._by_key.get(load.key) is not load:
            return False
        del self._by_key[load.key]
        return True

    def keys(self) -> Sequence[SegmentKey]:
        return list(self._by_key)
