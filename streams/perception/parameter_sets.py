"""H.264 parameter sets: what a decoder has to know before the first picture.

Some encoders send them once, in front of the first picture or as a message of their own. A decoder
that begins anew, after a broken message, needs them again.
"""

from onlooker.streams.perception.nal_units import (
    IDR_SLICE,
    PICTURE_SET,
    SEQUENCE_SET,
    SLICE,
    START,
    units,
)

_SLICES = range(SLICE, IDR_SLICE + 1)

MAX_SETS = 16
"""Parameter sets that are kept of one source; encoders have two, or a few."""

MAX_SET_BYTES = 1024
"""A longer one is none that an encoder writes, and is not kept."""


class ParameterSets:
    """The newest parameter sets of one source of H.264 in Annex B form, by kind and id."""

    def __init__(self) -> None:
        self._sets: dict[tuple[int, int], bytes] = {}

    def note(self, message: bytes) -> bool:
        """Keep the sets of `message`. Returns whether it has nothing else to tell a decoder."""
        kinds = set()
        for kind, begin in units(message):
            kinds.add(kind)
            if kind in _SLICES:
                break
            if kind in (SEQUENCE_SET, PICTURE_SET):
                end = message.find(START, begin)
                self._keep(kind, message[begin : end if end >= 0 else None].rstrip(b"\x00"))
        return bool(kinds & {SEQUENCE_SET, PICTURE_SET}) and kinds.isdisjoint(_SLICES)

    def before(self, message: bytes) -> bytes:
        """`message` with all sets that were noted in front of it."""
        return b"".join(b"\x00" + START + unit for unit in self._sets.values()) + message

    def _keep(self, kind: int, unit: bytes) -> None:
        if len(unit) > MAX_SET_BYTES:
            return
        # The id stands first in a picture's set, and behind the profile in a sequence's.
        key = kind, _first_number(unit[1:] if kind == PICTURE_SET else unit[4:])
        self._sets.pop(key, None)  # a set that comes again belongs behind those before it
        if len(self._sets) < MAX_SETS:
            self._sets[key] = unit


def _first_number(data: bytes) -> int:
    """The Exp-Golomb number at the beginning of `data`; -1 where there is none within 4 bytes."""
    bits = f"{int.from_bytes(data[:4].ljust(4, bytes(1)), 'big'):032b}"
    zeros = bits.find("1")
    if not 0 <= zeros <= 15:
        return -1
    return int(bits[zeros : 2 * zeros + 1], 2) - 1
