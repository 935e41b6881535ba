from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.media import Codec
from onlooker.streams.perception.fragments import FragmentTimes
from tests.fakes.pictures import record
from tests.fakes.recordings import moved, parts_of, time_scale


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """What is to be read by one demuxer after the other, of bytes that come in these pieces."""
    fragments, readers = FragmentTimes(), [b""]
    for begin, end in pairwise(
        [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    ):
        first, *others = fragments.cut(data[begin:end])
        readers[-1] += first
        readers += others
    readers[-1] += fragments.rest()
    return readers


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes_pass_unchanged(data: bytes, places: list[int]) -> None:
    assert b"".join(cut(data, places)) == data


RECORDING = record(Codec.FMP4, 30)


@given(st.lists(st.integers(0, len(RECORDING)), max_size=8))
def test_a_recording_whose_time_grows_has_one_reader(places: list[int]) -> None:
    assert cut(RECORDING, places) == [RECORDING]


@given(st.lists(st.integers(0, len(RECORDING)), max_size=8))
def test_a_fragment_that_goes_back_begins_another_reader_wherever_it_is_cut(
    places: list[int],
) -> None:
    header, first, second, third = parts_of(RECORDING)
    back = moved(third, -2.0, scale=time_scale(RECORDING))
    assert cut(header + first + second + back, places) == [header + first + second, back]
