"""A pool of timelines whose clips the frozen vision tower has seen once: cached tokens on disk.

Language training reads these instead of pixels, so it costs no vision at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from onlooker.demo_model.model import FRAME_SIZE
from onlooker.demo_model.render import augment_clip, jpeg, render, render_batch, resize
from onlooker.demo_model.training.clips import CELLS
from onlooker.demo_model.training.vision import encode, patches_of
from onlooker.demo_model.view import DrawnClip
from onlooker.demo_model.world import World

Pixels = NDArray[np.uint8]
ASPECTS = (4 / 3, 4 / 3, 4 / 3, 16 / 9, 1.0, 3 / 4)


@dataclass(frozen=True)
class DrawnTimeline:
    """Clips of one world in order: stamps, and the times of the two frames of each."""

    seed: int
    stamps: tuple[float, ...]
    firsts: tuple[float, ...]
    seconds: tuple[float, ...]
    start: int
    """The row of the timeline's first clip in the pool."""

    def __len__(self) -> int:
        return len(self.stamps)

    def clips(self) -> list[DrawnClip]:
        return [
            DrawnClip(stamp, (first,) if first == second else (first, second))
            for stamp, first, second in zip(self.stamps, self.firsts, self.seconds, strict=True)
        ]


def draw_timeline(rng: np.random.Generator, seed: int, clips: int, start: int) -> DrawnTimeline:
    """A timeline: one stretch of a stream, or several with up to an hour between them.

    Half of the streams have run for hours when they are looked at. The twelve short stretches of
    some lie hundreds of seconds apart, as clips do that retrieval finds in a long stream.
    """
    spacing = float(rng.choice((1.0, 0.5, 2.0), p=(0.76, 0.12, 0.12)))
    repeated = rng.random() < 0.12
    gap = 0.0 if repeated else 0.5 if spacing >= 1.0 else 0.25
    runs = int(rng.choice((1, 3, 12), p=(0.45, 0.25, 0.3)))
    at = float(rng.uniform(0.0, 36_000.0) if rng.random() < 0.5 else rng.uniform(0.0, 60.0))
    firsts: list[float] = []
    for run in range(runs):
        length = clips // runs if run < runs - 1 else clips - len(firsts)
        firsts += [at + spacing * i for i in range(length)]
        at = firsts[-1] + float(np.exp(rng.uniform(np.log(20.0), np.log(10_800.0 / runs))))
    seconds = [first + gap for first in firsts]
    stamps = [(a + b) / 2 for a, b in zip(firsts, seconds, strict=True)]
    return DrawnTimeline(seed, tuple(stamps), tuple(firsts), tuple(seconds), start)


def film(timeline: DrawnTimeline, rng: np.random.Generator) -> Iterator[Pixels]:
    """The frames of each clip, uint8[2, side, side, 3], filmed by one camera.


    A camera has an aspect for all clips. Three in four keep their light and quality as well; with
    the others these vary by clip.
    """
    world = World(timeline.seed)
    aspect = float(rng.choice(ASPECTS))
    large = rng.random() < 0.35
    scale, quality = float(rng.uniform(1.2, 4.0)), int(rng.integers(40, 96))
    steady = rng.random() < 0.75
    look = int(rng.integers(0, 2**32))
    for first, second in zip(timeline.firsts, timeline.seconds, strict=True):
        times = (first,) if first == second else (first, second)
        scenes = [world.state_at(t) for t in times]
        if large:
            width = int(FRAME_SIZE * scale * max(aspect, 1.0))
            height = int(FRAME_SIZE * scale / min(aspect, 1.0))
            filmed = [jpeg(render(scene, width, height), quality) for scene in scenes]
            pixels = np.stack([resize(image, FRAME_SIZE, FRAME_SIZE) for image in filmed])
        else:
            pixels = render_batch(scenes, FRAME_SIZE, FRAME_SIZE, aspect)
        camera = np.random.default_rng(look) if steady else rng
        if not (large and steady and look % 2):
            pixels = augment_clip(pixels, camera)
        yield pixels if len(pixels) == 2 else np.concatenate([pixels, pixels])


class Pool:
    """Timelines and their tokens: merged and deepstack, float16[clips, 9, hidden] each."""

    def __init__(self, folder: Path, hidden: int) -> None:
        rows = [json.loads(line) for line in (folder / "timelines.jsonl").read_text().splitlines()]
        self.timelines = [
            DrawnTimeline(
                row["seed"],
                tuple(row["stamps"]),
                tuple(row["firsts"]),
                tuple(row["seconds"]),
                row["start"],
            )
            for row in rows
        ]
        clips = self.timelines[-1].start + len(self.timelines[-1])
        shape = (clips, CELLS, hidden)
        self.merged = np.memmap(folder / "merged.f16", np.float16, "r", shape=shape)
        self.deep = np.memmap(folder / "deep.f16", np.float16, "r", shape=shape)


def build_pool(
    tower: Qwen3VLVisionModel, folder: Path, seeds: range, clips: int = 192, shuffle_seed: int = 0
) -> None:
    """Write a pool with one timeline of each seed."""
    rng = np.random.default_rng((shuffle_seed, seeds.start))
    timelines = [draw_timeline(rng, seed, clips, n * clips) for n, seed in enumerate(seeds)]
    write_pool(tower, folder, timelines, rng)


@torch.no_grad()
def write_pool(
    tower: Qwen3VLVisionModel,
    folder: Path,
    timelines: Sequence[DrawnTimeline],
    rng: np.random.Generator,
    batch: int = 64,
) -> None:
    """Film the timelines, run the tower, write its tokens. An unfinished pool has no index."""
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "timelines.jsonl"
    index.unlink(missing_ok=True)
    device = next(tower.parameters()).device
    merged_path, deep_path = folder / "merged.f16", folder / "deep.f16"
    with merged_path.open("wb") as merged_file, deep_path.open("wb") as deep_file:
        for timeline in tqdm(timelines, desc="timelines seen"):
            for frames in batched(film(timeline, rng), batch):
                pixels = torch.from_numpy(np.stack(frames)).to(device)
                with torch.autocast(device.type, torch.bfloat16):
                    merged, deep = encode(tower, patches_of(pixels))
                merged_file.write(merged.to(torch.float16).cpu().numpy().tobytes())
                deep_file.write(deep[0].to(torch.float16).cpu().numpy().tobytes())
    part = folder / "timelines.jsonl.part"
    part.write_text("".join(json.dumps(asdict(timeline)) + "\n" for timeline in timelines))
    os.replace(part, index)


def batched(items: Iterator[Pixels], size: int) -> Iterator[list[Pixels]]:
    """Lists of up to `size` items."""
    while batch := list(islice(items, size)):
        yield batch
