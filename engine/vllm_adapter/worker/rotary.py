"""Rotary positions: moving a key to another place, and taking its position away.

A uniform shift of an M-RoPE position (the same on the t, h and w axes) is a plain one-dimensional
rotation, so a segment is placed anywhere by one rotation of its keys. Values carry no position.
One canonical copy is kept and rotated on load; rotating in place again and again would let the
error grow. Positions stay small (every request starts at 0), where float32 angles are exact enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from onlooker.engine.vllm_adapter.seams import RotaryParameters, Turn


@dataclass(frozen=True, slots=True)
class Rotary:
    """The rotary embedding of one model (NeoX layout: halves, not pairs).

    `inv_freq`: [rotary_dim / 2] float32. `axis`: [rotary_dim / 2] int64, which of the three
    position axes (t, h, w) turns each frequency. `turn`: what turns float32 on the host in one go;
    None where there is nothing.
    """

    inv_freq: torch.Tensor
    axis: torch.Tensor
    turn: "Turn | None" = None

    @classmethod
    def of(cls, parameters: RotaryParameters) -> "Rotary":
        """The rotary embedding that has these parameters.

        Raises:
            ValueError: a layout that a uniform shift does not move as a plain rotation.
        """
        if not parameters.is_neox:
            raise ValueError("only rotary embeddings in the NeoX layout can be moved")
        axis = _axes(len(parameters.inv_freq), parameters.section, parameters.is_interleaved)
        return cls(parameters.inv_freq, axis, parameters.turn)

    def to(self, device: torch.device) -> "Rotary":
        """The same embedding for tensors of another device."""
        return Rotary(self.inv_freq.to(device), self.axis.to(device))

    def shift(self, keys: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        """Move keys by `delta` positions.

        `keys`: [..., tokens, heads, head_dim]; `delta`: [tokens], on the same device. Returns a new
        tensor.
        """
        return self.shifts(delta).apply(keys)

    def move(self, keys: torch.Tensor, delta: torch.Tensor) -> None:
        """Move keys where they lie by `delta` positions.

        `keys`: [layers, tokens, heads, head_dim], contiguous; `delta`: [tokens], on the same
        device.
        """
        if self.turn is None or keys.dtype != torch.float32 or keys.device.type != "cpu":
            self.shifts(delta).apply_to(keys)
            return
        angles = delta.to(torch.float32)[:, None] * self.inv_freq
        rows = torch.arange(len(delta)).repeat(len(keys))
        table = torch.cat([angles.cos(), angles.sin()], -1)
        self.turn(rows, keys.view(len(rows), -1), None, keys.shape[-1], table)

    def shifts(self, delta: torch.Tensor) -> "Rotation":
        """What moves tokens by `delta` positions each."""
        return Rotation.by(delta.to(torch.float32)[:, None] * self.inv_freq.to(delta.device))

    def remove(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Take the position out of keys or queries.

        `x`: [..., tokens, heads, head_dim]; `positions`: [3, tokens] (t, h, w), on the same
        device.
        """
        return self.removals(positions).apply(x)

    def removals(self, positions: torch.Tensor) -> "Rotation":
        """What takes the position out of tokens that stand at `positions`, [3, tokens]."""
        each = positions.to(torch.float32).T.index_select(1, self.axis)
        return Rotation.by(-(each * self.inv_freq))


@dataclass(frozen=True, slots=True)
class Rotation:
    """By what angle each frequency of each token is turned.

    `turns`: [..., tokens, 3, rotary_dim / 2] float32, the cosine, the sine with its sign turned
    round, and the sine of each angle. Leading axes are those of what is turned; where it has more
    of them, it is turned alike along these.
    """

    turns: torch.Tensor

    @classmethod
    def by(cls, angles: torch.Tensor) -> "Rotation":
        """Rotation by `angles`, [tokens, rotary_dim / 2]."""
        sines = angles.sin()
        return cls(torch.stack([angles.cos(), -sines, sines], -2))

    def chosen(self, rows: torch.Tensor) -> "Rotation":
        """Those of some tokens, by their numbers, which lie where the turns are."""
        return Rotation(self.turns.index_select(0, rows))

    def of_runs(self, count: int) -> "Rotation":
        """For `count` runs of tokens, one after the other here, each in several layers: [runs,
        layers, tokens, heads, head_dim]."""
        return Rotation(self.turns.unflatten(0, (count, 1, -1)))

    def each(self) -> "Rotation":
        """Each of these turns for a whole run of tokens: [runs, tokens, heads, head_dim]."""
        return Rotation(self.turns[:, None])

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """A copy of `x`, [..., tokens, heads, head_dim], that is turned; dimensions past the rotary
        ones are left alone."""
        size = 2 * self.turns.shape[-1]
        turned = self._turned(x[..., :size])
        if x.shape[-1] > size:
            return torch.cat([turned.to(x.dtype), x[..., size:]], -1)
        return turned.to(x.dtype)

    def apply_to(self, x: torch.Tensor) -> None:
        """Turn `x`, [..., tokens, heads, head_dim], where it lies."""
        rotary = x[..., : 2 * self.turns.shape[-1]]
        rotary.copy_(self._turned(rotary))

    def _turned(self, x: torch.Tensor) -> torch.Tensor:
        """`x`, [..., tokens, heads, rotary_dim], turned; in float32."""
        # As few operations as can be: a GPU takes longer to be given one than to do it.
        turns = self.turns.unsqueeze(-3)
        halves = x.unflatten(-1, (2, -1))
        turned = halves * turns[..., :1, :]
        return turned.addcmul_(halves.flip(-2), turns[..., 1:, :]).flatten(-2)


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
