"""What is drawn is what is true: read back from pixels, also after JPEG, VP8 and H.264."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from onlooker.demo_model.render import (
    augment,
    jpeg,
    render,
    render_batch,
    resize,
    training_clip,
)
from onlooker.demo_model.video import read_video, write_video
from onlooker.demo_model.world import Scene, World
from tests.unit.demo_model.pixels import Pixels, read_color, read_digit, read_shape

SCENES = [World(seed).state_at(7.3 * seed) for seed in range(60)]


def _tally(pairs: list[tuple[Scene, Pixels]]) -> tuple[float, float, float]:
    """Shares of colours, shapes and signs read right."""
    objects = [(o, image) for scene, image in pairs for o in scene.objects]
    colors = [read_color(image, o) == o.color for o, image in objects]
    shapes = [read_shape(image, o) == o.shape for o, image in objects]
    signs = [read_digit(image) == scene.sign for scene, image in pairs]
    return float(np.mean(colors)), float(np.mean(shapes)), float(np.mean(signs))


@pytest.mark.parametrize(("width", "height"), [(640, 480), (320, 240), (144, 144), (360, 480)])
def test_pixels_show_the_truth(width: int, height: int) -> None:
    pairs = [
        (scene, render(scene, width, height)) for scene in SCENES[: 6_000_000 // width // height]
    ]
    assert _tally(pairs) == (1.0, 1.0, 1.0)


def test_pixels_show_the_truth_at_72() -> None:
    color, shape, sign = _tally([(scene, render(scene, 72, 72)) for scene in SCENES])
    assert color == 1.0
    assert shape >= 0.98
    assert sign == 1.0


def test_truth_survives_jpeg_at_quality_50() -> None:
    pairs = [(scene, jpeg(render(scene, 144, 144), 50)) for scene in SCENES]
    color, shape, sign = _tally(pairs)
    assert color >= 0.99
    assert shape >= 0.97
    assert sign >= 0.97


def test_truth_survives_jpeg_at_72() -> None:
    color, shape, _ = _tally([(scene, jpeg(render(scene, 72, 72), 50)) for scene in SCENES])
    assert color >= 0.97
    assert shape >= 0.9


@pytest.mark.parametrize(("name", "bitrate"), [("a.webm", 400_000), ("a.mp4", 400_000)])
def test_truth_survives_webcam_codecs(tmp_path: Path, name: str, bitrate: int) -> None:
    world = World(11)
    times = [50.0 + i / 15 for i in range(90)]
    pictures = (render(world.state_at(t), 640, 480) for t in times)
    assert write_video(tmp_path / name, pictures, 15.0, bitrate) == 90
    shown = read_video(tmp_path / name)
    assert len(shown) == 90
    # The first frames after a start or a cut may still be coarse at this rate.
    settled = [
        i
        for i in range(8, 90, 3)
        if world.state_at(times[i] - 0.5).index == world.state_at(times[i]).index
    ]
    color, shape, sign = _tally([(world.state_at(times[i]), shown[i]) for i in settled])
    assert color >= 0.98
    assert shape >= 0.96
    assert sign >= 0.96


def test_y4m_is_nearly_exact(tmp_path: Path) -> None:
    world = World(2)
    pictures = [render(world.state_at(float(t)), 320, 240) for t in range(5)]
    write_video(tmp_path / "a.y4m", pictures, 1.0)
    for was, shown in zip(pictures, read_video(tmp_path / "a.y4m"), strict=True):
        assert np.abs(was.astype(int) - shown.astype(int)).mean() < 3.0


def test_a_squashed_frame_looks_like_a_resized_one() -> None:
    for scene in SCENES[:10]:
        direct = render(scene, 72, 72, aspect=4 / 3).astype(int)
        resized = resize(render(scene, 640, 480), 72, 72).astype(int)
        assert np.abs(direct - resized).mean() < 2.5


def test_a_cut_changes_the_background_clearly() -> None:
    world = World(4)
    for event in world.events(0.0, 300.0):
        if event.kind == "cut":
            old = render(world.state_at(event.t - 0.01), 72, 72).astype(int)
            new = render(world.state_at(event.t), 72, 72).astype(int)
            assert np.median(np.abs(old - new)) > 40


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 200), (7, 3), (33, 71)])
def test_any_size_can_be_drawn(width: int, height: int) -> None:
    for scene in SCENES[:10]:
        assert render(scene, width, height).shape == (height, width, 3)


@pytest.mark.parametrize(("width", "height"), [(0, 10), (10, 9000)])
def test_a_size_out_of_range_is_refused(width: int, height: int) -> None:
    with pytest.raises(ValueError, match="1 to 8192 pixels"):
        render(SCENES[0], width, height)


def test_spoiling_follows_its_seed_and_keeps_the_size() -> None:
    picture = render(SCENES[1], 72, 72)
    one, same, other = (augment(picture, np.random.default_rng(s)) for s in (1, 1, 2))
    assert one.shape == picture.shape
    assert one.dtype == np.uint8
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_both_frames_of_a_clip_are_filmed_alike() -> None:
    for seed in range(20):
        clip = training_clip((SCENES[3], SCENES[3]), 72, np.random.default_rng(seed)).astype(int)
        assert clip.shape == (2, 72, 72, 3)
        assert np.abs(clip[0] - clip[1]).mean() < 10


def test_spoiled_pictures_can_still_be_read() -> None:
    right = []
    for seed, scene in enumerate(SCENES):
        spoiled = augment(render(scene, 144, 144), np.random.default_rng(seed))
        right += [read_color(spoiled, o) == o.color for o in scene.objects]
    assert np.mean(right) >= 0.93


def test_drawing_small_frames_is_fast() -> None:
    scenes = [World(9).state_at(0.5 * i) for i in range(200)]
    render_batch(scenes, 72, 72)
    best = min(_seconds(scenes) for _ in range(5))
    assert best / len(scenes) < 0.002, "2 ms a frame is ten times what it should take"


def _seconds(scenes: list[Scene]) -> float:
    """Of the processor, which nobody else takes from us."""
    start_s = time.thread_time()
    render_batch(scenes, 72, 72)
    return time.thread_time() - start_s
