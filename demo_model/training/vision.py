"""Stage 1: the vision tower learns to see single clips, with throw-away heads on its tokens.

The heads read exactly what the language model will get (the merged tokens and the deepstack
tokens), so what they can tell, the language model can read.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLVisionModel,
    apply_rotary_pos_emb_vision,
)

from onlooker.demo_model.model import FRAME_SIZE, MERGE_SIZE, PATCH_SIZE, PIXEL_MEAN, PIXEL_STD
from onlooker.demo_model.table import SHAPES, SIZES
from onlooker.demo_model.training.clips import CELLS, FIELDS, IGNORE, ClipRing
from onlooker.demo_model.world import COLOR_NAMES

GRID = FRAME_SIZE // PATCH_SIZE
CLASSES = (len(COLOR_NAMES) + 1, len(SHAPES) + 1, len(SIZES) + 1, 3)
KINDS = len(COLOR_NAMES) * len(SHAPES)
SIGN_CELL = 2
"""The index of the top right cell, in which the sign hangs."""


def patches_of(pixels: Tensor) -> Tensor:
    """The patches of clips: uint8[B, 2, side, side, 3] -> float[B, 36, 864], in the order of the
    stock processor."""
    batch = pixels.shape[0]
    blocks = GRID // MERGE_SIZE
    x = (pixels.float() / 255.0 - PIXEL_MEAN) / PIXEL_STD
    x = x.view(batch, 2, blocks, MERGE_SIZE, PATCH_SIZE, blocks, MERGE_SIZE, PATCH_SIZE, 3)
    return x.permute(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(batch, GRID * GRID, -1)


def grid_positions() -> tuple[Tensor, Tensor]:
    """(row, column) of each patch in the processor's order, int64[36] each."""
    blocks = GRID // MERGE_SIZE
    index = torch.arange(GRID * GRID).view(GRID, GRID)
    order = index.view(blocks, MERGE_SIZE, blocks, MERGE_SIZE).permute(0, 2, 1, 3).reshape(-1)
    return order // GRID, order % GRID


