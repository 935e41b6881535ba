"""`CoarseRows`: a segment's mean key in half a byte for each component, to rank many by little.

What is kept is how a mean key differs from a common center: what all clips have in common changes
no ranking, and is often much larger than what sets them apart. In each layer a row has a scale for
each key head (float32), then the components in steps of the scale, from -7 to 7: in each byte two,
of the first half of the head's in the lower bits, of the second half in the upper ones.
"""

import torch

_STEPS = 7
_SCALE_BYTES = 4


class CoarseRows:
    """See the module.

    Args:
        center: the common center, [layers, kv_heads * head_dim] float32.
    """

    def __init__(self, center: torch.Tensor, kv_heads: int) -> None:
        self._center = center
        self._kv_heads = kv_heads

    def made(self, means: torch.Tensor) -> torch.Tensor:
        """The row of a segment with these mean keys, [layers, kv_heads * head_dim]: uint8 [layers,
        bytes]."""
        apart = (means - self._center).unflatten(1, (self._kv_heads, -1))
        scales = apart.abs().amax(2).clamp(min=1e-12) / _STEPS
        steps = (apart / scales[..., None]).round() + _STEPS
        low, high = steps.to(torch.uint8).chunk(2, -1)
        packed = (low + high * 16).flatten(1)
        return torch.cat([scales.contiguous().view(torch.uint8), packed], 1)

    def scores(self, rows: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        """The products of the mean keys of `rows` ([rows, bytes], of one layer) and `query`,
        [kv_heads * head_dim], as far as that is kept of them, but for what the center adds to each
        alike; [rows]."""
        size = self._kv_heads * _SCALE_BYTES
        scales = rows[:, :size].contiguous().view(torch.float32)
        packed = rows[:, size:].unflatten(1, (self._kv_heads, 1, -1))
        steps = torch.cat([packed & 15, packed >> 4], 2).flatten(2).float()
        asked = query.unflatten(0, (self._kv_heads, -1))
        logits = torch.einsum("nhd,hd->nh", steps, asked)
        return (logits.sub_(asked.sum(-1), alpha=_STEPS) * scales).sum(1)
