"""`PackedKeys`: late interaction with the key of every token, from an index of few bits.

What `LateInteraction` compares are whole keys: an index of half the KV. Here a key is kept in 8
bits, or as the signs of how it differs from the mean of its segment, with one scale for each token
(after the residuals of ColBERTv2, Santhanam et al., 2022). So every clip that is remembered can be
compared token by token, and no segment has to be read for it.

An entry is a row of bytes for each layer and key head, which begins with the head's size (int32).
In 8 bits follow the scale (float32), and the tokens one after the other. In one bit: the mean
(float16), the scales of the tokens (float16), and the signs of the tokens, eight to a byte, the
first in the lowest bit.
"""

from functools import lru_cache
from typing import Literal

import torch

_AT_ONCE = 512
"""Segments that are unpacked at a time, so that what is unpacked stays in the processor's cache."""

_TOGETHER = 16
"""Signs of a token that are kept together: so one takes more bytes than fill up a row."""

_SIZE_BYTES = 4
_SCALE_BYTES = 4
_HALF_BYTES = 2


class PackedKeys:
    """See the module. Stateless.

    Args:
        bits: of each component of a key.
    """

    needs_queries = False
    is_linear = False
    is_packed = True
    is_by_token = True

    def __init__(self, bits: Literal[1, 8]) -> None:
        self._bits = bits

    def entries(self, keys: torch.Tensor, queries: torch.Tensor | None) -> torch.Tensor:
        """The bytes of `keys`, [layers, tokens, kv_heads, head_dim] with a head_dim that is a
        multiple of four: uint8 [layers, 1, kv_heads, bytes]. The bytes are a multiple of four."""
        by_head = keys.float().transpose(1, 2)  # [layers, kv_heads, tokens, head_dim]
        packed = _in_8_bits(by_head) if self._bits == 8 else _in_1_bit(by_head)
        size = torch.full(
            (*packed.shape[:-1], 1), keys.shape[-1], dtype=torch.int32, device=packed.device
        )
        rows = torch.cat([_bytes(size), packed], -1)
        return torch.nn.functional.pad(rows, (0, -rows.shape[-1] % 4))[:, None]

    def means(self, entries: torch.Tensor, head_dim: int | None = None) -> torch.Tensor:
        """The mean key of each segment, [segments, kv_heads * head_dim]. `entries`: as `parts`
        takes them."""
        if not len(entries):
            return torch.empty(0, 0)
        if head_dim is None:
            head_dim = int(entries[0, 0, 0, :_SIZE_BYTES].view(torch.int32))
        rows = entries[:, 0, :, _SIZE_BYTES:]
        if self._bits == 1:
            mean = rows[..., : _HALF_BYTES * head_dim].contiguous().view(torch.float16)
            return mean.float().flatten(1)
        scales = rows[..., :_SCALE_BYTES].contiguous().view(torch.float32)
        num_tokens = (rows.shape[-1] - _SCALE_BYTES) // head_dim
        tokens = rows[..., _SCALE_BYTES : _SCALE_BYTES + num_tokens * head_dim].view(torch.int8)
        mean = tokens.unflatten(-1, (num_tokens, head_dim)).float().mean(2)
        return (mean * scales).flatten(1)

    def compare(self, queries: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        return self.parts(queries, entries)[:, 0]

    def parts(self, queries: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        """Scores as those of `LateInteraction`, [segments, 1], to what the bits leave of them."""
        kv_heads, head_dim = entries.shape[2], queries.shape[-1]
        asked = queries.float().unflatten(1, (kv_heads, -1)).permute(1, 3, 0, 2).flatten(2)
        asked = asked * head_dim**-0.5  # [kv_heads, head_dim, questions]
        best = self._best_of_8 if self._bits == 8 else self._best_of_1
        found = []
        for some in entries[:, 0, :, _SIZE_BYTES:].split(_AT_ONCE):
            each = [best(some[:, head], one) for head, one in enumerate(asked)]
            found.append(torch.stack(each).mean((0, 2)))
        return torch.cat(found)[:, None]

    @staticmethod
    def _best_of_8(rows: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """The logit of each question's best key, [segments, questions]. `rows`: [segments, bytes],
        without the size; `asked`: [head_dim, questions]."""
        head_dim = len(asked)
        num_tokens = (rows.shape[1] - _SCALE_BYTES) // head_dim
        scales = rows[:, :_SCALE_BYTES].contiguous().view(torch.float32)
        data = rows[:, _SCALE_BYTES : _SCALE_BYTES + num_tokens * head_dim].view(torch.int8)
        keys = _by_token(data, num_tokens).float()
        return (keys @ asked).unflatten(0, (num_tokens, -1)).amax(0) * scales

    @staticmethod
    def _best_of_1(rows: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """See `_best_of_8`."""
        head_dim = len(asked)
        sign_bytes = -(-head_dim // _TOGETHER) * _TOGETHER // 8
        num_tokens = (rows.shape[1] - _HALF_BYTES * head_dim) // (_HALF_BYTES + sign_bytes)
        sizes = [_HALF_BYTES * head_dim, _HALF_BYTES * num_tokens, sign_bytes * num_tokens]
        mean, scales, signs = rows[:, : sum(sizes)].split(sizes, 1)
        mean, scales = (one.contiguous().view(torch.float16).float() for one in (mean, scales))
        table = _signs_of_bytes(rows.device)
        ups = torch.nn.functional.embedding(_by_token(signs, num_tokens).int(), table)
        logits = (ups.flatten(1)[:, :head_dim] @ asked).unflatten(0, (num_tokens, -1))
        return (logits * scales.T[..., None]).amax(0) + mean @ asked


def _by_token(data: torch.Tensor, num_tokens: int) -> torch.Tensor:
    """[segments, tokens * width] -> [tokens * segments, width]: a best token is found several times
    faster where the tokens are the first axis."""
    return data.unflatten(1, (num_tokens, -1)).transpose(0, 1).contiguous().flatten(0, 1)


@lru_cache(maxsize=8)
def _signs_of_bytes(device: torch.device) -> torch.Tensor:
    """float32 [256, 8]: one or minus one for each bit of a byte, the lowest first."""
    bits = torch.arange(256, device=device)[:, None] >> torch.arange(8, device=device) & 1
    return 2.0 * bits - 1.0


def _in_8_bits(keys: torch.Tensor) -> torch.Tensor:
    scales = keys.abs().amax((2, 3)).clamp(min=1e-12) / 127.0
    numbers = (keys / scales[..., None, None]).round().to(torch.int8)
    return torch.cat([_bytes(scales[..., None]), _bytes(numbers.flatten(2))], -1)


def _in_1_bit(keys: torch.Tensor) -> torch.Tensor:
    mean = keys.mean(2, keepdim=True)
    rest = keys - mean
    padded = torch.nn.functional.pad(rest >= 0, (0, -rest.shape[-1] % _TOGETHER)).to(torch.uint8)
    bits = torch.arange(8, dtype=torch.uint8, device=keys.device)
    signs = (padded.unflatten(-1, (-1, 8)) << bits).sum(-1).to(torch.uint8)
    parts = [_bytes(one.to(torch.float16)) for one in (mean.flatten(2), rest.abs().mean(-1))]
    return torch.cat([*parts, signs.flatten(2)], -1)


def _bytes(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().view(torch.uint8)
