"""`Fetches`: which requests wait until their segments are brought up from the store below.

The workers tell with every step what their arenas have got and let go of, so that it is known here
what each of them holds. A request of which something is held nowhere is not started: the workers
are told to fetch it, and vLLM is told to ask again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from onlooker.engine.vllm_adapter.wire import FetchOp, WorkerReport


@dataclass(slots=True)
class _Told:
    """A fetch that the workers know of."""

    num_workers: int
    ranks: set[int] = field(default_factory=set)
    """Workers that have fetched what they can."""

    @property
    def is_done(self) -> bool:
        return len(self.ranks) == self.num_workers


class Fetches:
    """See the module.

    Args:
        num_workers: the workers over which the model is split.
        max_requests: the most requests that hold what was fetched for them, or wait for it; others
            wait until these have started.
    """

    def __init__(self, *, num_workers: int = 1, max_requests: int = 8) -> None:
        self._num_workers = num_workers
        self._max_requests = max_requests
        self._held: list[set[str]] = [set() for _ in range(num_workers)]
        self._new: dict[str, Sequence[str]] = {}
        """What requests need of which the workers do not know yet."""
        self._late: set[str] = set()
        """Those of `_new` that found no room at first."""
        self._told: dict[str, _Told] = {}

    def is_ready(self, request_id: str, keys: Sequence[str]) -> bool:
        """Whether a request that needs the segments of `keys` can be started; else they are
        fetched."""
        if (told := self._told.get(request_id)) is not None:
            return told.is_done
        if all(key in held for held in self._held for key in keys):
            self._new.pop(request_id, None)
            return True
        self._new.setdefault(request_id, keys)
        return False

    def awaits(self, request_id: str) -> bool:
        """Whether a request cannot be started since its segments are being fetched."""
        told = self._told.get(request_id)
        return request_id in self._new if told is None else not told.is_done

    def ops(self) -> list[FetchOp]:
        """What the workers are to begin to fetch now."""
        found: list[FetchOp] = []
        for request_id, keys in list(self._new.items()):
            if len(self._told) >= self._max_requests:
                self._late.update(self._new)
                break
            del self._new[request_id]
            self._told[request_id] = _Told(self._num_workers)
            found.append(FetchOp(request_id, list(keys), request_id in self._late))
            self._late.discard(request_id)
        return found

    def note(self, report: WorkerReport) -> None:
        """Take what the workers told of a step. Idempotent."""
        for rank, changes in report.held.items():
            held = self._held[rank]
            for key, is_held in changes.items():
                (held.add if is_held else held.discard)(key)
        for rank, request_ids in report.fetched.items():
            for request_id in request_ids:
                if (told := self._told.get(request_id)) is not None:
                    told.ranks.add(rank)

    def forget(self, request_ids: Iterable[str]) -> None:
        """These requests have started, or ended."""
        for request_id in request_ids:
            self._new.pop(request_id, None)
            self._told.pop(request_id, None)
            self._late.discard(request_id)
