"""Attention in two parts is attention over both at once, gradients included."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from onlooker.demo_model.training.attention import (
    CHUNK,
    Masks,
    bias_of,
    causal_attention,
    joined_attention,
    own_tokens,
)

HEADS, WIDTH = 2, 32


def draw_branches(batch: int, width: int) -> tuple[torch.Tensor, int]:
    """int64[batch, width] of branches of 1 to 12 tokens, padded in the second half; their count."""
    branch_of = torch.full((batch, width), -1)
    count = 0
    for row in range(batch):
        at = 0
        while at + 12 < width // (1 + row):
            length = int(torch.randint(1, 13, ()))
            branch_of[row, at : at + length] = count
            count, at = count + 1, at + length
    return branch_of, count


@pytest.mark.parametrize("context", [5, 70])
def test_two_parts_make_one_softmax(context: int) -> None:
    torch.manual_seed(0)
    branch_of, count = draw_branches(2, CHUNK + 40)
    batch, width = branch_of.shape
    seen = torch.randint(1, context + 1, (count,))
    reach = torch.where(branch_of >= 0, seen[branch_of], 1)
    masks = Masks(torch.arange(context) < reach[:, None, :, None], branch_of, count)
    shapes = (width, context, context, width, width)
    given = [torch.randn(batch, HEADS, n, WIDTH, requires_grad=True) for n in shapes]
    q, k, v, own_k, own_v = given
    real = (branch_of >= 0)[:, None, :, None]
    towards = torch.randn(batch, HEADS, width, WIDTH) * real

    ours = joined_attention(q, (k, v), (own_k, own_v), masks)
    our_grads = torch.autograd.grad(ours, given, towards)
    keys, values = torch.cat([k, own_k], 2), torch.cat([v, own_v], 2)
    whole = functional.scaled_dot_product_attention(q, keys, values, attn_mask=masks.whole())
    grads = torch.autograd.grad(whole, given, towards)

    torch.testing.assert_close(ours * real, whole * real, atol=1e-5, rtol=1e-5)
    for one, other in zip(our_grads, grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_own_tokens_are_those_of_the_branch_in_order() -> None:
    branch_of = torch.tensor([[0, 0, 1, -1], [2, 2, 2, -1]])
    places, real = own_tokens(branch_of, 3)
    assert places.tolist() == [[0, 1, 1], [2, 2, 2], [4, 5, 6]]
    assert real.tolist() == [[True, True, False], [True, False, False], [True, True, True]]


def test_context_attention_in_chunks_is_attention_under_the_mask() -> None:
    torch.manual_seed(0)
    length = CHUNK + 30
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    bias = bias_of(mask[None, None])
    q, k, v = (torch.randn(1, HEADS, length, WIDTH) for _ in range(3))
    whole = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    for given in (bias, None):
        torch.testing.assert_close(causal_attention(q, k, v, given), whole, atol=1e-5, rtol=1e-5)
