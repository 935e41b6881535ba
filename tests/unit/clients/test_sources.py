"""Sources: what they give, when, and what they say when they cannot."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from onlooker.clients.python import ConnectionLost
from onlooker.clients.python.sources import FileSource, open_source
from onlooker.clients.python.sources.drawn import DrawnSource
from onlooker.clients.python.sources.media import LiveSource
from onlooker.core.clock import SystemClock
from onlooker.core.errors import InvalidRequest, NotFound, OnlookerError, UnsupportedMedia
from onlooker.demo_model.video import write_video
from tests.fakes.pictures import encode_chunks
from tests.fakes.rtsp_camera import RtspCamera
from tests.fakes.timed import timed_video
from tests.fakes.turned import CORNERS, LYING, corners, turned_jpeg, turned_video


@pytest.fixture(scope="module")
def grey_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 5 fps: each picture a little brighter than the last."""
    path = tmp_path_factory.mktemp("video") / "grey.mp4"
    pictures = (np.full((48, 64, 3), 20 * number, np.uint8) for number in range(1, 11))
    assert write_video(path, pictures, fps=5) == 10
    return path


def level(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> int:
    """Which picture it is: 1 to 10."""
    return round(float(pixels.mean()) / 20)


async def test_a_file_gives_the_last_picture_up_to_each_moment(grey_video: Path) -> None:
    async with FileSource(grey_video) as source:
        seen = []
        for due_s in (0.0, 0.1, 0.45, 1.2):
            picture = await source.picture(due_s)
            assert picture is not None
            assert picture.at_s == due_s
            assert picture.pixels.shape == (48, 64, 3)
            seen.append(level(picture.pixels))
        assert seen == [1, 1, 3, 7]
        assert level((await source.picture(1.81)).pixels) == 10  # type: ignore[union-attr]
        assert await source.picture(2.1) is None


async def test_a_looped_file_begins_again(grey_video: Path) -> None:
    async with FileSource(grey_video, loop=True) as source:
        levels = []
        for due_s in (0.0, 1.81, 2.01, 3.0, 4.05):
            picture = await source.picture(due_s)
            assert picture is not None
            levels.append(level(picture.pixels))
        assert levels == [1, 10, 1, 6, 1]


async def test_files_that_are_no_video_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("not a video at all, only words\n" * 50)
    with pytest.raises(OnlookerError, match=r"cannot open notes\.mp4|no picture"):
        async with FileSource(text):
            pass
    with pytest.raises(NotFound, match="there is no file or device"):
        open_source(str(tmp_path / "missing.mp4"))
    with pytest.raises(InvalidRequest, match="is a folder"):
        open_source(str(tmp_path))


async def test_a_broken_tail_ends_a_file_without_losing_its_head(
    grey_video: Path, tmp_path: Path
) -> None:
    from onlooker.demo_model.render import frames

    whole = tmp_path / "whole.webm"
    write_video(whole, (picture for _, picture in frames(7, 5, 64, 48, 0, 4)), fps=5)
    cut = tmp_path / "cut.webm"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    async with FileSource(cut) as source:
        assert await source.picture(0.0) is not None
        due_s = 0.0
        while await source.picture(due_s) is not None:
            due_s += 0.2
            assert due_s < 10


async def test_a_live_source_gives_the_newest_picture_and_its_end(grey_video: Path) -> None:
    source = LiveSource(str(grey_video), name="camera", clock=SystemClock())
    async with source:
        first = await source.picture(0.0)
        assert first is not None
        last = first
        while (picture := await source.picture(0.0)) is not None:
            assert picture.at_s >= last.at_s
            last = picture
        assert level(last.pixels) == 10


async def test_an_rtsp_camera_is_watched_until_it_says_goodbye() -> None:
    camera = RtspCamera(encode_chunks("libx264", 20))
    try:
        async with open_source(camera.url) as source:
            sizes = []
            with contextlib.suppress(ConnectionLost):
                while (picture := await source.picture(0.0)) is not None:
                    sizes.append(picture.pixels.shape)
        assert sizes
        assert set(sizes) == {(120, 160, 3)}
    finally:
        camera.close()


async def test_a_camera_that_is_not_there_is_said(tmp_path: Path) -> None:
    source = LiveSource(str(tmp_path / "video9"), name="video9", clock=SystemClock())
    with pytest.raises((NotFound, UnsupportedMedia), match="cannot open video9"):
        async with source:
            pass


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("rtsp://user:secret@cam.example.org/live", LiveSource, "rtsp://cam.example.org/live"),
        ("http://example.org/a.m3u8", LiveSource, "example.org/a.m3u8"),
        ("https://example.org/a.mp4", FileSource, "https://example.org/a.mp4"),
        ("avfoundation://0", LiveSource, "avfoundation://0"),
        ("/dev/null", LiveSource, "/dev/null"),
        ("demo://?seed=9&size=320x240", DrawnSource, "the drawn world (seed 9)"),
    ],
)
def test_what_an_address_names(text: str, kind: type, name: str) -> None:
    source = open_source(text)
    assert isinstance(source, kind)
    assert source.name == name


@pytest.mark.parametrize(
    "text",
    ["ftp://x/y", "demo://?seed=-1", "demo://?seed=x", "demo://?size=big", "demo://?sed=7"],
)
def test_addresses_that_name_nothing(text: str) -> None:
    with pytest.raises(InvalidRequest):
        open_source(text)


@pytest.mark.parametrize(("turn", "is_mirrored"), LYING)
@pytest.mark.parametrize("kind", ["mp4", "mkv"])
async def test_a_file_and_a_live_source_give_upright_pictures(
    kind: str, turn: int, is_mirrored: bool, tmp_path: Path
) -> None:
    path = tmp_path / f"phone.{kind}"
    path.write_bytes(turned_video(kind, turn, is_mirrored=is_mirrored, num=3))
    for source in (FileSource(path), LiveSource(str(path), name="phone", clock=SystemClock())):
        async with source:
            picture = await source.picture(0.0)
            assert picture is not None
            assert picture.pixels.shape == (96, 160, 3)
            assert corners(picture.pixels) == list(CORNERS)


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_motion_jpeg_whose_pictures_say_how_they_lie_is_upright(
    orientation: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.mjpeg"
    path.write_bytes(turned_jpeg(orientation) * 3)
    for source in (FileSource(path), LiveSource(str(path), name="camera", clock=SystemClock())):
        async with source:
            picture = await source.picture(0.0)
            assert picture is not None
            assert picture.pixels.shape == (96, 160, 3)
            assert corners(picture.pixels) == list(CORNERS)


async def levels(path: Path, times_s: list[float]) -> list[int]:
    """Which of the drawn colours is seen at each of some times: 0, 1 or 2; -1 after the end."""
    seen = []
    async with FileSource(path) as source:
        for due_s in times_s:
            picture = await source.picture(due_s)
            seen.append(-1 if picture is None else int(picture.pixels[8, 8].argmax()))
    return seen


async def test_raw_video_is_played_at_the_rate_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "cam.h264"
    path.write_bytes(timed_video("h264", [index / 10 for index in range(30)]))
    assert await levels(path, [0.05, 0.95, 1.05, 1.95, 2.05, 2.91, 3.05]) == [0, 0, 1, 1, 2, 2, -1]


async def test_recordings_in_one_file_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "twice.ts"
    path.write_bytes(timed_video("mpegts", [index / 10 for index in range(20)]) * 2)
    assert await levels(path, [0.05, 1.05, 2.05, 3.05]) == [0, 1, 0, 1]
