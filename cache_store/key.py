"""The names of segments and streams. A key holds all that two segments must share for their bytes
to be interchangeable, and nothing else.

The text form serves as a Redis key and inside each record; the disk tier makes a path of it. All
parts are checked, so that no id can step out of its folder or into another stream's names.
"""

from dataclasses import dataclass
from enum import StrEnum

from onlooker.core.ids import is_stream_id

MAX_INDEX = 9_999_999_999
"""Ten digits, so that text order is index order: 317 years at one segment a second."""

MAX_GENERATION = 2**53 - 1


class SegmentKind(StrEnum):
    """What a segment's tokens are."""

    CLIP = "clip"
    COMPACTED = "compacted"
    """Of a clip's tokens, those that stay when it is compacted; it takes the clip's place."""
    TEXT = "text"
    SINK = "sink"


@dataclass(frozen=True, slots=True, order=True)
class StreamKey:
    """One life of one stream.

    `generation` tells a stream from an earlier, deleted one of the same name: were the deletion not
    to reach a tier (Redis was down), what is left there would otherwise come back as memory.
    """

    model: str
    """Fingerprint of all that changes what KV means: weights, dtype, rotary settings, layout."""
    tenant: str
    stream: str
    generation: int = 0

    def __post_init__(self) -> None:
        for name in ("model", "tenant", "stream"):
            value = getattr(self, name)
            if not is_stream_id(value):
                raise ValueError(
                    f"{name} must be 1-64 letters, digits or . _ - and start with a letter or "
                    f"digit, not {value!r}"
                )
        _check_count("generation", self.generation, MAX_GENERATION)

    @property
    def prefix(self) -> str:
        """The text of each key of the stream starts with this, and the text of no other key
        does."""
        return f"{self.model}/{self.tenant}/{self.stream}/{self.generation}/"

    def segment(self, kind: SegmentKind, index: int) -> "SegmentKey":
        """The key of one of the stream's segments."""
        return SegmentKey(self.model, self.tenant, self.stream, index, kind, self.generation)


@dataclass(frozen=True, slots=True)
class SegmentKey:
    """One segment of one stream; `index` counts within its kind.

    Keys sort by stream, then kind, then index.
    """

    model: str
    tenant: str
    stream: str
    index: int
    kind: SegmentKind = SegmentKind.CLIP
    generation: int = 0

    def __post_init__(self) -> None:
        StreamKey(self.model, self.tenant, self.stream, self.generation)
        _check_count("index", self.index, MAX_INDEX)
        if not isinstance(self.kind, SegmentKind):
            raise ValueError(f"kind must be a SegmentKind, not {self.kind!r}")

    @property
    def stream_key(self) -> StreamKey:
        return StreamKey(self.model, self.tenant, self.stream, self.generation)

    @property
    def stream_prefix(self) -> str:
        """The `StreamKey.prefix` of the stream, without making a `StreamKey`."""
        return f"{self.model}/{self.tenant}/{self.stream}/{self.generation}/"

    def __lt__(self, other: "SegmentKey") -> bool:
        return self._order < other._order

    @property
    def _order(self) -> tuple[str, str, str, int, str, int]:
        return (self.model, self.tenant, self.stream, self.generation, self.kind, self.index)

    @property
    def text(self) -> str:
        """``model/tenant/stream/generation/kind/0000000042``; `parse_key` is its inverse."""
        return f"{self.stream_prefix}{self.kind.value}/{self.index:010d}"


def parse_key(text: str) -> SegmentKey:
    """Read a key's text form.

    Raises:
        ValueError: this is not the canonical text of any key.
    """
    parts = text.split("/")
    if len(parts) != 6 or not (_is_decimal(parts[3]) and _is_decimal(parts[5])):
        raise ValueError(f"not a segment key: {text[:400]!r}")
    model, tenant, stream, generation, kind, index = parts
    key = SegmentKey(model, tenant, stream, int(index), SegmentKind(kind), int(generation))
    if key.text != text:
        raise ValueError(f"not the canonical form of a segment key: {text[:400]!r}")
    return key


def _is_decimal(text: str) -> bool:
    return len(text) <= 16 and text.isascii() and text.isdecimal()


def _check_count(name: str, value: int, limit: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        raise ValueError(f"{name} must be a whole number from 0 to {limit}, not {value!r}")
