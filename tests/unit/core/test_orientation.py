import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.orientation import Orientation

ONE = 65536


def matrix(a: float, b: float, c: float, d: float) -> bytes:
    return struct.pack("=9i", *(round(v * ONE) for v in (a, b, 0, c, d, 0, 7, 9)), 1 << 30)


@pytest.mark.parametrize(
    "way", [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1),
            (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, -1, 0), (0, -1, -1, 0)],
)  # fmt: skip
def test_every_pixel_comes_to_where_the_matrix_puts_it(way: tuple[int, int, int, int]) -> None:
    a, b, c, d = way
    stored = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    shown = Orientation.of_matrix(matrix(*way)).upright(stored)
    rows, columns = np.mgrid[:2, :3]
    across, down = a * columns + c * rows, b * columns + d * rows
    across, down = across - across.min(), down - down.min()
    assert shown.shape == ((3, 2, 3) if b else (2, 3, 3))
    assert np.array_equal(shown[down, across], stored)


@given(st.floats(0.1, 100), st.floats(-30, 30), st.sampled_from([0, 90, 180, 270]))
def test_a_matrix_that_scales_and_leans_counts_as_the_nearest_turn(
    scale: float, lean: float, turn: int
) -> None:
    angle = np.radians(turn + lean)  # clockwise, since y points down
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    assert Orientation.of_matrix(matrix(cos, sin, -sin, cos)) == Orientation.of_rotation(-turn)


@given(st.binary(max_size=40))
def test_any_bytes_are_some_orientation(data: bytes) -> None:
    assert Orientation.of_matrix(data).upright(np.zeros((2, 2, 3), np.uint8)).shape == (2, 2, 3)


def test_a_matrix_of_nothing_leaves_the_picture_as_it_is() -> None:
    assert Orientation.of_matrix(matrix(0, 0, 0, 0)) == Orientation()
    assert Orientation.of_matrix(b"") == Orientation()
