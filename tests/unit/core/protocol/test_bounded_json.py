"""JSON from strangers: what is read, and what is refused before it makes work."""

import asyncio
import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.protocol.bounded_json import (
    JsonLimits,
    TooComplex,
    read_json,
    read_json_in_turns,
)

LIMITS = JsonLimits()

_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(_values)
def test_what_is_within_the_limits_is_read_as_it_is(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False).encode()):
        assert read_json(text, LIMITS) == value


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def wide(num_fields: int) -> str:
    return json.dumps({"outer": [{f"field-{n}": n for n in range(num_fields)}]})


@pytest.mark.parametrize(
    ("taken", "refused", "setting"),
    [
        (wide(256), wide(257), "max_json_fields"),
        (nested(32), nested(33), "max_json_depth"),
        ("[" + "1," * 9_998 + "1]", "[" + "1," * 20_000 + "1]", "max_json_values"),
        ("[" + "{}," * 9_998 + "1]", "[" + "{}," * 10_000 + "1]", "max_json_values"),
        ("9" * 256, "9" * 257, "max_json_digits"),
        ("0." + "9" * 256, "0." + "9" * 257, "max_json_digits"),
        (" " * (512 << 10) + "1", " " * (512 << 10) + " 1", "max_json_marks"),
        ('"' + "\\n" * 200_000 + '"', '"' + "\\n" * 600_000 + '"', "max_json_marks"),
    ],
    ids=["fields", "depth", "values", "objects", "integer", "fraction", "blanks", "escapes"],
)
def test_a_text_is_taken_up_to_its_limit_and_refused_beyond(
    taken: str, refused: str, setting: str
) -> None:
    assert read_json(taken, LIMITS) == json.loads(taken)
    with pytest.raises(TooComplex, match=setting):
        read_json(refused, LIMITS)


@pytest.mark.parametrize("offset", range(-300, 301, 100))
def test_a_long_number_is_found_wherever_it_stands_in_a_large_text(offset: int) -> None:
    text = '["' + "a" * ((64 << 10) + offset) + '",' + "7" * 257 + "]"
    with pytest.raises(TooComplex, match="digits"):
        read_json(text, LIMITS)


@pytest.mark.parametrize("offset", range(-300, 301, 50))
@pytest.mark.parametrize(
    "before", ["", '\\"', "\\\\", '\\\\\\"', '\\"' * 3000, "\\\\" * 40_000, "\\/" * 300, '",1,"']
)
def test_digits_in_a_text_are_no_number_wherever_it_stands(before: str, offset: int) -> None:
    letters = "a" * ((64 << 10) + offset)
    text = f'["{letters}{before}{"7" * 700}", "{"8" * 400}"]'
    assert read_json(text, LIMITS) == json.loads(text)


@pytest.mark.parametrize("offset", range(-300, 301, 50))
@pytest.mark.parametrize("before", ["", '\\"', "\\\\", '\\\\\\"', "\\\\" * 40_000])
def test_a_long_number_after_texts_with_escapes_is_found(before: str, offset: int) -> None:
    letters = "a" * ((64 << 10) + offset)
    with pytest.raises(TooComplex, match="digits"):
        read_json(f'["{letters}{before}", "{"8" * 400}", {"7" * 300}]', LIMITS)


def test_a_picture_of_many_megabytes_is_no_limit_s_business() -> None:
    picture = base64.b64encode(bytes(range(256)) * 40_000).decode()
    escaped = json.dumps({"frame": picture}).replace("/", "\\/")  # as PHP writes it
    assert read_json(escaped, LIMITS) == {"frame": picture}


@pytest.mark.parametrize("text", ["", "{", "nope", "NaN", '"\\ud800"', b"\xff", "1 2"])
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="line 1"):
        read_json(text, LIMITS)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read_json(b'\xef\xbb\xbf{"a": 1}', LIMITS) == {"a": 1}


async def test_others_get_turns_while_a_large_text_is_looked_at() -> None:
    num_turns = 0

    async def other() -> None:
        nonlocal num_turns
        while True:
            num_turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert len(await read_json_in_turns('"' + "a" * (8 << 20) + '"', LIMITS)) == 8 << 20
    task.cancel()
    assert num_turns >= 15
