"""How a picture lies that says so in its EXIF data, as phones and cameras write it."""

import io
from typing import Any

from PIL import Image

from onlooker.core.orientation import Orientation

_ORIENTATION_TAG = 0x0112

_ORIENTATIONS = {
    1: Orientation(),
    2: Orientation(is_mirrored=True),
    3: Orientation(is_mirrored=True, is_flipped=True),
    4: Orientation(is_flipped=True),
    5: Orientation(is_transposed=True),
    6: Orientation(is_transposed=True, is_mirrored=True),
    7: Orientation(is_transposed=True, is_mirrored=True, is_flipped=True),
    8: Orientation(is_transposed=True, is_flipped=True),
}


def exif_orientation(image: Image.Image) -> Orientation | None:
    """How a picture that was opened is to be shown; None where it does not say, or says nonsense.
    Broken metadata does not make a broken picture."""
    try:
        value: Any = image.getexif().get(_ORIENTATION_TAG)
        return _ORIENTATIONS.get(value)
    except Exception:  # Pillow raises anything on broken bytes
        return None


def jpeg_orientation(jpeg: bytes) -> Orientation | None:
    """As `exif_orientation`, of a JPEG that somebody else decodes. Only its head is read."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            return exif_orientation(image)
    except Exception:  # whoever decodes it says what is wrong with it
        return None
