"""An independent reference of attention over segments, in plain torch, for one sequence.

It shares no code with what it checks: keys are kept *without* rotary position and turned once, to
the place where they stand, from the definition of M-RoPE; the layers are written out from the
weights. Only the vision tower is Hugging Face's.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForImageTextToText, AutoProcessor


@dataclass
class Piece:
    """Tokens computed together: per layer the keys without position, and the values."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    offsets: torch.Tensor  # [3, tokens], from the place where the piece stands
    queries: list[torch.Tensor] = field(default_factory=list)  # without position


@dataclass
class Tokens:
    """What goes into the first layer: embeddings, offsets, and DeepStack features, if any."""

    embeds: torch.Tensor
    offsets: torch.Tensor
    is_visual: torch.Tensor
    deepstack: list[torch.Tensor]
    extent: int


class Reference:
    """The language model of a Qwen3-VL or a Qwen2.5-VL over pieces placed anywhere."""

    def __init__(self, folder: Path) -> None:
        model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        self.model = model.eval()
        self.processor = AutoProcessor.from_pretrained(folder)
        config = model.config.text_config
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.dim, self.eps = config.hidden_size // self.heads, config.rms_norm_eps
        self.dim = getattr(config, "head_dim", None) or self.dim
        rope = config.rope_parameters
        half = self.dim // 2
        self.freqs = rope["rope_theta"] ** -(torch.arange(half, dtype=torch.float64) / half)
        sections = rope["mrope_section"]
        if rope.get("mrope_interleaved", False):
            # t h w t h w ... as long as the h and w sections last, then t only.
            self.axis = [
                axis if axis and channel // 3 < sections[axis] else 0
                for channel in range(half)
                for axis in [channel % 3]
            ]
        else:
            self.axis = [axis for axis in range(3) for _ in range(sections[axis])]

    # ---- inputs ----

    @torch.no_grad()
    def text(self, ids: list[int]) -> Tokens:
        count = torch.arange(len(ids))
        return Tokens(
            self.model.model.language_model.embed_tokens(torch.tensor(ids)),
            count.expand(3, -1), torch.zeros(len(ids), dtype=torch.bool), [], len(ids),
        )  # fmt: skip

    @torch.no_grad()
    def clip(
        self, ids: list[int], frames: NDArray[np.uint8], second_per_grid: float | None = None
    ) -> Tokens:
        """`ids`: the clip's tokens; `frames`: [frames, height, width, 3]. `second_per_grid`:
        between pairs of frames, where the model tells time by place; None: it does by text."""
        config = self.model.config
        inputs: Any = self.processor.video_processor(
            videos=[torch.from_numpy(frames).permute(0, 3, 1, 2)], return_tensors="pt",
            do_sample_frames=False,
        )  # fmt: skip
        grid = inputs["video_grid_thw"]
        out = self.model.model.visual(inputs["pixel_values_videos"], grid_thw=grid)
        visual = out.pooler_output if hasattr(out, "pooler_output") else out[0]
        deepstack = getattr(out, "deepstack_features", [])
        merge = config.vision_config.spatial_merge_size
        height, width = (int(n) // merge for n in grid[0][1:])
        tokens = self.text(ids)
        is_visual = torch.tensor(ids) == config.video_token_id
        tokens.embeds[is_visual] = visual.to(tokens.embeds.dtype)
        rate = 0 if second_per_grid is None else config.vision_config.tokens_per_second
        offsets: list[tuple[int, int, int]] = []
        start, last, seen = 0, -1, 0
        for token in is_visual.tolist():
            pair, rest = divmod(seen, height * width)
            if not token or (rest == 0 and (pair == 0 or second_per_grid is None)):
                start = last + 1
            offset = (start, start, start)
            if token:
                later = int(pair * (second_per_grid or 0) * rate)
                offset = (start + later, start + rest // width, start + rest % width)
                seen += 1
            offsets.append(offset)
            last = max(last, *offset)
        return Tokens(tokens.embeds, torch.tensor(offsets).T, is_visual, list(deepstack), last + 1)

    # ---- computing ----

    @torch.no_grad()
    def run(
        self, tokens: Tokens, place: int, past: list[tuple[Piece | list[Piece], int]]
    ) -> tuple[Piece, torch.Tensor]:
        """Compute `tokens` at `place` after `past` (pieces and their places; a list of pieces has
        one for each layer). Returns the new piece and the logits of its last token."""
        piece, last = self.states(tokens, place, past)
        return piece, self.model.lm_head(last)[0]

    @torch.no_grad()
    def states(
        self, tokens: Tokens, place: int, past: list[tuple[Piece | list[Piece], int]]
    ) -> tuple[Piece, torch.Tensor]:
        """The same; returns the new piece and the hidden state of its last token, behind the last
        norm, [1, hidden size]."""
        hidden = tokens.embeds
        piece = Piece([], [], tokens.offsets)
        language = self.model.model.language_model
        for index, layer in enumerate(language.layers):
            normed = self._norm(hidden, layer.input_layernorm.weight)
            attn = layer.self_attn
            query = self._heads(attn.q_proj(normed), self.heads, getattr(attn, "q_norm", None))
            key = self._heads(attn.k_proj(normed), self.kv_heads, getattr(attn, "k_norm", None))
            value = attn.v_proj(normed).view(len(hidden), self.kv_heads, self.dim)
            piece.queries.append(query)
            piece.keys.append(key)
            piece.values.append(value)
            seen = [(p[index] if isinstance(p, list) else p, at) for p, at in past]
            keys = [self._turn(p.keys[index], p.offsets + at) for p, at in seen]
            keys.append(self._turn(key, tokens.offsets + place))
            values = [p.values[index] for p, _ in seen] + [value]
            mixed = self._attend(
                self._turn(query, tokens.offsets + place), torch.cat(keys), torch.cat(values)
            )
            hidden = hidden + attn.o_proj(mixed)
            normed = self._norm(hidden, layer.post_attention_layernorm.weight)
            mlp = layer.mlp
            hidden = hidden + mlp.down_proj(
                torch.nn.functional.silu(mlp.gate_proj(normed)) * mlp.up_proj(normed)
            )
            if index < len(tokens.deepstack):
                hidden = hidden.clone()
                hidden[tokens.is_visual] += tokens.deepstack[index].to(hidden.dtype)
        return piece, self._norm(hidden[-1:], language.norm.weight)

    def answer(
        self, ids: list[int], place: int, past: list[tuple[Any, int]], num_tokens: int
    ) -> tuple[list[int], list[float]]:
        """Greedy decoding; returns tokens and the log probability of each."""
        tokens, logprobs = [], []
        step = list(ids)
        past = list(past)
        for _ in range(num_tokens):
            piece, logits = self.run(self.text(step), place, past)
            past.append((piece, place))
            place += len(step)
            best = int(logits.argmax())
            tokens.append(best)
            logprobs.append(float(torch.log_softmax(logits.double(), -1)[best]))
            step = [best]
        return tokens, logprobs

    # ---- the parts of a layer ----

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    def _heads(self, x: torch.Tensor, heads: int, norm: Any | None) -> torch.Tensor:
        split = x.view(len(x), heads, self.dim)
        return split if norm is None else self._norm(split, norm.weight)

    def _turn(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Rotary position from its definition: each pair (i, i + half) is a complex number."""
        half = self.dim // 2
        angle = positions.double()[self.axis].T * self.freqs
        pairs = torch.complex(x[..., :half].double(), x[..., half:].double())
        turned = pairs * torch.polar(torch.ones_like(angle), angle)[:, None]
        return torch.cat([turned.real, turned.imag], -1).to(x.dtype)

    def _attend(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        group = self.heads // self.kv_heads
        keys, values = (t.repeat_interleave(group, dim=1) for t in (keys, values))
        scores = torch.einsum("qhd,khd->hqk", query, keys) * self.dim**-0.5
        before = len(keys) - len(query)
        allowed = torch.arange(len(keys)) <= torch.arange(len(query))[:, None] + before
        weights = scores.masked_fill(~allowed, float("-inf")).softmax(-1)
        return torch.einsum("hqk,khd->qhd", weights, values).reshape(len(query), -1)
