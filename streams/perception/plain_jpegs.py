"""JPEGs as nearly all cameras and browsers write them, decoded by libav: brightness and colour can
be brought to the wanted size before they become RGB, which is half of the work of doing it after.

What libav and libjpeg may see differently is left to libjpeg (`stills`): pictures of several scans,
of other colours than the common three, or that are broken. In those a part of a picture may stay
unwritten, and would show what was in that memory before.
"""

import av
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from PIL.JpegImagePlugin import JpegImageFile

from onlooker.streams.perception.jpeg_end import END

_START_OF_SCAN = b"\xff\xda"
_COMPONENTS = (1, 2, 3)
_SAMPLINGS = ((2, 2), (2, 1), (1, 1))
"""Of brightness, across and down; colour has (1, 1)."""


def decode_plain(payload: bytes, image: JpegImageFile) -> VideoFrame | None:
    """The picture as it is stored; None where libjpeg has to decode it.

    Args:
        image: of the same bytes, opened and not loaded.
    """
    if not _is_plain(payload, image):
        return None
    if not payload.endswith(END):  # libav says whether anything else is missing
        payload = payload.rstrip(b"\xff") + END
    context = av.CodecContext.create("mjpeg", "r")  # a new one: nothing of others is left in it
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    context.options = {"err_detect": "explode", "flags": "low_delay"}
    try:
        frames = context.decode(av.Packet(payload))
    except FFmpegError:
        return None
    is_whole = len(frames) == 1 and (frames[0].width, frames[0].height) == image.size
    return frames[0] if is_whole else None


def _is_plain(payload: bytes, image: JpegImageFile) -> bool:
    """Whether it is one scan of the common three colours."""
    if image.format != "JPEG" or image.mode != "RGB":
        return False
    if "adobe" in image.info or "progressive" in image.info or image.bits != 8:
        return False
    if tuple(layer[0] for layer in image.layer) != _COMPONENTS:
        return False
    brightness, *colours = (layer[1:3] for layer in image.layer)
    if brightness not in _SAMPLINGS or any(one != (1, 1) for one in colours):
        return False
    scan = payload.find(_START_OF_SCAN)
    is_only = scan >= 0 and payload.find(_START_OF_SCAN, scan + 2) < 0
    return is_only and payload[scan + 4 : scan + 5] == bytes((len(_COMPONENTS),))
