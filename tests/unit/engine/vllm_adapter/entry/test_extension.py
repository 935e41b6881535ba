"""What a worker does for the server beside requests."""

from types import SimpleNamespace
from typing import Any

import pytest

from onlooker.engine.vllm_adapter import wire
from onlooker.engine.vllm_adapter.entry.extension import SegmentExtension
from onlooker.engine.vllm_adapter.worker.claims import Claims

PREFIX = "model/acme/door/7/"
KEY = f"{PREFIX}clip/0000000001"


class Holding(SegmentExtension):
    """A worker of a stream's fourth owner, which notes what is let go of."""

    def __init__(self) -> None:
        self.dropped: list[Any] = []
        claims = Claims()
        claims.own("acme/door", 4)
        arena = SimpleNamespace(drop=self._drop, drop_prefix=self._drop)
        compacting = SimpleNamespace(forget=lambda prefix: None)
        self._held: Any = SimpleNamespace(
            arena=arena, claims=claims, compacting=compacting, vault=None, stored_streams=None
        )

    def _drop(self, what: Any) -> int:
        self.dropped.append(what)
        return 1

    def _worker(self) -> Any:
        return self._held


@pytest.mark.parametrize("epoch", [3, 4])
@pytest.mark.parametrize("method", ["drop_segments", "delete_segments", "drop_stream"])
def test_a_former_owner_takes_nothing_from_the_next(method: str, epoch: int) -> None:
    worker = Holding()
    call = {
        "drop_segments": wire.drop_segments(PREFIX, epoch, [KEY]),
        "delete_segments": wire.delete_segments(PREFIX, epoch, [KEY]),
        "drop_stream": wire.drop_stream(PREFIX, epoch, forget=False),
    }[method]
    getattr(worker, call.method)(*call.args)
    assert bool(worker.dropped) is (epoch == 4)
