"""Keys in few bits against the whole keys."""

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onlooker.engine.vllm_adapter.worker.packed_keys import PackedKeys
from onlooker.engine.vllm_adapter.worker.scores import LateInteraction

shapes = st.tuples(
    st.integers(1, 5),  # question tokens
    st.integers(1, 3),  # key heads
    st.integers(1, 3),  # query heads for each of them
    st.sampled_from([4, 8, 16, 24, 32]),  # head size
    st.sampled_from([1, 3, 300]),  # segments
    st.integers(1, 20),  # tokens of a segment
    st.integers(0, 2**31),
)

Bits = Literal[1, 8]


def drawn(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries of a question, and the keys of segments, which stand in for layers."""
    num_queries, kv_heads, group, dim, num_segments, num_tokens, seed = shape
    torch.manual_seed(seed)
    keys = torch.randn(num_segments, num_tokens, kv_heads, dim)
    return torch.randn(num_queries, kv_heads * group, dim), keys


def compared(bits: Bits, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    return PackedKeys(bits).compare(queries, PackedKeys(bits).entries(keys, None))


def in_one_bit(keys: torch.Tensor) -> torch.Tensor:
    """What is left of keys, [segments, tokens, kv_heads, head_dim], in one bit."""
    mean = keys.mean(1, keepdim=True)
    rest = keys - mean
    signs = torch.where(rest >= 0, 1.0, -1.0)
    return mean.half().float() + signs * rest.abs().mean(-1, keepdim=True).half().float()


@given(shapes)
def test_eight_bits_say_nearly_what_whole_keys_say(shape: tuple[int, ...]) -> None:
    queries, keys = drawn(shape)
    whole = LateInteraction().compare(queries, keys)
    step = keys.abs().max() / 127 / 2
    most = float(queries.abs().sum(-1).mean()) * queries.shape[-1] ** -0.5 * float(step)
    assert (compared(8, queries, keys) - whole).abs().max() <= most + 1e-5


@given(shapes)
def test_one_bit_is_late_interaction_with_mean_and_signs(shape: tuple[int, ...]) -> None:
    queries, keys = drawn(shape)
    expected = LateInteraction().compare(queries, in_one_bit(keys))
    torch.testing.assert_close(compared(1, queries, keys), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("bits", "most"), [(8, 8 + 15 * 32), (1, 4 + 64 + 15 * (2 + 4) + 2)])
def test_a_clip_takes_few_bytes(bits: Bits, most: int) -> None:
    entries = PackedKeys(bits).entries(torch.randn(2, 15, 4, 32), None)
    assert entries.dtype == torch.uint8
    assert entries.shape == (2, 1, 4, most)
    assert most % 4 == 0


@given(shapes)
def test_the_mean_key_is_told_by_either(shape: tuple[int, ...]) -> None:
    _, keys = drawn(shape)
    mean = keys.mean(1).flatten(1)
    for score, most in ((PackedKeys(8), float(keys.abs().max()) / 254), (PackedKeys(1), 2e-3)):
        found = score.means(score.entries(keys, None))
        torch.testing.assert_close(found, mean, atol=most + 1e-5, rtol=1e-3)


def test_a_small_thing_is_found_that_a_mean_dilutes() -> None:
    torch.manual_seed(3)
    keys = torch.randn(20, 30, 1, 16) * 0.3
    thing = torch.randn(16) * 2
    keys[7, 11, 0] = thing
    for bits in (1, 8):
        found = compared(bits, thing.expand(2, 1, -1), keys)
        assert int(found.argmax()) == 7


def test_rows_of_every_length_are_unpacked_whatever_their_number() -> None:
    queries, keys = drawn((3, 2, 2, 32, 600, 7, 0))
    whole = compared(1, queries, keys)
    torch.testing.assert_close(
        torch.cat([compared(1, queries, keys[at : at + 1]) for at in range(600)]), whole
    )
