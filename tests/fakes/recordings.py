"""Recordings whose times are wrong, made of good ones."""

import re


def parts_of(data: bytes) -> list[bytes]:
    """A fragmented MP4 or WebM as its header and its fragments or clusters."""
    mark = rb"....moof" if data[4:8] == b"ftyp" else re.escape(b"\x1f\x43\xb6\x75")
    begins = [0, *(match.start() for match in re.finditer(mark, data, re.DOTALL))]
    return [data[a:b] for a, b in zip(begins, [*begins[1:], len(data)], strict=True)]


def time_scale(header: bytes) -> int:
    """Units a second of an MP4's only track."""
    at = header.index(b"mdhd")
    return int.from_bytes(header[at + 16 : at + 20], "big")


def moved(part: bytes, by_s: float, *, scale: int = 1000) -> bytes:
    """A fragment (with its track's time scale) or a cluster whose pictures are `by_s` later."""
    if part[4:8] == b"moof":
        at, num_bytes = part.index(b"tfdt") + 8, 8 if part[part.index(b"tfdt") + 4] == 1 else 4
    else:
        at = part.index(b"\xe7", 4) + 2
        num_bytes = part[at - 1] & 0x7F
    time = int.from_bytes(part[at : at + num_bytes], "big") + round(by_s * scale)
    return part[:at] + time.to_bytes(num_bytes, "big") + part[at + num_bytes :]
