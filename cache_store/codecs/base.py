"""What a codec of KV must do."""

from typing import Protocol

from onlooker.cache_store.record import KvArray

Buffer = bytes | bytearray | memoryview


class KvCodec(Protocol):
    """Turns KV into a payload and back. Stateless, so any thread may call it.

    Dtype and shape bound the size of a payload: one of another size is damaged.
    """

    name: str
    """Each record carries this name, so it is never reused for another layout."""

    def encode(self, kv: KvArray, dtype: str) -> Buffer:
        """Return the payload; it may be a view of `kv`, which must be C-contiguous.

        Raises:
            NotEncodable: the codec cannot hold some values within its error bound.
        """
        ...

    def decode(self, payload: memoryview, dtype: str, shape: tuple[int, ...]) -> KvArray:
        """Return KV of `shape`; it may be a view of `payload`, whose size is within
        `payload_bounds`.

        Raises:
            RecordCorrupt: the payload is not what `encode` returns. Codecs in which every payload
                of the right size stands for some KV never raise.
        """
        ...

    def payload_bounds(self, dtype: str, shape: tuple[int, ...]) -> tuple[int, int]:
        """The smallest and the greatest size of a payload for KV of this dtype and shape. What
        decoding takes goes by the shape, and is so bounded by the size of what was read."""
        ...
