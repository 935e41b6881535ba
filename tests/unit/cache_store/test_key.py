from typing import Any

import pytest

from onlooker.cache_store.key import SegmentKey, SegmentKind, StreamKey, parse_key


def test_the_text_names_all_parts_and_reads_back() -> None:
    key = SegmentKey("qwen-1f", "acme", "Cam_1.b", 42, SegmentKind.TEXT, 3)
    assert key.text == "qwen-1f/acme/Cam_1.b/3/text/0000000042"
    assert parse_key(key.text) == key
    assert key.text.startswith(key.stream_prefix)
    assert key.stream_prefix == key.stream_key.prefix


@pytest.mark.parametrize(
    "bad", ["", "..", "a/b", ".hidden", "a b", "ü", "a\n", "x" * 65, "a:b", "@"]
)
@pytest.mark.parametrize("part", ["model", "tenant", "stream"])
def test_parts_that_could_leave_their_folder_are_refused(part: str, bad: str) -> None:
    parts: dict[str, Any] = {"model": "m", "tenant": "t", "stream": "s"} | {part: bad}
    with pytest.raises(ValueError, match=part):
        StreamKey(**parts)
    with pytest.raises(ValueError, match=part):
        SegmentKey(**parts, index=0)


@pytest.mark.parametrize("index", [-1, 10**10, True, 1.0])
def test_indexes_out_of_range_are_refused(index: int) -> None:
    with pytest.raises(ValueError, match="index"):
        SegmentKey("m", "t", "s", index)


@pytest.mark.parametrize(
    "text",
    [
        "m/t/s/0/clip/42",
        "m/t/s/00/clip/0000000042",
        "m/t/s/0/video/0000000042",
        "m/t/s/0/clip/-000000042",
        "m/t/s/0/clip/00000000042",
        "m/t/s/0/clip/٠٠٠٠٠٠٠٠٤٢",
        "m/../s/0/clip/0000000042",
        "m/t/s/0/clip/0000000042/",
        "",
    ],
)
def test_only_canonical_text_is_read(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - which check refuses does not matter
        parse_key(text)


def test_a_later_life_of_a_stream_has_other_keys() -> None:
    first, second = StreamKey("m", "t", "s", 1), StreamKey("m", "t", "s", 10)
    assert not second.prefix.startswith(first.prefix)
    assert first.segment(SegmentKind.CLIP, 0) != second.segment(SegmentKind.CLIP, 0)
