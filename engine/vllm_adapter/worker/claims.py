"""`Claims`: who may write a stream, where several gateways share one worker.

A gateway that hangs for longer than its leases last has lost its streams, and does not know it yet
when it wakes: what it had under way would stand in the place of what the next owner remembers. The
store refuses what comes under an old claim, but it hears of claims from this process, in which the
next owner's is the newest. So each write says by which claim it was meant.
"""

MAX_CLAIMS = 100_000
"""Streams whose owners are remembered; of more, those that were claimed first are forgotten."""


class Claims:
    """The newest epoch under which each stream was claimed."""

    def __init__(self) -> None:
        self._epochs: dict[str, int] = {}

    def own(self, stream: str, epoch: int) -> None:
        """``tenant/stream`` is written under this epoch from now on; older ones are over."""
        newest = max(epoch, self._epochs.pop(stream, 0))
        self._epochs[stream] = newest
        if len(self._epochs) > MAX_CLAIMS:
            del self._epochs[next(iter(self._epochs))]

    def has_passed(self, key: str, epoch: int) -> bool:
        """Whether another epoch than this one owns the stream of `key`, which is a segment's key or
        begins one (``model/tenant/stream/...``)."""
        stream = "/".join(key.split("/", 3)[1:3])
        return epoch < self._epochs.get(stream, 0)
