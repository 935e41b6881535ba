"""Where the tokens of a clip stand, in each way of telling time."""

from hypothesis import given
from hypothesis import strategies as st

from onlooker.engine.memory.rotary_layout import RotaryLayout

TEXT, VIDEO = 1, 9
BY_TEXT = RotaryLayout(VIDEO, patch=16, merge=2, tokens_per_second=None)
BY_PLACE = RotaryLayout(VIDEO, patch=14, merge=2, tokens_per_second=2.0)


def test_a_picture_behind_its_time_stands_at_one_place_in_time() -> None:
    ids = [TEXT, TEXT, *[VIDEO] * 6, TEXT, *[VIDEO] * 6, TEXT]
    offsets, extent = BY_TEXT.offsets(ids, (2, 4, 6))
    assert offsets[0].tolist() == [0, 1, *[2] * 6, 5, *[6] * 6, 9]
    assert offsets[1].tolist() == [0, 1, 2, 2, 2, 3, 3, 3, 5, 6, 6, 6, 7, 7, 7, 9]
    assert offsets[2].tolist() == [0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8, 9]
    assert extent == 10


def test_pictures_follow_each_other_on_the_time_axis_where_that_tells_time() -> None:
    ids = [TEXT, *[VIDEO] * 6, TEXT]
    offsets, extent = BY_PLACE.offsets(ids, (3, 2, 4), second_per_grid=1.8)  # 3.6 a picture
    assert offsets.tolist() == [
        [0, 1, 1, 4, 4, 8, 8, 9],
        [0, 1, 1, 1, 1, 1, 1, 9],
        [0, 1, 2, 1, 2, 1, 2, 9],
    ]
    assert extent == 10


@given(
    st.sampled_from([BY_TEXT, BY_PLACE]),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(1, 5),
    st.integers(1, 5),
    st.floats(0.01, 10),
)
def test_what_follows_a_clip_stands_past_all_of_it(
    places: RotaryLayout, before: int, after: int, height: int, width: int, seconds: float
) -> None:
    ids = [TEXT] * before + [VIDEO] * (height * width) + [TEXT] * after
    offsets, extent = places.offsets(ids, (1, 2 * height, 2 * width), seconds)
    assert offsets.shape == (3, len(ids))
    assert extent == before + max(height, width) + after
    assert (offsets < extent).all()
    block = offsets[:, before : before + height * width]
    assert block.min() == before
    assert len({tuple(place) for place in offsets.T.tolist()}) == len(ids)
