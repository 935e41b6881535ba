"""`CacheView`: the KV cache of all layers as one tensor, to read and write many layers at once.

vLLM makes one allocation for all layers and gives each a view of it, [blocks, kv_heads, block
tokens, 2 * head_dim], a key and its value side by side. In memory the layer comes first; within it
tokens stand before heads (LBNHC) or heads before tokens (LBHNC). Where the views of all layers are
alike and equally far apart, one tensor covers them all, and one operation of the device reads or
writes some tokens in all layers.
"""

from collections.abc import Sequence

import torch


class CacheView:
    """All layers' KV, by token.

    Args:
        caches: the layers' own views, which are alike and equally far apart; see `of`.
    """

    def __init__(self, caches: Sequence[torch.Tensor], layer_stride: int) -> None:
        first = caches[0]
        num_blocks, self.num_kv_heads, self._block_tokens, self.width = first.shape
        self.num_layers, self.dtype = len(caches), first.dtype
        strides = first.stride()
        every = first.as_strided(
            (self.num_layers, *first.shape), (layer_stride, *strides), first.storage_offset()
        )
        self._blocks = every.permute(1, 3, 0, 2, 4)
        """[blocks, block tokens, layers, kv_heads, 2 * head_dim]."""
        self._tokens: torch.Tensor | None = None
        if strides[0] == self._block_tokens * strides[2]:
            sizes = (num_blocks * self._block_tokens, *self._blocks.shape[2:])
            apart = (strides[2], *self._blocks.stride()[2:])
            self._tokens = first.as_strided(sizes, apart, first.storage_offset())

    def room(self, num_tokens: int) -> torch.Tensor:
        """New memory for tokens where the caches are, [tokens, layers, kv_heads, 2 * head_dim]."""
        shape = (num_tokens, self.num_layers, self.num_kv_heads, self.width)
        return self._blocks.new_empty(shape)

    @classmethod
    def of(cls, caches: Sequence[torch.Tensor]) -> "CacheView | None":
        """The view of all layers; None where their caches do not bear one."""
        first = caches[0]
        layer_stride = caches[-1].storage_offset() - first.storage_offset()
        layer_stride //= max(1, len(caches) - 1)
        for index, cache in enumerate(caches):
            if (
                cache.dim() != 4
                or (cache.shape, cache.stride(), cache.dtype)
                != (first.shape, first.stride(), first.dtype)
                or cache.storage_offset() != first.storage_offset() + index * layer_stride
                or cache.untyped_storage().data_ptr() != first.untyped_storage().data_ptr()
            ):
                return None
        return cls(caches, layer_stride)

    @property
    def token_bytes(self) -> int:
        """Bytes of keys and values that one token takes in all layers."""
        return self.num_layers * self.num_kv_heads * self.width * self.dtype.itemsize

    @property
    def float_key_bytes(self) -> int:
        """Bytes that the keys of one token take in all layers as float32."""
        return self.num_layers * self.num_kv_heads * self.width * 2

    def gather(self, slots: torch.Tensor) -> torch.Tensor:
        """What all layers have in `slots`: [slots, layers, kv_heads, 2 * head_dim], with memory of
        its own."""
        if self._tokens is not None:
            return self._tokens.index_select(0, slots)
        return self._blocks[slots // self._block_tokens, slots % self._block_tokens]

    def scatter(self, layers: slice, slots: torch.Tensor, kv: torch.Tensor) -> None:
        """Put `kv`, [slots, layers, kv_heads, 2 * head_dim], into `slots` of some layers."""
        if self._tokens is not None:
            self._tokens[:, layers].index_copy_(0, slots, kv)
        else:
            places = (slots // self._block_tokens, slots % self._block_tokens)
            self._blocks[:, :, layers].index_put_(places, kv)

    def scatter_in(self, layer: int, slots: torch.Tensor, kv: torch.Tensor) -> None:
        """Put `kv`, [slots, kv_heads, 2 * head_dim], into `slots` of one layer."""
        self.scatter(slice(layer, layer + 1), slots, kv[:, None])
