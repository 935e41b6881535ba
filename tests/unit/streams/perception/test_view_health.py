"""What befalls a camera, and what is harmless, as drawn pictures of one second each."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onlooker.core.media import Pixels, ViewTrouble
from onlooker.streams.config import HealthSection
from onlooker.streams.perception.gate import thumbnail
from onlooker.streams.perception.view_health import HealthChange, ViewHealth
from tests.fakes.camera_views import (
    SIZE,
    Sensor,
    View,
    blackened,
    covered,
    defocused,
    looked_at,
    passed,
    room,
    seconds,
    walked,
)

LEARNED_S = 40
SECTION = HealthSection(relearn_s=60.0)


def changes(pictures: Iterable[Pixels], section: HealthSection = SECTION) -> list[HealthChange]:
    health = ViewHealth(section)
    found = [health.look(thumbnail(one), float(at_s)) for at_s, one in enumerate(pictures)]
    return [change for change in found if change is not None]


def told(pictures: Iterable[Pixels], section: HealthSection = SECTION) -> list[ViewTrouble | None]:
    return [change.trouble for change in changes(pictures, section)]


class Camera:
    """A camera on a wall of one room."""

    def __init__(self, seed: int) -> None:
        self.sensor, self.wide = Sensor(seed), room(seed)
        self.view = looked_at(self.wide)

    def quiet(self, count: int = LEARNED_S) -> Iterator[Pixels]:
        return seconds(self.sensor, self.view, count)

    def changed(self, change: Callable[[View], View], count: int) -> Iterator[Pixels]:
        return (self.sensor.take(change(walked(self.view, second))) for second in range(count))


@pytest.fixture(params=[1, 4])
def camera(request: pytest.FixtureRequest) -> Camera:
    return Camera(request.param)


@pytest.mark.parametrize(
    ("trouble", "change"),
    [
        (ViewTrouble.BLACK, blackened),
        (ViewTrouble.BLOCKED, covered),
        (ViewTrouble.BLURRED, defocused),
    ],
)
def test_trouble_is_told_once_it_has_lasted_and_so_is_its_end(
    camera: Camera, trouble: ViewTrouble, change: Callable[[View], View]
) -> None:
    found = changes(chain(camera.quiet(), camera.changed(change, 15), camera.quiet(10)))
    assert [(c.trouble, c.was) for c in found] == [(trouble, None), (None, trouble)]
    assert [c.at_s for c in found] == [LEARNED_S + 5, LEARNED_S + 20]


def test_a_camera_that_is_turned_has_moved_until_that_is_its_usual_view(camera: Camera) -> None:
    elsewhere = seconds(camera.sensor, looked_at(camera.wide, SIZE + 60), 120)
    found = changes(chain(camera.quiet(), elsewhere))
    assert [c.trouble for c in found] == [ViewTrouble.MOVED, None]
    assert found[0].at_s == LEARNED_S + 5
    assert found[1].at_s == LEARNED_S + 60


def test_a_camera_that_is_turned_back_is_well_again(camera: Camera) -> None:
    elsewhere = seconds(camera.sensor, looked_at(camera.wide, SIZE + 60), 20)
    assert told(chain(camera.quiet(), elsewhere, camera.quiet(20))) == [ViewTrouble.MOVED, None]


def test_pictures_that_stay_the_same_are_frozen(camera: Camera) -> None:
    last = camera.sensor.take(camera.view)
    found = changes(chain(camera.quiet(), [last] * 40, camera.quiet(15)))
    assert [c.trouble for c in found] == [ViewTrouble.FROZEN, None]
    assert found[0].at_s == LEARNED_S + 20  # the first of them still differs


def test_an_encoder_that_writes_frozen_pictures_anew_now_and_then_does_not_hide_it(
    camera: Camera,
) -> None:
    last = camera.sensor.take(camera.view)
    anew = camera.sensor.take(camera.view)  # as different as two pictures of the sensor are
    frozen = [anew if second % 10 == 9 else last for second in range(60)]
    assert told(chain(camera.quiet(), frozen)) == [ViewTrouble.FROZEN]


def test_a_camera_whose_encoder_repeats_still_pictures_is_looked_after_but_never_frozen(
    camera: Camera,
) -> None:
    def coded(*, is_somebody_there: bool) -> Iterator[Pixels]:
        shown = camera.sensor.take(camera.view)
        for second in range(75):
            if second % 10 == 0:
                shown = camera.sensor.take(camera.view)
            elif is_somebody_there:  # what does not move is repeated
                yield walked(shown.astype(np.float32), second).astype(np.uint8)
                continue
            yield shown

    visited, alone = coded(is_somebody_there=True), coded(is_somebody_there=False)
    cover = (camera.sensor.take(covered(camera.view)) for _ in range(10))
    assert told(chain(visited, alone, cover)) == [ViewTrouble.BLOCKED]


def test_a_camera_may_be_black_before_anything_is_known_of_it(camera: Camera) -> None:
    dark = camera.changed(blackened, 10)
    assert told(chain(dark, camera.quiet(10))) == [ViewTrouble.BLACK, None]


# ---- harmless


def night(camera: Camera) -> Iterator[Pixels]:
    for second in range(240):
        share = max(0.2, 1 - second / 200)
        yield camera.sensor.take(walked(camera.view, second) * share)


def lamps(camera: Camera) -> Iterator[Pixels]:
    for second in range(60):
        share = 0.3 if second // 15 % 2 else 1.0
        yield camera.sensor.take(walked(camera.view, second) * share)


def lorry(camera: Camera) -> Iterator[Pixels]:
    for step in range(9):
        yield camera.sensor.take(passed(camera.view, -0.6 + step * 0.2))


def parked_lorry(camera: Camera) -> Iterator[Pixels]:
    for _ in range(30):
        yield camera.sensor.take(passed(camera.view, 0.25, 0.5))


@pytest.mark.parametrize("event", [night, lamps, lorry, parked_lorry])
def test_what_is_harmless_is_not_told(
    camera: Camera, event: Callable[[Camera], Iterator[Pixels]]
) -> None:
    assert told(chain(camera.quiet(), event(camera), camera.quiet(10))) == []


def drawn(view: View) -> Pixels:
    return np.rint(view).astype(np.uint8)


def still_screen(_: Camera) -> Iterator[Pixels]:
    yield from [drawn(looked_at(room(3)))] * 150


def slides(_: Camera) -> Iterator[Pixels]:
    for page in range(4):
        yield from [drawn(looked_at(room(page)))] * 40


def film(camera: Camera) -> Iterator[Pixels]:
    for second in range(150):
        yield camera.sensor.take(looked_at(room(second // 5)))


def carried(camera: Camera) -> Iterator[Pixels]:
    for second in range(150):
        yield camera.sensor.take(looked_at(camera.wide, SIZE + int(60 * np.sin(second / 5))))


def white_wall(camera: Camera) -> Iterator[Pixels]:
    for _ in range(100):
        yield camera.sensor.take(np.full_like(camera.view, 200.0))


@pytest.mark.parametrize("source", [still_screen, slides, film, carried, white_wall])
def test_what_is_no_camera_on_a_wall_is_left_alone(
    source: Callable[[Camera], Iterator[Pixels]],
) -> None:
    assert told(source(Camera(1))) == []


# ---- whatever comes


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 5, 60, 128, 255]), st.integers(1, 30), st.booleans()),
        max_size=12,
    ),
    st.sampled_from([(56, 56), (30, 74), (14, 14), (4, 9)]),
)
@settings(max_examples=40)
def test_changes_follow_from_each_other_whatever_is_seen(
    stretches: list[tuple[int, int, bool]], shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(1)
    health, at_s, known = ViewHealth(SECTION), 0.0, None
    for level, count, is_noisy in stretches:
        for _ in range(count):
            noise: NDArray[np.int64] = rng.integers(0, 9 if is_noisy else 1, (3, *shape))
            thumb = np.clip(noise + level, 0, 255).astype(np.uint8)
            at_s += 1.0
            if (change := health.look(thumb, at_s)) is not None:
                assert change.was is known
                assert change.trouble is not known
                known = change.trouble
            assert health.trouble is known


def test_pictures_between_two_samples_cost_nothing_and_change_nothing(camera: Camera) -> None:
    health = ViewHealth(SECTION)
    dark = thumbnail(camera.sensor.take(blackened(camera.view)))
    found = [health.look(dark, index / 25) for index in range(25 * 8)]
    told_of = [index / 25 for index, change in enumerate(found) if change is not None]
    assert told_of == [5.0]
