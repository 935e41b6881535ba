"""Masks as pixels: what is inside is gone, what is outside stays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.errors import TooLarge
from onlooker.core.media import Pixels
from onlooker.streams.mask_painter import MARGIN_PX, MaskPainter, raster
from onlooker.streams.masks import Mask, check_masks

LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
BOW_TIE = ((0.1, 0.1), (0.9, 0.9), (0.9, 0.1), (0.1, 0.9))
STAR = ((0.5, 0.05), (0.77, 0.9), (0.05, 0.35), (0.95, 0.35), (0.23, 0.9))
SHARE = st.floats(0, 1)


def noise(width: int = 40, height: int = 30) -> Pixels:
    return np.random.default_rng(7).integers(1, 256, (height, width, 3), dtype=np.uint8)


def test_a_black_mask_leaves_nothing_of_the_part_and_all_of_the_rest() -> None:
    pixels = noise()
    before = pixels.copy()
    painted = MaskPainter([Mask(LEFT_HALF)]).painted(pixels)
    assert not painted[:, : 20 + MARGIN_PX].any()
    assert np.array_equal(painted[:, 20 + MARGIN_PX + 1 :], before[:, 20 + MARGIN_PX + 1 :])
    assert np.array_equal(pixels, before), "the picture that was given stays as it is"


def test_blurring_leaves_coarse_blocks() -> None:
    pixels = noise(64, 64)
    painted = MaskPainter([Mask(LEFT_HALF, "blur")]).painted(pixels)
    colours = np.unique(painted[:, :32].reshape(-1, 3), axis=0)
    assert len(colours) <= 8 * 5
    assert np.array_equal(painted[:, 34:], pixels[:, 34:])


def test_what_is_black_does_not_shine_through_what_is_blurred() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :32] = 255
    everything = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    painted = MaskPainter([Mask(LEFT_HALF), Mask(everything, "blur")]).painted(pixels)
    assert not painted.any()


@pytest.mark.parametrize(
    ("polygon", "inside"),
    [(BOW_TIE, [(8, 15), (31, 15)]), (STAR, [(20, 15), (20, 5), (5, 11)])],
    ids=["bow tie", "the middle of a star"],
)
def test_lines_may_cross(
    polygon: tuple[tuple[float, float], ...], inside: list[tuple[int, int]]
) -> None:
    part = raster(Mask(polygon), 40, 30)
    assert all(part[y, x] for x, y in inside)
    assert not part[0, 0]


def test_a_polygon_without_an_area_masks_its_line() -> None:
    line = raster(Mask(((0.25, 0.5), (0.75, 0.5), (0.5, 0.5))), 40, 30)
    assert line[15, 10:31].all()
    assert not line[:10].any()
    point = raster(Mask(((0.5, 0.5),) * 3), 40, 30)
    assert point[15, 20]
    assert point.sum() <= (2 * MARGIN_PX + 1) ** 2


@given(st.lists(st.tuples(SHARE, SHARE), min_size=3, max_size=12))
def test_any_polygon_masks_at_least_its_corners(corners: list[tuple[float, float]]) -> None:
    part = raster(Mask(tuple(corners)), 17, 11)
    assert part.shape == (11, 17)
    for x, y in corners:
        assert part[min(10, int(y * 11)), min(16, int(x * 17))]


def test_pictures_of_several_sizes_are_masked() -> None:
    painter = MaskPainter([Mask(LEFT_HALF)])
    for width in (8, 16, 24, 32, 40, 48):
        assert not painter.painted(noise(width, 10))[:, : width // 2].any()


@pytest.mark.parametrize(
    "polygon", [LEFT_HALF[:2], ((0, 0), (1.5, 0), (0, 1)), ((0, 0), (0, -1), (1, 1))]
)
def test_what_is_no_polygon_of_shares_is_refused(
    polygon: tuple[tuple[float, float], ...],
) -> None:
    with pytest.raises(ValueError, match="corners"):
        Mask(polygon)


def test_too_many_masks_or_corners_are_refused() -> None:
    with pytest.raises(TooLarge, match="max_masks"):
        check_masks((Mask(LEFT_HALF),) * 3, max_masks=2, max_points=9)
    with pytest.raises(TooLarge, match="max_mask_points"):
        check_masks((Mask(LEFT_HALF),), max_masks=2, max_points=3)
