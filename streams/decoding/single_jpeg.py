"""Which JPEG files are one picture, though other JPEGs lie behind it in the same file.

Phones and cameras put a preview, a depth map or a map of brightnesses there. They list them in the
first picture (the *multi-picture format*), or, the older ones, do not; such a preview is smaller.
"""

import io

from PIL import Image

_LIST = b"MPF\0"
"""What the list of further pictures begins with, in a segment of the first picture's head."""

_START_OF_SCAN = b"\xff\xda"


def is_single(first: bytes, second: bytes) -> bool:
    """Whether a file that begins with these two JPEGs is one picture; `second` is empty where there
    is none. Pictures of a video are all of one size, and list no others."""
    if not second:
        return True
    head = first.partition(_START_OF_SCAN)[0]
    return _LIST in head or _size(first) != _size(second)


def _size(jpeg: bytes) -> tuple[int, int] | None:
    """Width and height; None where they cannot be read."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            return image.size
    except Exception:  # whoever decodes it says what is wrong with it
        return None
