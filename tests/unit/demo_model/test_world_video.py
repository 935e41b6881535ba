"""Video files of the drawn world, and the command that writes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from onlooker.demo_model.render import Image, frames, render
from onlooker.demo_model.video import VideoError, main, read_video, write_video
from onlooker.demo_model.world import World


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "h264"), ("a.webm", "vp8"), ("a.y4m", "rawvideo")]
)
def test_the_file_holds_what_was_asked_for(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    options = ["--seed", "3", "--start", "40", "--seconds", "2", "--fps", "10", "--size", "160x120"]
    assert main([*options, str(path)]) == 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == codec
        assert stream.average_rate == 10
        assert (stream.width, stream.height) == (160, 120)
        times = [float(frame.time) for frame in container.decode(stream)]
    assert times == pytest.approx([i / 10 for i in range(20)], abs=0.002)
    for i, shown in enumerate(read_video(path)):
        truth = render(World(3).state_at(40 + i / 10), 160, 120).astype(int)
        assert np.abs(shown.astype(int) - truth).mean() < 6
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_seed_replays_the_same_pictures(tmp_path: Path) -> None:
    for name in ("a.y4m", "b.y4m"):
        assert main(["--seed", "9", "--seconds", "1", "--size", "64x48", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.y4m").read_bytes() == (tmp_path / "b.y4m").read_bytes()


def test_a_broken_source_leaves_no_file(tmp_path: Path) -> None:
    def source() -> Iterator[Image]:
        for _, picture in frames(1, 10.0, 64, 48, duration_s=0.5):
            yield picture
        raise RuntimeError("camera gone")

    with pytest.raises(RuntimeError, match="camera gone"):
        write_video(tmp_path / "a.mp4", source(), 10.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["a.avi"], "must end in .mp4, .webm, .y4m"),
        (["nowhere/a.mp4"], "there is no folder"),
        (["--seed", "-1", "a.mp4"], "from 0 to 2**32 - 1"),
        (["--seconds", "0", "a.mp4"], "--seconds must be above 0"),
        (["--seconds", "nan", "a.mp4"], "--seconds must be above 0"),
        (["--start", "-3", "a.mp4"], "--start must be from 0"),
        (["--fps", "0", "a.mp4"], "--fps must be above 0"),
        (["--bitrate", "5", "a.mp4"], "bits a second"),
    ],
)
def test_wrong_options_say_what_is_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(options) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["640", "3x3", "641x480", "8192x8192", "ax4"])
def test_a_wrong_size_is_refused(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--size", size, "a.mp4"])
    assert stopped.value.code == 2
    assert "size" in capsys.readouterr().err


def test_odd_pictures_and_no_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="must be even"):
        write_video(tmp_path / "a.mp4", [np.zeros((3, 5, 3), np.uint8)], 10.0)
    with pytest.raises(VideoError, match="at least one picture"):
        write_video(tmp_path / "a.mp4", [], 10.0)
    assert list(tmp_path.iterdir()) == []


def test_reading_what_is_no_video_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing of the sort")
    for name in ("a.mp4", "missing.mp4"):
        with pytest.raises(VideoError, match="cannot read"):
            read_video(tmp_path / name)
