"""The arena: segments that the worker holds ready, by key."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Segment:
    """A clip's or text's KV in all layers, as it was computed at position `base`.

    `keys`, `values`: [layers, tokens, kv_heads, head_dim]. `plain_keys`: the keys without rotary
    position, for retrieval; None where it may not be retrieved.
    """

    keys: torch.Tensor
    values: torch.Tensor
    base: int
    plain_keys: torch.Tensor | None

    @property
    def num_tokens(self) -> int:
        return int(self.keys.shape[1])

    @property
    def num_bytes(self) -> int:
        tensors = [self.keys, self.values]
        if self.plain_keys is not None:
            tensors.append(self.plain_keys)
        return sum(t.numel() * t.element_size() for t in tensors)


class SegmentArena:
    """All segments in this worker's memory."""

    def __init__(self) -> None:
        self._segments: dict[str, Segment] = {}
        self.num_bytes = 0

    def put(self, key: str, segment: Segment) -> None:
        self.drop([key])
        self._segments[key] = segment
        self.num_bytes += segment.num_bytes

    def get(self, key: str) -> Segment | None:
        return self._segments.get(key)

    def get_all(self, keys: Sequence[str]) -> list[Segment] | None:
        """The segments of all `keys`, or None when one is missing."""
        found = [self._segments.get(key) for key in keys]
        return None if any(s is None for s in found) else [s for s in found if s is not None]

    def drop(self, keys: Iterable[str]) -> int:
        """Forget segments; returns how many there were."""
        count = 0
        for key in keys:
            if (segment := self._segments.pop(key, None)) is not None:
                self.num_bytes -= segment.num_bytes
                count += 1
        return count

    def drop_prefix(self, prefix: str) -> int:
        """Forget every segment whose key begins with `prefix`."""
        return self.drop([key for key in self._segments if key.startswith(prefix)])

    def __len__(self) -> int:
        return len(self._segments)
