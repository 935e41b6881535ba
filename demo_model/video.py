"""Writes the drawn world into video files: MP4 (H.264), WebM (VP8) or Y4M (raw).

    python -m onlooker.demo_model.video --seed 7 --seconds 60 --fps 25 --size 640x480 out.webm

The same seed, start and rate give the same pictures again, so a file can be replayed instead of
being kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from onlooker.demo_model.render import frames
from onlooker.demo_model.world import MAX_TIME_S

Image = NDArray[np.uint8]

CODECS = {".mp4": "libx264", ".webm": "libvpx", ".y4m": "wrapped_avframe"}
DEFAULT_BITRATE = 1_500_000
MAX_SECONDS = 24 * 3600.0


class VideoError(ValueError):
    """The video cannot be written as asked; the text says what to change."""


def codec_for(path: Path) -> str:
    """The codec that a file name's ending asks for."""
    try:
        return CODECS[path.suffix.lower()]
    except KeyError:
        raise VideoError(
            f"cannot tell the format of {path.name!r}: the name must end in "
            f"{', '.join(CODECS)} (H.264, VP8 or raw pictures)"
        ) from None


def write_video(
    path: Path, pictures: Iterable[Image], fps: float, bitrate: int = DEFAULT_BITRATE
) -> int:
    """Writes uint8[height, width, 3] pictures of one even size; returns how many there were.

    The format follows the file's ending. The file is written under a temporary name and moved
    into place at the end, so that a broken run leaves no half video behind.
    """
    codec = codec_for(path)
    if not 0 < fps <= 240:
        raise VideoError(f"frames a second must be above 0 and at most 240, not {fps}")
    if not path.parent.is_dir():
        raise VideoError(f"there is no folder {path.parent}; make it first")
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    count = 0
    try:
        with av.open(str(part), "w", format=_container(path)) as container:
            stream: Any = None
            for picture in pictures:
                if stream is None:
                    stream = _stream(container, codec, picture, fps, bitrate)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.pts = count
                container.mux(stream.encode(frame))
                count += 1
            if stream is None:
                raise VideoError("a video needs at least one picture")
            container.mux(stream.encode())
        part.replace(path)
    except av.FFmpegError as error:
        raise VideoError(f"cannot write {path}: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return count


def _container(path: Path) -> str:
    return "yuv4mpegpipe" if path.suffix.lower() == ".y4m" else path.suffix.lower()[1:]


def _stream(container: Any, codec: str, picture: Image, fps: float, bitrate: int) -> Any:
    height, width = picture.shape[:2]
    if width % 2 or height % 2:
        raise VideoError(f"a video's width and height must be even, not {width}x{height}")
    rate = Fraction(fps).limit_denominator(1001)
    stream = container.add_stream(codec, rate=rate)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.time_base = 1 / rate
    if codec != "wrapped_avframe":
        stream.bit_rate = bitrate
        # A key frame every two seconds, as browsers and cameras send; encoding keeps up with time.
        stream.codec_context.gop_size = max(int(2 * fps), 1)
        fast = {"libx264": {"preset": "veryfast"}, "libvpx": {"deadline": "realtime"}}[codec]
        stream.options = {**fast, **({"cpu-used": "6"} if codec == "libvpx" else {})}
    return stream


def read_video(path: Path, limit: int | None = None) -> list[Image]:
    """The pictures of a file as uint8[height, width, 3], at most `limit`."""
    pictures: list[Image] = []
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                if limit is not None and len(pictures) >= limit:
                    break
                pictures.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
    except (av.FFmpegError, FileNotFoundError) as error:
        raise VideoError(f"cannot read {path}: {error}") from error
    return pictures


def parse_size(text: str) -> tuple[int, int]:
    """(640, 480) from "640x480"."""
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"a size looks like 640x480, not {text!r}")
    size = int(width), int(height)
    if not all(16 <= side <= 4096 and side % 2 == 0 for side in size):
        raise argparse.ArgumentTypeError(f"sides must be even, from 16 to 4096, not {text}")
    return size


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m onlooker.demo_model.video",
        description="Write the drawn world of a seed into a video file.",
        epilog="example: python -m onlooker.demo_model.video --seed 7 --seconds 60 out.webm",
    )
    parser.add_argument("file", type=Path, help="ends in .mp4 (H.264), .webm (VP8) or .y4m (raw)")
    parser.add_argument("--seed", type=int, default=7, help="which world (default: %(default)s)")
    parser.add_argument(
        "--start", type=float, default=0.0, help="second of the world to begin at (default: 0)"
    )
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="length of the video (default: %(default)s)"
    )
    parser.add_argument(
        "--fps", type=float, default=25.0, help="frames a second (default: %(default)s)"
    )
    parser.add_argument(
        "--size", type=parse_size, default=(640, 480), help="WIDTHxHEIGHT (default: 640x480)"
    )
    parser.add_argument(
        "--bitrate", type=int, default=DEFAULT_BITRATE, help="bits a second (default: %(default)s)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on the terminal")
    return parser


def _checked(options: argparse.Namespace) -> None:
    if not 0 < options.seconds <= MAX_SECONDS:
        raise VideoError(f"--seconds must be above 0 and at most {MAX_SECONDS:.0f}")
    if not 0 <= options.start <= MAX_TIME_S - options.seconds:
        raise VideoError(f"--start must be from 0 to {MAX_TIME_S:.0f}, the end of the world's time")
    if not 0 < options.fps <= 240:
        raise VideoError("--fps must be above 0 and at most 240")
    if options.bitrate < 10_000:
        raise VideoError("--bitrate is in bits a second; below 10000 nothing can be recognised")


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns its exit status (2: wrong options, 1: could not write)."""
    options = _parser().parse_args(arguments)
    width, height = options.size
    try:
        _checked(options)
        codec_for(options.file)
        source = frames(options.seed, options.fps, width, height, options.start, options.seconds)
        total = max(round(options.seconds * options.fps), 1)
        shown = _progress(source, total, quiet=options.quiet or not sys.stderr.isatty())
        count = write_video(options.file, shown, options.fps, options.bitrate)
    except (VideoError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, VideoError) else 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    size_mb = options.file.stat().st_size / 1e6
    print(f"{options.file}: {count} frames, {count / options.fps:.1f} s, {size_mb:.1f} MB")
    return 0


def _progress(source: Iterable[tuple[float, Image]], total: int, *, quiet: bool) -> Iterable[Image]:
    for number, (_, picture) in enumerate(source, 1):
        yield picture
        if not quiet and (number % 25 == 0 or number == total):
            end = "\n" if number == total else ""
            print(f"\r{number}/{total} frames", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
