"""Which places of drawn videos are taken for changed, against what was drawn."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onlooker.core.media import Pixels
from onlooker.engine.memory.drops import DROPS
from onlooker.engine.memory.mosaic import Mask, Mosaic
from onlooker.engine.memory.published_drops import STC_SHARE
from onlooker.engine.memory.token_drop import DropName, TokenDropSection

TILE = 24
SIDE = 4
"""Places along each side of a picture."""

SIZE = TILE * SIDE
AGAIN = 8

Clip = tuple[Pixels, Pixels]


def scene() -> NDArray[np.uint8]:
    """A still background with texture."""
    rows, columns = np.indices((SIZE, SIZE))
    return np.stack(
        [60 + (rows * 2) % 97, 80 + (columns * 3) % 89, 90 + (rows + columns) % 71], -1
    ).astype(np.uint8)


def with_square(picture: Pixels, x: int, y: int, size: int = 16) -> Pixels:
    found = picture.copy()
    found[y : y + size, x : x + size] = (250, 240, 30)
    return found


def shown(
    clips: list[Clip], method: DropName = "filled", *, again: int = 4096, threshold: float = 0.04
) -> list[Mask]:
    """Which places of each clip are computed, clips by rows of places."""
    mosaic, chooser, found = Mosaic(TILE), DROPS[method].make(), []
    limits = TokenDropSection(
        method=method, threshold=threshold, again_clips=again, anchor_places=0
    )
    for index, frames in enumerate(clips):
        glance = mosaic.look(frames, index)
        mask = DROPS[method].mask(chooser, glance, limits, 16)
        mosaic.note(glance, mask)
        chooser.note(glance)
        found.append(mask.reshape(SIDE, SIDE))
    return found


def twice(picture: Pixels) -> Clip:
    return picture, picture


def touched(x: int, y: int, size: int = 16) -> Mask:
    """Places in which a square lies."""
    found = np.zeros((SIDE, SIDE), np.bool_)
    found[y // TILE : (y + size - 1) // TILE + 1, x // TILE : (x + size - 1) // TILE + 1] = True
    return found


def test_the_first_clip_is_whole_and_a_still_scene_is_not_shown_again() -> None:
    first, *others = shown([twice(scene())] * 5)
    assert first.all()
    assert [mask.sum() for mask in others] == [1] * 4  # one place at least is always computed


def test_what_moves_is_shown_where_it_comes_and_where_it_goes() -> None:
    places = [(2, 2), (26, 2), (50, 2), (50, 26), (50, 50)]
    masks = shown([twice(with_square(scene(), *place)) for place in places])
    for before, now, mask in zip(places, places[1:], masks[1:], strict=False):
        assert (mask == (touched(*before) | touched(*now))).all()


def test_what_one_frame_of_a_clip_shows_is_seen_when_it_goes() -> None:
    passing = (with_square(scene(), 2, 2), scene())
    masks = shown([twice(scene()), passing, twice(scene()), twice(scene())])
    assert (masks[1] == touched(2, 2)).all()
    assert (masks[2] == touched(2, 2)).all()
    assert masks[3].sum() == 1


def test_a_cut_is_shown_whole() -> None:
    other = np.ascontiguousarray(scene()[::-1, ::-1, ::-1])
    assert shown([twice(scene()), twice(other)])[1].all()


def test_a_pan_is_shown_wherever_there_is_texture() -> None:
    wide = np.random.default_rng(1).integers(0, 256, (SIZE // 8, 80, 3), np.uint8)
    wide = wide.repeat(8, 0).repeat(8, 1)
    clips = [twice(np.ascontiguousarray(wide[:, i * 16 : i * 16 + SIZE])) for i in range(8)]
    assert all(mask.all() for mask in shown(clips))


def test_sensor_noise_is_no_change() -> None:
    rng = np.random.default_rng(2)

    def noisy() -> Pixels:
        return (scene() + rng.normal(0, 4, (SIZE, SIZE, 3))).clip(0, 255).astype(np.uint8)

    masks = shown([(noisy(), noisy()) for _ in range(12)])
    assert max(mask.sum() for mask in masks[1:]) == 1


@pytest.mark.parametrize("steps", [[8, 0, 8, 0, 8], [2, 4, 6, 8, 10]], ids=["flicker", "ramp"])
def test_a_change_of_light_is_no_change_until_it_is_large(steps: list[int]) -> None:
    clips = [twice(scene()), *(twice(scene() + np.uint8(step)) for step in steps)]
    assert max(mask.sum() for mask in shown(clips)[1:]) == 1
    bright = [twice(scene() + np.uint8(3 * step)) for step in range(20)]
    assert max(mask.sum() for mask in shown(bright)[1:]) > SIDE**2 // 2


def test_what_moves_in_flickering_light_is_seen_alone() -> None:
    clips = [
        twice(with_square(scene(), x, 2) + np.uint8(light))
        for x, light in [(2, 0), (26, 5), (50, 0), (50, 5)]
    ]
    masks = shown(clips)
    assert (masks[1] == (touched(2, 2) | touched(26, 2))).all()
    assert masks[3].sum() == 1


def test_what_moves_slowly_is_seen_once_it_has_moved_far_enough() -> None:
    """Less than the threshold from clip to clip, but it adds up."""
    clips = []
    for index in range(40):
        picture = scene().astype(np.int16)
        picture[30:40, 30:40] += index
        slow = picture.clip(0, 255).astype(np.uint8)
        clips.append(twice(with_square(slow, 74, 74) if index % 2 else slow))
    times = [index for index, mask in enumerate(shown(clips)) if index and mask[1, 1]]
    assert len(times) >= 2
    waits = [later - before for before, later in zip([0, *times], times, strict=False)]
    assert all(8 <= wait <= 13 for wait in waits), waits
    # What compares with the clip before never sees it.
    assert not any(mask[1, 1] for mask in shown(clips, "dtd")[1:])


@pytest.mark.parametrize("method", ["filled", "shown_again"])
def test_every_place_is_shown_again_in_turn(method: DropName) -> None:
    masks = np.stack(shown([twice(scene())] * 40, method, again=AGAIN))
    for start in range(40 - AGAIN):
        assert masks[start : start + AGAIN].any(0).all()
    loads = masks[1:].sum((1, 2))
    assert loads.max() <= 2 * SIDE**2 // AGAIN
    assert not masks[1:].all(1).any()  # no column at once
    assert not masks[1:].all(2).any()  # no row at once


def test_a_clip_that_was_lost_was_not_shown() -> None:
    mosaic, drop = Mosaic(TILE), DROPS["filled"]
    chooser = drop.make()
    limits = TokenDropSection(method="filled", again_clips=4096, anchor_places=0)
    first = mosaic.look(twice(scene()), 0)
    mosaic.note(first, drop.mask(chooser, first, limits, 16))
    for index in (1, 2, 3):  # each is lost
        glance = mosaic.look(twice(with_square(scene(), 2, 2)), index)
        assert (drop.mask(chooser, glance, limits, 16).reshape(SIDE, SIDE) == touched(2, 2)).all()


def test_higher_thresholds_show_less() -> None:
    rng = np.random.default_rng(3)
    clips = [twice(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)) for _ in range(3)]
    counts = [int(shown(clips, threshold=level / 20)[1].sum()) for level in range(21)]
    assert counts == sorted(counts, reverse=True)


def test_dtd_compares_with_the_clip_before_and_never_shows_again() -> None:
    places = [(2, 2), (26, 2), (26, 2), (26, 2)]
    masks = shown([twice(with_square(scene(), *place)) for place in places], "dtd")
    assert masks[0].all()
    assert (masks[1] == (touched(2, 2) | touched(26, 2))).all()
    assert [mask.sum() for mask in masks[2:]] == [1, 1]


def test_stc_keeps_a_fixed_share_of_each_picture_and_what_is_new_first() -> None:
    clips = [twice(scene())] * 4 + [twice(with_square(scene(), 26, 50))] * 2
    first, *others = shown(clips, "stc")
    assert first.all()
    assert {int(mask.sum()) for mask in others} == {math.ceil(SIDE**2 * STC_SHARE)}
    assert others[-1][touched(26, 50)].all()
    assert not others[0][touched(26, 50)].all()


def test_curvestream_shows_clearly_where_the_path_of_pictures_turns() -> None:
    # A thing goes on and on, then back: the path turns there.
    places = [*range(0, 64, 4), *range(56, 20, -4)]
    masks = shown([twice(with_square(scene(), x, 30)) for x in places], "curvestream")
    assert masks[16].all()
    assert sum(mask.all() for mask in masks[5:]) < len(masks[5:]) // 2
    assert {int(mask.sum()) for mask in masks} <= {1, SIDE**2 // 2, SIDE**2}


def test_streams_do_not_know_of_each_other() -> None:
    """Published code keeps what is past in one place for all."""
    rng = np.random.default_rng(4)
    clips = [twice(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)) for _ in range(6)]
    for method in DROPS:
        alone = shown(clips, method)  # type: ignore[arg-type]
        shown(list(reversed(clips)), method)  # type: ignore[arg-type]
        again = shown(clips, method)  # type: ignore[arg-type]
        assert all((one == other).all() for one, other in zip(alone, again, strict=True))


def _largest(a: Pixels, b: Pixels) -> float:
    """The largest difference of the mean brightness of 4x4 pixels, 0-1."""
    grey = [picture.astype(np.float64) @ (0.299, 0.587, 0.114) for picture in (a, b)]
    means = [one.reshape(TILE // 4, 4, TILE // 4, 4).mean((1, 3)) for one in grey]
    return float(np.abs(means[0] - means[1]).max()) / 255


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, SIZE - 16), st.integers(0, SIZE - 16), st.integers(0, 60)),
        min_size=2, max_size=12,
    )
)  # fmt: skip
def test_what_is_not_shown_looks_like_what_was_shown_there(
    drawn: list[tuple[int, int, int]],
) -> None:
    clips = []
    for x, y, colour in drawn:
        picture = scene()
        picture[y : y + 16, x : x + 16] += np.uint8(colour)
        clips.append(twice(picture))
    last: dict[tuple[int, int], tuple[int, Pixels]] = {}
    for index, ((picture, _), mask) in enumerate(
        zip(clips, shown(clips, again=AGAIN), strict=True)
    ):
        for place, tile in _tiles(picture):
            if mask[place]:
                last[place] = index, tile
            seen_at, seen = last[place]
            assert index - seen_at < AGAIN
            assert _largest(seen, tile) <= 0.04 + 2 / 255  # means are whole numbers


def _tiles(picture: Pixels) -> Iterator[tuple[tuple[int, int], Pixels]]:
    for row, column in np.ndindex(SIDE, SIDE):
        place = slice(row * TILE, (row + 1) * TILE), slice(column * TILE, (column + 1) * TILE)
        yield (row, column), picture[place]
