"""Rotary positions: moving a key to another place, and taking its position away.

A uniform shift of an M-RoPE position (the same on the t, h and w axes) is a plain one-dimensional
rotation, so a segment is placed anywhere by one rotation of its keys. Values carry no position.
One canonical copy is kept and rotated on load; rotating in place again and again would let the
error grow. Positions stay small (every request starts at 0), where float32 angles are exact enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from onlooker.engine.vllm_adapter.seams import RotaryParameters


@dataclass(frozen=True, slots=True)
class Rotary:
    """The rotary embedding of one model (NeoX layout: halves, not pairs).

    `inv_freq`: [rotary_dim / 2] float32. `axis`: [rotary_dim / 2] int64, which of the three
    position axes (t, h, w) turns each frequency.
    """

    inv_freq: torch.Tensor
    axis: torch.Tensor

    @classmethod
    def of(cls, parameters: RotaryParameters) -> "Rotary":
        """The rotary embedding that has these parameters.

        Raises:
            ValueError: a layout that a uniform shift does not move as a plain rotation.
        """
        if not parameters.is_neox:
            raise ValueError("only rotary embeddings in the NeoX layout can be moved")
        axis = _axes(len(parameters.inv_freq), parameters.section, parameters.is_interleaved)
        return cls(parameters.inv_freq, axis)

    def shift(self, keys: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        """Move keys by `delta` positions.

        `keys`: [..., tokens, heads, head_dim]; `delta`: [tokens], on the same device. Returns a new
        tensor.
        """
        angles = delta.to(torch.float32)[:, None] * self.inv_freq.to(delta.device)
        return _rotate(keys, angles)

    def remove(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Take the position out of keys or queries.

        `x`: [..., tokens, heads, head_dim]; `positions`: [3, tokens] (t, h, w).
        """
        angles = positions.to(torch.float32).T[:, self.axis] * self.inv_freq
        return _rotate(x, -angles)


def _axes(num_freqs: int, section: Sequence[int] | None, interleaved: bool) -> torch.Tensor:
    if section is None:
        return torch.zeros(num_freqs, dtype=torch.long)
    if not interleaved:
        return torch.repeat_interleave(torch.arange(3), torch.tensor(list(section)))
    channel = torch.arange(num_freqs)
    axis = torch.zeros(num_freqs, dtype=torch.long)
    axis[(channel % 3 == 1) & (channel < 3 * section[1])] = 1
    axis[(channel % 3 == 2) & (channel < 3 * section[2])] = 2
    return axis


def _rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Turn `x` by `angles`, [tokens, rotary_dim / 2]; dimensions past the rotary ones are left
    alone."""
    half = angles.shape[-1]
    cos, sin = angles.cos()[:, None, :], angles.sin()[:, None, :]
    plain = x.to(torch.float32)
    first, second = plain[..., :half], plain[..., half : 2 * half]
    turned = torch.empty_like(plain)
    torch.mul(first, cos, out=turned[..., :half]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=turned[..., half : 2 * half]).addcmul_(first, sin)
    turned[..., 2 * half :] = plain[..., 2 * half :]
    return turned.to(x.dtype)
