"""What a codec of KV must do."""

from typing import Protocol

from onlooker.cache_store.record import KvArray

Buffer = bytes | bytearray | memoryview


class KvCodec(Protocol):
    """Turns KV into a payload and back. Stateless, so any thread may call it.

    The size of a payload follows from dtype and shape alone: a payload of another size is damaged.
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
        """Return KV of `shape`; it may be a view of `payload`."""
        ...

    def payload_bytes(self, dtype: str, shape: tuple[int, ...]) -> int:
        """The size of every payload for KV of this dtype and shape."""
        ...
