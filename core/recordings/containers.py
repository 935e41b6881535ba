"""Opens foreign files with FFmpeg, which reads nothing else."""

from typing import Any

import av
from av.container import InputContainer

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,avi,flv,mpjpeg,mjpeg,ogg,mpeg,h264,hevc,ivf,gif,"
    "asf,dhav"
)
"""Demuxers for files; none of them names other files or hosts."""


def open_file(file: Any, *, format: str | None = None) -> InputContainer:
    """Let FFmpeg read `file`, and nothing else."""

    def refuse(url: str, flags: int, options: dict[str, str]) -> Any:
        raise OSError("this source names other files, which are not opened")

    container: InputContainer = av.open(
        file,
        "r",
        format=format,
        io_open=refuse,
        options={"protocol_whitelist": "none", "format_whitelist": FORMATS},
    )
    return container
