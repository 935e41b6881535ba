"""What the decoder of an import gives out: pictures that stand upright."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onlooker.core.clock import SystemClock
from onlooker.core.media import Pixels
from onlooker.core.recordings.decoder import PartDecoder, ProcessAllowance
from onlooker.core.recordings.records import HEADER, RecordingPart, RecordKind
from tests.fakes.turned import CORNERS, LYING, corners, turned_jpegs_in_avi, turned_video


def given_out(path: Path) -> list[Pixels]:
    """The pictures of a whole recording."""
    target, pictures = io.BytesIO(), []
    part = RecordingPart(path=str(path), is_first=True, interval_s=0.1, width=160, height=160)
    PartDecoder(part, target, SystemClock(), ProcessAllowance()).run()
    target.seek(0)
    while head := target.read(HEADER.size):
        kind, _, num_bytes = HEADER.unpack(head)
        body = target.read(num_bytes)
        if kind == RecordKind.PICTURE:
            pictures.append(np.asarray(Image.open(io.BytesIO(body))))
    return pictures


@pytest.mark.parametrize(("turn", "is_mirrored"), LYING)
def test_a_recording_is_imported_upright(turn: int, is_mirrored: bool, tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    path.write_bytes(turned_video("mp4", turn, is_mirrored=is_mirrored, num=3))
    pictures = given_out(path)
    assert len(pictures) == 3
    assert all(corners(picture) == list(CORNERS) for picture in pictures)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_motion_jpeg_is_imported_upright(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "camera.avi"
    path.write_bytes(turned_jpegs_in_avi(orientation, num=3))
    pictures = given_out(path)
    assert len(pictures) == 3
    assert all(corners(picture) == list(CORNERS) for picture in pictures)
