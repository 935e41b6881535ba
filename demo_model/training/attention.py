"""Attention of branches to the context they share and to themselves, without looking elsewhere.

The keys of all branches side by side are mostly other branches' keys. So each branch attends to the
context and to its own tokens separately, and the two results are put together by the logarithms of
their normalisers, as FlashAttention does with blocks (Dao et al. 2022) and Ring Attention across
devices (Liu et al. 2023). The same logarithms make the gradients of the two parts exact.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CHUNK = 192
"""How many queries share one call, which computes the context up to the last token any sees."""

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def own_tokens(branch_of: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """int64[B, Q] (-1: padding) -> (int64[N, L] places in the flattened tokens, bool[N, L]).

    One row a branch; rows that are shorter than the longest repeat their last token, marked False.
    """
    flat = branch_of.flatten()
    places = torch.nonzero(flat >= 0)[:, 0]
    lengths = torch.bincount(flat[places], minlength=count)
    starts = torch.cumsum(lengths, 0) - lengths
    steps = torch.arange(int(lengths.max()), device=flat.device)
    real = steps < lengths[:, None]
    return places[starts[:, None] + torch.minimum(steps, lengths[:, None] - 1)], real


def _rows(x: Tensor, own: Tensor) -> Tensor:
    """[B, H, Q, ...] -> [N, H, L, ...]: the tokens `own` (from `own_tokens`), one row a branch."""
    return x.transpose(1, 2).flatten(0, 1)[own].transpose(1, 2)


def _columns(x: Tensor, own: Tensor, real: Tensor, like: Tensor) -> Tensor:
    """[N, H, L, ...] -> [B, H, Q, ...] of the shape of `like`, zero for padding."""
    batch, _, width = like.shape[:3]
    flat = x.new_zeros(batch * width, *x.transpose(1, 2).shape[2:])
    flat[own[real]] = x.transpose(1, 2)[real]
    return flat.unflatten(0, (batch, width)).transpose(1, 2)


def _chunks(reach: list[int], width: int) -> list[tuple[slice, int]]:
    return [(slice(n * CHUNK, min((n + 1) * CHUNK, width)), last) for n, last in enumerate(reach)]


class _Joined(torch.autograd.Function):
    """One softmax over a branch's context part and its own part, on a CPU."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        q, k, v, bias, own_k, own_v, own, real, reach = given
        parts = [
            _flash(q[:, :, at], k[:, :, :last], v[:, :, :last], attn_mask=bias[:, :, at, :last])
            for at, last in _chunks(reach, q.shape[2])
        ]
        out, norm = (torch.cat([part[n] for part in parts], 2) for n in (0, 1))
        rows = [_rows(x, own) for x in (q, own_k, own_v)]
        own_out, own_norm = _flash(*rows, 0.0, True)
        missing = torch.full_like(norm, float("-inf"))
        there = _columns(torch.ones_like(own_norm), own, real, q) > 0
        own_norm = torch.where(there, _columns(own_norm, own, real, q), missing)
        total = torch.logaddexp(norm, own_norm)
        out = out * (norm - total).exp()[..., None]
        out = out + _columns(own_out, own, real, q) * (own_norm - total).exp()[..., None]
        ctx.save_for_backward(q, k, v, bias, own_k, own_v, own, real, out, total)
        ctx.reach = reach
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        q, k, v, bias, own_k, own_v, own, real, out, total = ctx.saved_tensors
        grad = grads[0].contiguous()
        grad_k, grad_v = torch.zeros_like(k), torch.zeros_like(v)
        pieces = []
        for at, last in _chunks(ctx.reach, q.shape[2]):
            # The backward kernel assumes how its arguments lie in memory: lay them out like that.
            saved = (grad[:, :, at], q[:, :, at], k[:, :, :last], v[:, :, :last], out[:, :, at])
            piece, part_k, part_v = _flash_backward(
                *(x.contiguous() for x in saved),
                _norms(total[:, :, at]),
                0.0,
                False,
                attn_mask=bias[:, :, at, :last],
            )
            pieces.append(piece)
            grad_k[:, :, :last] += part_k
            grad_v[:, :, :last] += part_v
        rows = [_rows(x, own) for x in (grad, q, own_k, own_v, out)]
        rows[0] = rows[0] * real[:, None, :, None]
        norms = _norms(_rows(total, own))
        parts = _flash_backward(*(x.contiguous() for x in rows), norms, 0.0, True)
        grad_q = torch.cat(pieces, 2) + _columns(parts[0], own, real, q)
        own_grads = [_columns(part, own, real, q) for part in parts[1:]]
        return grad_q, grad_k, grad_v, None, *own_grads, None, None, None


def _norms(x: Tensor) -> Tensor:
    """float[B, H, Q] with the heads innermost in memory, as the kernels lay out their norms."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def joined_attention(
    q: Tensor, context: tuple[Tensor, Tensor], own: tuple[Tensor, Tensor], masks: Masks
) -> Tensor:
    """float[B, H, Q, D]: attention of the branch queries `q` to the context and to the branches.

    `context` and `own` are (keys, values) of the context and of the branches.
    """
    if q.device.type != "cpu":
        k, v = (torch.cat(pair, 2) for pair in zip(context, own, strict=True))
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=masks.whole())
    given = (q.contiguous(), *(x.contiguous() for x in context), masks.bias, *own)
    joined: Tensor = _Joined.apply(*given, masks.own, masks.real, masks.reach)
    return joined


def causal_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """float[B, H, C, D]: attention of the context to itself.

    bias float[B, 1, C, C]; None: each token sees itself and those before it.
    """
    attention = functional.scaled_dot_product_attention
    if bias is None:
        return attention(q, k, v, is_causal=True)
    outputs = []
    for start in range(0, q.shape[2], CHUNK):
        at = slice(start, start + CHUNK)
        seen = slice(0, min(start + CHUNK, q.shape[2]))
        outputs.append(
            attention(q[:, :, at], k[:, :, seen], v[:, :, seen], attn_mask=bias[:, :, at, seen])
        )
    return torch.cat(outputs, 2)


class Masks:
    """What the branches of a batch see; all layers share it."""

    def __init__(self, branch_mask: Tensor, branch_of: Tensor, count: int) -> None:
        """Make the masks of `count` branches.

        branch_mask bool[B, 1, Q, C]: context tokens that a branch token sees, one at least;
        branch_of int64[B, Q]: the branch that a token belongs to, -1 for padding.
        """
        self.branch_of = branch_of
        self.bias = bias_of(branch_mask)
        self.own, self.real = own_tokens(branch_of, count)
        ends = branch_mask.any(0)[0]
        places = torch.arange(1, ends.shape[1] + 1, device=ends.device)
        lasts = (ends * places).amax(1)
        self.reach = [int(part.max()) for part in lasts.split(CHUNK)]

    def whole(self) -> Tensor:
        """float[B, 1, Q, C + Q]: these masks as one bias over the keys of context and branches."""
        same = self.branch_of[:, :, None] == self.branch_of[:, None, :]
        own = (same & (self.branch_of >= 0)[:, :, None]).tril()
        return torch.cat([self.bias, bias_of(own[:, None])], 3)


def bias_of(mask: Tensor) -> Tensor:
    """The bias of a mask: 0 where it allows, else minus infinity."""
    return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, float("-inf"))
