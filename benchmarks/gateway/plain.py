"""The plain limit: one decode and one resize of a picture, with nothing around them."""

import io
import statistics
import time
from collections.abc import Sequence

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter
from PIL import Image

from onlooker.core.media import Codec

ROUNDS = 7


def plain_ms(codec: Codec, messages: Sequence[bytes], width: int, height: int) -> float:
    """Milliseconds of processor time for each message: libjpeg-turbo (by Pillow) or libav decodes
    it, and one resize (area averages where it shrinks) brings it to `width` x `height` RGB. The
    median of some rounds over all messages, of which the first only warms up."""
    once = _stills if codec is Codec.JPEG else _video
    rounds = [once(messages, width, height) for _ in range(1 + ROUNDS)]
    return 1000 * statistics.median(rounds[1:]) / len(messages)


def _stills(messages: Sequence[bytes], width: int, height: int) -> float:
    begun_s = time.process_time()
    for message in messages:
        with Image.open(io.BytesIO(message), formats=("JPEG",)) as image:
            shrinks = image.width >= width and image.height >= height
            method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
            np.asarray(image.resize((width, height), method))
    return time.process_time() - begun_s


def _video(messages: Sequence[bytes], width: int, height: int) -> float:
    context = av.CodecContext.create("h264", "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    scaler = VideoReformatter()
    begun_s = time.process_time()
    for message in messages:
        for frame in context.decode(av.Packet(message)):
            scaler.reformat(frame, width, height, "rgb24", interpolation="AREA", threads=1)
    return time.process_time() - begun_s
