"""JPEG pictures that stop a little early: some cameras leave the end marker out, some links cut it.

`with_end` gives such a picture an end, where all but a trifle of it is there, as FFmpeg does. What
lacks more than that stays as it is, and is refused by whoever decodes it.
"""

import re
from dataclasses import dataclass, field

END = b"\xff\xd9"

MAX_MISSING_SHARE, MIN_FILLER_BYTES = 1 / 32, 32
"""How much of a picture of one scan may be missing: about this share of its bytes, or this many."""

MAX_MARKERS = 1000
"""A picture with more of them is left as it is."""

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""A marker in coded data: what follows 0xff is no stuffed byte, and does not only restart."""

_START_OF_SCAN, _END_OF_PICTURE = 0xDA, 0xD9
_FRAMES = (0xC0, 0xC1, 0xC2)
"""What begins a baseline, an extended or a progressive picture."""
_ALL_COEFFICIENTS = (1 << 64) - 1


def with_end(payload: bytes) -> bytes:
    """`payload`, with an end if it is a JPEG that only lacks that, or hardly more."""
    if payload.endswith(END) or not payload.startswith(b"\xff\xd8"):
        return payload
    scans = _Scans()
    try:
        scans.read(payload)
    except IndexError:  # it stops, or makes no sense, before its pixels begin
        return payload
    if scans.has_end or not scans.num_begun:
        return payload
    if scans.is_single:
        body = payload.rstrip(b"\xff")  # half an end marker
        return body + _filler(body)
    return payload + END if scans.are_all_begun and scans.is_last_a_refinement else payload


def _filler(body: bytes) -> bytes:
    """What stands for the missing bytes of a picture of one scan: its own last bytes once more,
    which hold about as many blocks. When the decoder is done with the picture before it has read
    all of this, no more was missing; else it waits for more in vain, and refuses the picture."""
    num_bytes = max(MIN_FILLER_BYTES, int(len(body) * MAX_MISSING_SHARE))
    return body[-num_bytes:].replace(b"\xff", b"\xfe")  # no markers: they would end it


@dataclass(slots=True)
class _Scans:
    """What a JPEG's markers say of its scans."""

    has_end: bool = False
    num_begun: int = 0
    is_single: bool = False
    """Whether one scan holds the whole picture."""
    is_last_a_refinement: bool = False
    """Whether the last scan only adds the finest bits to what was there before."""
    _exact: dict[int, int] = field(default_factory=dict)
    """For each component, by a bit each, the coefficients that are coded to their last bit."""

    @property
    def are_all_begun(self) -> bool:
        """Whether no scan is missing altogether."""
        return all(exact == _ALL_COEFFICIENTS for exact in self._exact.values())

    def read(self, payload: bytes) -> None:
        """Walk along the markers. Raises `IndexError` where one is cut off, or there is no end of
        them."""
        at = 2
        for _ in range(MAX_MARKERS):
            if (marker := _MARKER.search(payload, at)) is None:
                return
            kind, body = marker[0][1], marker.end()
            if kind == _END_OF_PICTURE:
                self.has_end = True
                return
            if kind in _FRAMES:
                self._exact = {payload[body + 8 + 3 * i]: 0 for i in range(payload[body + 7])}
            elif kind == _START_OF_SCAN:
                self._begin(payload, body)
            at = body + (payload[body] << 8 | payload[body + 1])
        raise IndexError("more markers than pictures have")

    def _begin(self, payload: bytes, body: int) -> None:
        num = payload[body + 2]
        at = body + 3 + 2 * num
        first, last, bits = payload[at], payload[at + 1], payload[at + 2]
        coded = ((1 << (min(last, 63) + 1)) - 1) & ~((1 << first) - 1)
        components = [payload[body + 3 + 2 * i] for i in range(num)]
        if bits & 0x0F == 0:
            for component in components:
                self._exact[component] = self._exact.get(component, 0) | coded
        self.num_begun += 1
        self.is_last_a_refinement = bits >> 4 > 0
        self.is_single = (
            self.num_begun == 1 and num == len(self._exact) and coded == _ALL_COEFFICIENTS
        )
