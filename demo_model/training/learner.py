"""Stage 2: the language model learns to answer from cached clips, in growing contexts."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from transformers import Qwen3VLForConditionalGeneration

from onlooker.demo_model.dataset import Layout
from onlooker.demo_model.questions import FAMILIES
from onlooker.demo_model.training.changes import ChangeHeads, Lessons
from onlooker.demo_model.training.contexts import Context, Drawer, draw_system
from onlooker.demo_model.training.language import (
    Packed,
    SeenTokens,
    forward,
    pointer_loss,
    retrieval_loss,
)
from onlooker.demo_model.training.muon import Muon
from onlooker.demo_model.training.packing import pack
from onlooker.demo_model.training.peers import Peers
from onlooker.demo_model.training.pool import Pool

SCORED_FAMILIES = ("at_time", "ever", "when_appeared", "when_changed")
"""Beginnings of the names of families with few evidence clips, which their content or stamp sets
apart."""
SIZES = (2, 4, 8, 16, 32, 64)


@dataclass
class LanguagePlan:
    """How long and how fast stage 2 learns."""

    rate: float = 6e-4
    sharp_scale: float = 6.0
    """How much faster the norms learn that decide how sharply attention picks one of many clips."""
    warmup: int = 200
    decay_share: float = 0.5
    """The share of the time, at the end, over which the rate falls to a twentieth."""
    clips_a_batch: int = 64
    questions_a_batch: int = 128
    level_up_at: float = 0.87
    """The share of answers that must be right at a level's longest context before longer ones
    come."""
    first_level: int = 0
    """The level at which a run begins. Weights to go on from know the short contexts."""
    schedule: tuple[float, ...] = (0.05, 0.1, 0.18, 0.28, 0.4)
    """For each level, the progress (0-1) at which the next one comes at the latest."""
    point_layers: tuple[int, ...] = (2, 3, 4)
    """Layers in which some heads are shown which clips a question is about."""
    point_groups: int = 2
    """How many key heads, with all the heads that share them, are shown that in each layer."""
    point_weight: float = 0.25
    change_layers: tuple[int, int] = (1, 2)
    """The layers after which video tokens are asked for the clip before, and for changes."""
    change_weight: float = 0.2
    retrieval_layers: tuple[int, ...] = (2, 3)
    retrieval_weight: float = 0.1
    retrieval_from_level: int = 2
    focus: tuple[str, ...] = (
        "now_color",
        "now_shape",
        "now_place",
        "now_list",
        "now_exists",
        "now_count",
    )
    """Families that are learnt first: all others need to tell which object has which property."""
    focus_share: float = 0.75
    """The share of the contexts that is only about the `focus` families, until each of them is
    right in `focus_until` of the cases."""
    focus_until: float = 0.9
    weak_below: float = 0.95
    """Families that are right less often than this get `weak_share` of the contexts."""
    weak_share: float = 0.5
    counting: tuple[str, ...] = ("how_many_times", "how_many_so_far")
    counting_share: float = 0.12
    """The share of the contexts that is only about the families that count. They stay weak for
    long, and would take all of `weak_share` otherwise."""
    gathered_share: float = 0.5
    """The share of the batches, at the last level, that have few clips from far apart, as retrieval
    gathers them."""
    log_every: int = 25
    save_every_s: float = 150.0
    seconds: float = 9_000.0
    """The time to train in all, over however many runs."""
    muon: bool = True


@dataclass
class Marks:
    """Sums of marks and their counts, by key, since the last log line."""

    right: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    count: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, key: str, value: float, weight: float = 1.0) -> None:
        self.right[key] += value * weight
        self.count[key] += weight

    def take(self) -> dict[str, float]:
        means = {key: round(self.right[key] / self.count[key], 3) for key in sorted(self.right)}
        self.right.clear()
        self.count.clear()
        return means


def question_results(packed: Packed, seen: SeenTokens) -> tuple[Tensor, list[bool]]:
    """The mean answer loss, and for each question whether all tokens of its answer were likeliest.

    A token weighs one over the square root of its answer's length.
    """
    wanted = packed.targets >= 0
    targets = packed.targets[wanted]
    owners = packed.branch_of[wanted]
    losses = functional.cross_entropy(seen.logits, targets, reduction="none")
    count = len(packed.family)
    lengths = torch.bincount(owners, minlength=count).clamp(min=1).float()
    weights = lengths[owners].rsqrt()
    hits = (seen.logits.argmax(-1) == targets).float()
    misses = torch.zeros(count, device=hits.device).index_add(0, owners, 1.0 - hits)
    return (losses * weights).sum() / weights.sum(), (misses == 0).tolist()


def has_bfloat16(device: torch.device) -> bool:
    """Whether this device calculates in bfloat16. A CPU that does not is many times slower in it
    than in float32."""
    return device.type != "cpu" or torch.cpu._is_avx512_bf16_supported()


class LanguageTrainer:
    """Draws batches from a pool, learns from them, logs and saves."""

    def __init__(
        self,
        model: Qwen3VLForConditionalGeneration,
        layout: Layout,
        pool: Pool,
        plan: LanguagePlan,
        folder: Path,
    ) -> None:
        self.model = model
        self.text = model.model.language_model
        self.layout = layout
        self.pool = pool
        self.drawer = Drawer(pool)
        self.lessons = Lessons()
        self.plan = plan
        self.folder = folder
        self.peers: Peers | None = None
        self.device = next(model.parameters()).device
        self.step = 0
        self.level = plan.first_level
        self.progress = 0.0
        self.spent_s = 0.0
        self.smooth: dict[str, float] = {}
        self.marks = Marks()
        self.heads = ChangeHeads(model.config.text_config.hidden_size).to(self.device)
        self.optimizers = self._optimizers()

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        named = list(self.text.named_parameters())
        matrices = [p for n, p in named if p.ndim == 2 and "embed" not in n]
        sharp = [p for n, p in named if "q_norm" in n or "k_norm" in n]
        others = [p for n, p in named if p.ndim != 2 or "embed" in n]
        others = [p for p in others if all(p is not q for q in sharp)]
        groups: list[dict[str, Any]] = [
            {"params": others},
            {"params": sharp, "scale": self.plan.sharp_scale},
        ]
        adam = torch.optim.AdamW(groups, lr=self.plan.rate, betas=(0.9, 0.98), weight_decay=0.0)
        heads = torch.optim.AdamW(self.heads.parameters(), lr=self.plan.rate, weight_decay=0.0)
        if self.plan.muon:
            return [Muon(matrices, lr=self.plan.rate), adam, heads]
        return [
            torch.optim.AdamW(matrices, lr=self.plan.rate, betas=(0.9, 0.98), weight_decay=0.05),
            adam,
            heads,
        ]

    def parameters(self) -> list[nn.Parameter]:
        """The parameters of the language model and of the throw-away heads."""
        return [*self.text.parameters(), *self.heads.parameters()]

    def rate(self) -> float:
        """The learning rate now: a warm-up, a plateau, then a straight way down."""
        warm = min(1.0, (self.step + 1) / self.plan.warmup)
        left = min(1.0, (1.0 - self.progress) / self.plan.decay_share)
        return self.plan.rate * warm * max(left, 0.05)

    def size(self, rng: np.random.Generator) -> tuple[int, bool]:
        """A random number of clips in a context, and whether they come from far apart.

        About half of the contexts are of the level's longest size or a little shorter.
        """
        top = SIZES[self.level]
        clips = top if rng.random() < 0.55 else int(rng.choice(SIZES[: self.level + 1]))
        gathered = self.level + 1 == len(SIZES) and rng.random() < self.plan.gathered_share
        if gathered:
            clips = int(rng.integers(8, 25))
        elif rng.random() < 0.3:
            clips = max(1, clips - int(rng.integers(0, clips // 2 + 1)))
        return clips, gathered

    def batch(self, rng: np.random.Generator, clips: int, gathered: bool = False) -> Packed:
        """This process's part of a batch: contexts of `clips` clips each, at least one."""
        contexts = max(1, min(self.plan.clips_a_batch // clips, 24))
        questions = self.plan.questions_a_batch
        if clips > 8:  # attention makes a question cost more in a long context
            questions = questions * 2 // 3 if clips <= 16 else questions // 2
        each = max(2, questions // contexts)
        own = contexts if self.peers is None else max(1, contexts // self.peers.count)
        drawn: list[Context] = []
        families = self.families(rng)
        while len(drawn) < own:
            context = self.drawer.context(rng, clips, each, families, gathered)
            if context.branches:
                drawn.append(context)
                families = self.families(rng)
            else:  # these families had no question about it: ask of all
                families = None
        return pack(self.layout, drawn, self.pool, draw_system(rng), self.lessons)

    def families(self, rng: np.random.Generator) -> Sequence[str] | None:
        """The families of the questions about a context; None: all, by their shares."""
        if not self.focused:
            return self.plan.focus if rng.random() < self.plan.focus_share else None
        if rng.random() < self.plan.counting_share:
            return self.plan.counting
        able = [f for f in FAMILIES if f not in self.plan.counting]
        weak = tuple(f for f in able if self.smooth.get(f, 0.0) < self.plan.weak_below)
        return weak if weak and rng.random() < self.plan.weak_share else None

    def learn(self, packed: Packed, clips: int) -> None:
        """Take one step of the optimisers and note its marks for the log."""
        packed = packed.to(self.device)
        scored = self.level >= self.plan.retrieval_from_level and clips >= 4
        layers = self.plan.retrieval_layers if scored else ()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=has_bfloat16(self.device)):
            seen = forward(
                self.text,
                packed,
                self.layout.video,
                layers,
                self.plan.change_layers,
                self.plan.point_layers,
                self.plan.point_groups,
            )
        loss, right = question_results(packed, seen)
        extra, shares = self.heads(seen.taps, packed.labels, packed.stamps)
        total = loss + self.plan.change_weight * extra
        for layer, pointers in zip(self.plan.point_layers, seen.pointers, strict=True):
            extra, share = pointer_loss(pointers, packed)
            total = total + self.plan.point_weight * extra
            shares[f"points/{layer}"] = share
        for name, share in shares.items():
            if share == share:
                self.marks.add(name, share)
        for layer, scores in zip(layers, seen.scores, strict=True):
            kept = torch.tensor(
                [f.startswith(SCORED_FAMILIES) for f in packed.family], device=self.device
            )
            extra, top = retrieval_loss(scores, packed.evidence & kept[:, None], packed.candidates)
            total = total + self.plan.retrieval_weight * extra
            if top == top:
                self.marks.add(f"found@1/{layer}", top)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate() * group.get("scale", 1.0)
            optimizer.zero_grad(set_to_none=True)
        total.backward()
        if self.peers is not None:
            self.peers.average(self.parameters())
        nn.utils.clip_grad_norm_(self.text.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self._mark(packed, clips, loss.item(), right)

    def _mark(self, packed: Packed, clips: int, loss: float, right: list[bool]) -> None:
        self.marks.add("loss", loss)
        size = next(s for s in SIZES if clips <= s)
        for lesson, hit in zip(packed.lesson or (), right, strict=False):
            if lesson:
                self.marks.add(f"lesson/{lesson}", float(hit))
        for family, hit in zip(packed.family, right, strict=True):
            self.marks.add(family, float(hit))
            self.marks.add(f"@{size:02d}", float(hit))
            self.smooth[family] = 0.98 * self.smooth.get(family, 0.0) + 0.02 * float(hit)
        share = sum(right) / len(right)
        key = f"@{size}"
        self.smooth[key] = 0.95 * self.smooth.get(key, 0.0) + 0.05 * share

    @property
    def focused(self) -> bool:
        """Whether the `focus` families are all right often enough to go on."""
        seen = (self.smooth.get(family, 0.0) for family in self.plan.focus)
        return all(share >= self.plan.focus_until for share in seen)

    def _level_up(self) -> None:
        if self.level + 1 >= len(SIZES):
            return
        if not self.focused and self.progress < self.plan.schedule[self.level]:
            return
        good = self.smooth.get(f"@{SIZES[self.level]}", 0.0) >= self.plan.level_up_at
        if good or self.progress >= self.plan.schedule[self.level]:
            self.level += 1

    def state(self) -> dict[str, Any]:
        return {
            "text": self.text.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "level": self.level,
            "smooth": self.smooth,
            "spent_s": self.spent_s,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.text.load_state_dict(state["text"])
        self.heads.load_state_dict(state["heads"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.level, self.smooth = state["step"], state["level"], state["smooth"]
        self.spent_s = state["spent_s"]

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / "language.pt.part"
        torch.save(self.state(), part)
        part.replace(self.folder / "language.pt")

    def run(self, seed: int, peers: Peers | None = None) -> None:
        """Learn until the plan's time is spent.

        With `peers`, which must start alike, only the first process logs and saves.
        """
        self.peers = peers
        rank = 0 if peers is None else peers.rank
        if rank:
            self._learn_on(seed, rank, None, None)
            return
        bar = tqdm(total=round(self.plan.seconds), initial=round(self.spent_s), unit="s")
        with (self.folder / "language.jsonl").open("a") as log:
            self._learn_on(seed, rank, log, bar)
        bar.close()
        self.save()

    def _learn_on(self, seed: int, rank: int, log: TextIO | None, bar: Any) -> None:
        sizes = np.random.default_rng((seed, self.step))  # the same in all processes
        rng = np.random.default_rng((seed, self.step, rank))
        begun, last_save = time.time() - self.spent_s, time.time()
        drawing = 0.0
        while self.spent_s < self.plan.seconds:
            self.progress = self.spent_s / self.plan.seconds
            before = time.time()
            clips, gathered = self.size(sizes)
            packed = self.batch(rng, clips, gathered)
            drawing += time.time() - before
            self.learn(packed, clips)
            self._level_up()
            self.spent_s = time.time() - begun
            if self.peers is not None:
                self.spent_s, self.level = self.peers.agree(self.spent_s, self.level)
            if log is None:
                continue
            if self.step % self.plan.log_every == 0:
                row: dict[str, Any] = {"step": self.step, "s": round(self.spent_s, 1)}
                row |= {"level": SIZES[self.level], "draw_s": round(drawing, 1)}
                row |= self.marks.take()
                log.write(json.dumps(row) + "\n")
                log.flush()
                bar.n = min(round(self.spent_s), bar.total)
                bar.set_postfix(step=self.step, clips=row["level"], loss=row["loss"])
            if time.time() - last_save > self.plan.save_every_s:
                self.save()
                last_save = time.time()
