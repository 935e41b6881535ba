import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from onlooker.core.media import Pixels
from onlooker.streams.perception.gate import Gate, resemblance, thumbnail


def make_gate(threshold: float = 0.04, *, refresh_s: float = 5.0) -> Gate:
    return Gate(threshold=threshold, cut_threshold=0.25, refresh_s=refresh_s)


def scene(*, dot: tuple[int, int] | None = None, size: int = 6, seed: int = 3) -> Image.Image:
    """A textured still background, with a small object on it or not."""
    noise = np.random.default_rng(seed).integers(60, 180, (16, 16, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((224, 224), Image.Resampling.BICUBIC)
    if dot is not None:
        x, y = dot
        ImageDraw.Draw(image).ellipse((x, y, x + size, y + size), fill=(255, 230, 40))
    return image


def as_jpeg(image: Image.Image, quality: int, *, shift: int = 0) -> Pixels:
    buffer = io.BytesIO()
    image.crop((shift, shift, 224, 224)).resize((224, 224)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image)


@pytest.mark.parametrize("quality", [40, 60, 75, 90])
def test_coding_noise_is_no_change(quality: int) -> None:
    gate = make_gate()
    assert gate.judge(as_jpeg(scene(), 90), 0.0).is_kept
    assert not gate.judge(as_jpeg(scene(), quality), 0.5).is_kept


def test_sensor_noise_is_no_change() -> None:
    generator, gate = np.random.default_rng(5), make_gate()
    base = pixels(scene()).astype(float)
    verdicts = [
        gate.judge((base + generator.normal(0, 4, base.shape)).clip(0, 255).astype(np.uint8), t / 2)
        for t in range(8)
    ]
    assert [verdict.is_kept for verdict in verdicts] == [True] + [False] * 7


@pytest.mark.parametrize("place", [(3, 3), (100, 100), (101, 102), (110, 57), (217, 217)])
def test_a_small_object_on_a_large_still_background_is_never_skipped(
    place: tuple[int, int],
) -> None:
    gate = make_gate()
    gate.judge(as_jpeg(scene(), 80), 0.0)
    assert gate.judge(as_jpeg(scene(dot=place), 80), 0.5).is_kept


def test_a_small_object_that_moves_a_little_is_seen() -> None:
    gate = make_gate()
    gate.judge(as_jpeg(scene(dot=(100, 100)), 80), 0.0)
    assert gate.judge(as_jpeg(scene(dot=(103, 100)), 80), 0.5).is_kept


def test_flicker_of_the_whole_picture_is_no_change_but_the_light_going_out_is() -> None:
    gate = make_gate()
    base = pixels(scene()).astype(int)
    gate.judge(base.astype(np.uint8), 0.0)
    assert not gate.judge((base + 8).astype(np.uint8), 0.5).is_kept
    assert gate.judge((base // 3).astype(np.uint8), 1.0).is_kept


def test_slow_changes_add_up_because_the_last_kept_frame_is_the_measure() -> None:
    gate = make_gate(refresh_s=1000.0)
    base = np.full((224, 224, 3), 100, np.uint8)
    kept = []
    for step in range(30):
        frame = base.copy()
        frame[80:140, 80:140] = 100 + step * 3
        kept.append(gate.judge(frame, step * 0.5).is_kept)
    assert 5 <= sum(kept) <= 12


def test_a_still_scene_is_shown_again_after_a_while() -> None:
    gate = make_gate(refresh_s=5.0)
    kept = [t / 2 for t in range(30) if gate.judge(pixels(scene()), t / 2).is_kept]
    assert kept == [0.0, 5.0, 10.0]


def test_threshold_zero_keeps_everything() -> None:
    gate = make_gate(0.0)
    assert all(gate.judge(pixels(scene()), t / 2).is_kept for t in range(5))


def test_another_scene_is_a_cut_and_movement_is_none() -> None:
    gate = make_gate()
    gate.judge(pixels(scene(dot=(20, 20), size=60)), 0.0)
    moved = gate.judge(pixels(scene(dot=(120, 90), size=60)), 0.5)
    assert moved.is_kept
    assert not moved.is_cut
    assert gate.judge(np.full((224, 224, 3), 250, np.uint8), 1.0).is_cut


def test_a_wanted_frame_is_kept_and_becomes_the_measure() -> None:
    gate = make_gate()
    gate.judge(pixels(scene()), 0.0)
    assert gate.judge(pixels(scene()), 0.5, is_wanted=True).is_kept


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.2])
def test_a_gate_that_says_beforehand_what_it_would_keep_keeps_the_same(threshold: float) -> None:
    rng = np.random.default_rng(7)
    asked, whole = (Gate(threshold=threshold, cut_threshold=0.2, refresh_s=3.0) for _ in range(2))
    picture = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    for index in range(60):
        if rng.random() < 0.3:
            left = int(rng.integers(0, 50))
            picture = picture.copy()
            picture[10:20, left : left + 12] = rng.integers(0, 255, 3)
        is_wanted = rng.random() < 0.2
        looks = resemblance(thumbnail(picture), asked.before)
        least = asked.least_news(float(index), is_wanted=is_wanted)
        if least.reached_by(looks):
            mine = asked.judge_by(looks, float(index), is_wanted=is_wanted)
        else:
            mine = asked.skip(looks)
        assert mine == whole.judge(picture, float(index), is_wanted=is_wanted)
