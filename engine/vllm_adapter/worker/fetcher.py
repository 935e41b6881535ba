"""`Fetcher`: brings segments up from the store below, beside the steps.

A disk or a Redis may take long, and a step is everybody's. So what a request needs and the arena
does not hold is read in threads, while the steps of others go on; the request is started when it is
there. Each fetch keeps what it brought until its request has placed it, however full the arena is
meanwhile.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from onlooker.cache_store.daemon_pool import DaemonPool
from onlooker.engine.memory.plan import DEVICE, Reads
from onlooker.engine.vllm_adapter.wire import FetchOp
from onlooker.engine.vllm_adapter.worker.arena import Segment, SegmentArena

_NUM_THREADS = 4
"""Requests whose segments are read at once; the others wait for a thread."""

Load = Callable[[Sequence[str]], dict[str, tuple[Segment, str]]]
"""A function that reads segments, each with the tier where it was, and may block; see
`Backing.load`."""


@dataclass(slots=True)
class SegmentFetch:
    """What one request needs. It keeps all of it, also what the arena has no room for."""

    segments: dict[str, Segment]
    reads: Reads
    """Where each segment lay at first."""
    lacking: Sequence[str]
    future: Future[dict[str, tuple[Segment, str]]]
    is_taken: bool = False

    def take(self) -> dict[str, Segment]:
        """Take what was read; returns it."""
        self.is_taken = True
        brought = self.future.result()
        self.reads |= {key: (tier, one.kv_bytes) for key, (one, tier) in brought.items()}
        found = {key: segment for key, (segment, _) in brought.items()}
        self.segments |= found
        return found


class Fetcher:
    """See the module. All but what `load` does runs in the thread that runs steps."""

    def __init__(self, arena: SegmentArena, load: Load) -> None:
        self._arena = arena
        self._load = load
        self._threads = DaemonPool(_NUM_THREADS, name="segment-fetch")
        self._fetches: dict[str, SegmentFetch] = {}
        self.num_waited = 0
        """Requests whose fetch had to wait until others had placed what they fetched."""

    def begin(self, ops: Iterable[FetchOp]) -> None:
        """Begin to read what is not held of what requests need."""
        for op in ops:
            self.num_waited += op.has_waited
            held = self._arena.found_here(op.keys)
            self._arena.use(held)
            reads = {key: (DEVICE, segment.kv_bytes) for key, segment in held.items()}
            lacking = [key for key in dict.fromkeys(op.keys) if key not in held]
            future = self._threads.submit(self._load, lacking)
            self._fetches[op.request_id] = SegmentFetch(held, reads, lacking, future)

    def take(self) -> list[str]:
        """Have the arena hold what was read since the last call; returns the requests that have all
        that can be had."""
        done: list[str] = []
        for request_id, fetch in self._fetches.items():
            if not fetch.is_taken and fetch.future.done():
                for key, segment in fetch.take().items():
                    self._arena.bring(key, segment)
                done.append(request_id)
        return done

    def collect(self, request_id: str) -> SegmentFetch | None:
        """What was fetched for a request that is started now; None where nothing was."""
        return self._fetches.pop(request_id, None)

    def drop(self, request_ids: Iterable[str]) -> None:
        """Let go of what was fetched for requests that ended."""
        for request_id in request_ids:
            self._fetches.pop(request_id, None)

    def close(self) -> None:
        """Stop reading."""
        self._threads.shutdown(wait=False, cancel_futures=True)
