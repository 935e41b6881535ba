"""`FragmentTimes`: where the time of a fragmented MP4 goes back, and its demuxer must begin anew.

FFmpeg's demuxer sorts pictures by time: those of a fragment that goes back behind one that came
before would be lost without a word. Nothing else is looked at here.
"""

from collections.abc import Iterator

MAX_HEAD_BYTES = 1 << 20
"""The head of a fragment that is longer is passed on unread."""

_ENDLESS = 1 << 62


class FragmentTimes:
    """Follows one byte stream from a box's beginning on."""

    def __init__(self) -> None:
        self._held = b""
        """A box's head that is not complete."""
        self._to_pass = 0
        """Bytes of the present box that are still to come."""
        self._times: dict[int, int] = {}
        """When the newest fragment of each track begins, in the track's own units."""

    def cut(self, data: bytes) -> list[bytes]:
        """The next bytes, as far as they can be judged, cut before each fragment whose time goes
        back: all but the first part are to be read by a demuxer that begins anew."""
        data, self._held = self._held + data, b""
        cuts, at = [0], 0
        while at < len(data):
            if not self._to_pass:
                num_bytes = _box_size(data, at)
                is_head = data[at + 4 : at + 8] == b"moof" and num_bytes <= MAX_HEAD_BYTES
                if not num_bytes or (is_head and at + num_bytes > len(data)):
                    break
                if is_head and self._goes_back(data[at : at + num_bytes]):
                    cuts.append(at)
                self._to_pass = num_bytes
            passed = min(self._to_pass, len(data) - at)
            at, self._to_pass = at + passed, self._to_pass - passed
        self._held = data[at:]
        ends = [*cuts[1:], at]
        return [data[begin:end] for begin, end in zip(cuts, ends, strict=True)]

    def rest(self) -> bytes:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, b""
        return held

    def _goes_back(self, head: bytes) -> bool:
        """Whether a fragment begins before one of the same track that came earlier."""
        times = dict(_track_times(head))
        goes_back = any(time < self._times.get(track, 0) for track, time in times.items())
        self._times = times if goes_back else {**self._times, **times}
        return goes_back


def _box_size(data: bytes, at: int) -> int:
    """Bytes of the box that begins at `at`; 0 while that cannot be told."""
    if len(data) - at < 8:
        return 0
    num_bytes = int.from_bytes(data[at : at + 4], "big")
    if num_bytes == 1:
        if len(data) - at < 16:
            return 0
        num_bytes = int.from_bytes(data[at + 8 : at + 16], "big")
    return num_bytes if num_bytes >= 8 else _ENDLESS  # to the end of the file, or rubbish


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each box in `data`, as far as they make sense."""
    at = 0
    while at + 8 <= len(data):
        num_bytes = int.from_bytes(data[at : at + 4], "big")
        if num_bytes < 8:
            return
        yield data[at + 4 : at + 8], data[at + 8 : at + num_bytes]
        at += num_bytes


def _track_times(head: bytes) -> Iterator[tuple[int, int]]:
    """Number and time of each track in a fragment's head."""
    for kind, track in _boxes(head[8:]):
        if kind == b"traf":
            parts = dict(_boxes(track))
            number, time = parts.get(b"tfhd", b""), parts.get(b"tfdt", b"")
            if len(number) >= 8 and len(time) >= 8:
                is_long = time[0] == 1
                yield (
                    int.from_bytes(number[4:8], "big"),
                    int.from_bytes(time[4 : 12 if is_long else 8], "big"),
                )
