import pytest

from onlooker.core.media import Codec
from tests.fakes.pictures import make_clip


def test_codecs_know_what_kind_they_are() -> None:
    assert {c for c in Codec if c.is_still} == {Codec.JPEG, Codec.PNG, Codec.WEBP}
    assert {c for c in Codec if c.is_container} == {Codec.WEBM, Codec.FMP4}


def test_a_clip_s_times_are_its_frames() -> None:
    clip = make_clip(1.0, 2.0)
    assert (clip.start_s, clip.end_s, clip.stamp_s) == (1.0, 2.0, 1.5)


@pytest.mark.parametrize(("at_s", "ends_s"), [(2.0, 2.0), (9.0, 2.0), (1.0, 1.0), (1.9, 1.0)])
def test_until_shows_nothing_later(at_s: float, ends_s: float) -> None:
    shown = make_clip(1.0, 2.0).until(at_s)
    assert shown is not None
    assert shown.end_s == ends_s


def test_until_before_the_clip_shows_nothing() -> None:
    assert make_clip(1.0, 2.0).until(0.5) is None
