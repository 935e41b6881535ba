import re

import pytest

from onlooker.core.ids import is_stream_id, new_id


def test_an_id_names_its_kind_and_is_fresh() -> None:
    made = {new_id("resp") for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"resp_[0-9a-f]{24}", one) for one in made)


@pytest.mark.parametrize("text", ["a", "front-door", "cam_1.left", "9", "x" * 64])
def test_a_stream_id_is_plain(text: str) -> None:
    assert is_stream_id(text)


@pytest.mark.parametrize("text", ["", "-a", ".a", "a/b", "../a", "a b", "ä", "x" * 65, "a\n"])
def test_anything_that_could_be_a_path_or_a_trick_is_no_stream_id(text: str) -> None:
    assert not is_stream_id(text)