def encode(tower: Qwen3VLVisionModel, patches: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Patches, float[B, 36, 864] -> merged tokens float[B, 9, hidden], and deepstack tokens alike.

    The stock forward handles one image after another; this one is the same mathematics for a batch
    of equal clips (a test compares the two).
    """
    batch = patches.shape[0]
    rows, columns = grid_positions()
    rows, columns = rows.to(patches.device), columns.to(patches.device)
    weight = tower.patch_embed.proj.weight
    x = functional.linear(patches, weight.view(weight.shape[0], -1), tower.patch_embed.proj.bias)
    x = x + tower.pos_embed.weight[rows * GRID + columns]
    cos, sin = tower.rotary_pos_emb(x, torch.stack([rows, columns], dim=1))
    cos, sin = cos.view(-1, cos.shape[-1]), sin.view(-1, sin.shape[-1])
    deep = []
    for number, block in enumerate(tower.blocks):
        heads = block.attn.num_heads
        qkv = block.attn.qkv(block.norm1(x)).float().view(batch, GRID * GRID, 3, heads, -1)
        q, k, v = qkv.unbind(2)
        q, k = apply_rotary_pos_emb_vision(q, k, cos, sin)
        with torch.autocast(x.device.type, enabled=False):
            seen = functional.scaled_dot_product_attention(
                q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            )
        x = x + block.attn.proj(seen.transpose(1, 2).reshape(batch, GRID * GRID, -1))
        x = x + block.mlp(block.norm2(x))
        if number in tower.deepstack_visual_indexes:
            at = list(tower.deepstack_visual_indexes).index(number)
            deep.append(tower.deepstack_merger_list[at](x).view(batch, CELLS, -1))
    return tower.merger(x).view(batch, CELLS, -1), deep


class Heads(nn.Module):
    """Linear read-outs of one kind of tokens, for both frames: cells' fields, digit and kinds."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(hidden)
        self.fields = nn.ModuleList([nn.Linear(hidden, 2 * classes) for classes in CLASSES])
        self.digit = nn.Linear(hidden, 2 * 11)
        self.kinds = nn.Linear(hidden, 2 * KINDS)
        self.cell = nn.Linear(hidden, CELLS)

    def forward(self, tokens: Tensor) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """Logits of tokens float[B, 9, H]: fields, digit, kinds and cell.

        Their shapes are [B, 9, 2, classes] for each field, [B, 2, 11], [B, 2, 30] and [B, 9, 9].
        The cell says which token it is: without it a token would say what it shows but not where,
        and the language model would have to make out places from rotary positions alone.
        """
        x = self.norm(tokens.float())
        fields = [head(x).unflatten(-1, [2, -1]) for head in self.fields]
        digit = self.digit(x[:, SIGN_CELL]).unflatten(-1, [2, -1])
        kinds = torch.logsumexp(self.kinds(x) * 2.0, dim=1).unflatten(-1, [2, -1]) / 2.0
        return fields, digit, kinds, self.cell(x)


def split_labels(labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Labels int8[B, LABELS] -> fields [B, 2, 4, 9], digit [B, 2], kinds [B, 2, 30], and whether
    motion can be told [B]."""
    frames = labels[:, :-1].long().view(labels.shape[0], 2, -1)
    fields = frames[..., : CELLS * len(FIELDS)].unflatten(-1, (len(FIELDS), CELLS))
    digit = frames[..., CELLS * len(FIELDS)]
    kinds = frames[..., CELLS * len(FIELDS) + 1 :]
    return fields, digit, kinds, labels[:, -1].bool()


def head_loss(heads: Heads, tokens: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The sum of all losses, and accuracies per attribute (of objects, not of empty cells)."""
    fields, digit, kinds, cell = heads(tokens)
    want_fields, want_digit, want_kinds, motion = split_labels(labels)
    total = functional.cross_entropy(digit.flatten(0, 1), want_digit.flatten())
    want_cell = torch.arange(CELLS, device=cell.device).expand(cell.shape[:2])
    total = total + functional.cross_entropy(cell.flatten(0, 1), want_cell.flatten())
    right: dict[str, float] = {
        "digit": (digit.argmax(-1) == want_digit).float().mean().item(),
        "cell": (cell.argmax(-1) == want_cell).float().mean().item(),
    }
    for at, name in enumerate(FIELDS):
        logits = fields[at].transpose(1, 2)
        want = want_fields[:, :, at].clone()
        if name == "moving":
            want[~motion] = IGNORE
        weight = torch.ones(logits.shape[-1], device=logits.device)
        weight[0] = 0.3
        total = total + functional.cross_entropy(
            logits.flatten(0, 2), want.flatten(), weight=weight, ignore_index=IGNORE
        )
        there = want > 0
        hits = (logits.argmax(-1) == want)[there]
        right[name] = hits.float().mean().item() if hits.numel() else 1.0
    total = total + 3.0 * functional.binary_cross_entropy_with_logits(kinds, want_kinds.float())
    right["kinds"] = ((kinds > 0) == want_kinds.bool()).all(-1).float().mean().item()
    return total, right


@dataclass
class VisionPlan:
    """How long and how fast stage 1 learns."""

    batch: int = 64
    rate: float = 1.5e-3
    warmup: int = 150
    log_every: int = 50
    save_every_s: float = 120.0
    seconds: float = 1_200.0
    """The time to train in all, over however many runs."""


class VisionTrainer:
    """Trains the tower and its heads, logs accuracies, and saves what is needed to go on."""

    def __init__(self, tower: Qwen3VLVisionModel, plan: VisionPlan, folder: Path) -> None:
        hidden = tower.config.out_hidden_size
        self.tower = tower
        self.plan = plan
        self.folder = folder
        self.heads = nn.ModuleList([Heads(hidden), Heads(hidden)])
        device = next(tower.parameters()).device
        self.heads.to(device)
        self.device = device
        decay = [p for p in self.parameters() if p.ndim >= 2]
        plain = [p for p in self.parameters() if p.ndim < 2]
        groups = [{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.98))
        self.step = 0
        self.spent_s = 0.0

    def parameters(self) -> list[nn.Parameter]:
        return [*self.tower.parameters(), *self.heads.parameters()]

    def rate(self, progress: float) -> float:
        """The learning rate at a progress of 0-1: a warm-up, then a cosine down to a twentieth."""
        warm = min(1.0, (self.step + 1) / self.plan.warmup)
        return self.plan.rate * warm * (0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * progress)))

    def learn(
        self, pixels: NDArray[np.uint8], labels: NDArray[np.int8], progress: float
    ) -> dict[str, float]:
        """Take one step of the optimiser; returns losses and accuracies."""
        patches = patches_of(torch.from_numpy(pixels).to(self.device))
        targets = torch.from_numpy(labels).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            merged, deep = encode(self.tower, patches)
        loss, right = head_loss(self.heads[0], merged, targets)  # type: ignore[arg-type]
        deep_loss, _ = head_loss(self.heads[1], deep[0], targets)  # type: ignore[arg-type]
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(progress)
        self.optimizer.zero_grad(set_to_none=True)
        (loss + 0.3 * deep_loss).backward()
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return {"loss": loss.item(), "deep_loss": deep_loss.item(), **right}

    def state(self) -> dict[str, Any]:
        return {
            "tower": self.tower.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "spent_s": self.spent_s,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.tower.load_state_dict(state["tower"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.spent_s = state["step"], state["spent_s"]

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / "vision.pt.part"
        torch.save(self.state(), part)
        part.replace(self.folder / "vision.pt")

    def run(self, ring: ClipRing, seed: int) -> None:
        """Learn until the plan's time is spent."""
        rng = np.random.default_rng((seed, self.step))
        begun, last_save = time.time() - self.spent_s, time.time()
        sums: dict[str, float] = {}
        bar = tqdm(total=round(self.plan.seconds), initial=round(self.spent_s), unit="s")
        with (self.folder / "vision.jsonl").open("a") as log:
            while self.spent_s < self.plan.seconds:
                pixels, labels = ring.batch(self.plan.batch, rng)
                marks = self.learn(pixels, labels, self.spent_s / self.plan.seconds)
                for name, value in marks.items():
                    sums[name] = sums.get(name, 0.0) + value
                self.spent_s = time.time() - begun
                if self.step % self.plan.log_every == 0:
                    every = self.plan.log_every
                    row = {name: round(value / every, 4) for name, value in sums.items()}
                    line = {"step": self.step, "s": round(self.spent_s, 1), **row}
                    log.write(json.dumps(line) + "\n")
                    log.flush()
                    bar.n = min(round(self.spent_s), bar.total)
                    bar.set_postfix(step=self.step, loss=row["loss"], shape=row["shape"])
                    sums = {}
                if time.time() - last_save > self.plan.save_every_s:
                    self.save()
                    last_save = time.time()
        bar.close()
        self.save()
