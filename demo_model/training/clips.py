"""Single clips with dense labels, rendered by background processes into a ring on disk.

A clip is two frames. The nine tokens that the language model gets for it tile the frame three by
three, so each label says what stands in one cell, and the cell says where.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onlooker.demo_model.model import FRAME_SIZE
from onlooker.demo_model.render import training_clip
from onlooker.demo_model.table import SHAPES, SIZES
from onlooker.demo_model.world import COLOR_NAMES, Scene, World

CELLS = 9
FIELDS = ("color", "shape", "size", "moving")
LABELS = 2 * (CELLS * len(FIELDS) + 1 + len(COLOR_NAMES) * len(SHAPES)) + 1
"""The number of labels of a clip. For each frame: the fields of each cell, the digit, and which
kinds are there; then whether the clip can show motion."""
BORDER = 0.06
"""An object whose centre is this close to the edge of a cell, in unit lengths, gets no label."""
IGNORE = -1
MAX_TRAIN_SEED = 1_000_000


@dataclass(frozen=True)
class ClipTimes:
    """When the two frames of a clip were taken, in seconds of the world."""

    first: float
    second: float


def draw_times(rng: np.random.Generator) -> ClipTimes:
    """Random times, mostly half a second apart; one clip in seven repeats one frame."""
    start = float(rng.uniform(0.0, 3_600.0))
    pick = rng.random()
    gap = 0.5 if pick < 0.7 else 0.0 if pick < 0.85 else float(rng.uniform(0.25, 0.6))
    return ClipTimes(start, start + gap)


def cell_of(x: float, y: float) -> int | None:
    """The index of the cell that a point clearly lies in, row by row; None near an edge."""
    for value in (x * 3, y * 3):
        if abs(value - round(value)) < BORDER * 3 and round(value) in (1, 2):
            return None
    return min(max(int(y * 3), 0), 2) * 3 + min(max(int(x * 3), 0), 2)


def frame_labels(scene: Scene) -> NDArray[np.int8]:
    """int8[67]: labels of a frame: the fields of each cell, field by field, the digit, the kinds.

    A field is 0 where the cell is empty and -1 where that is unclear; the digit is 0 without a
    sign, else the digit + 1; a kind is 1 where the frame shows an object of it, else 0.
    """
    fields = np.zeros((len(FIELDS), CELLS), np.int8)
    kinds = np.zeros((len(COLOR_NAMES), len(SHAPES)), np.int8)
    taken: set[int] = set()
    for thing in scene.objects:
        color, shape = COLOR_NAMES.index(thing.color), SHAPES.index(thing.shape)
        kinds[color, shape] = 1
        cell = cell_of(thing.x, thing.y)
        values = (color + 1, shape + 1, list(SIZES).index(thing.size) + 1, int(thing.moving) + 1)
        if cell is None:
            column, row = thing.x * 3, thing.y * 3
            for index in range(CELLS):
                near = max(abs(index % 3 + 0.5 - column), abs(index // 3 + 0.5 - row))
                if near < 0.5 + BORDER * 3:
                    fields[:, index] = IGNORE
                    taken.add(index)
        elif cell in taken:
            fields[:, cell] = IGNORE
        else:
            fields[:, cell] = values
            taken.add(cell)
    digit = 0 if scene.sign is None else scene.sign + 1
    return np.concatenate([fields.ravel(), [digit], kinds.ravel()]).astype(np.int8)


def make_clip(
    world: World, times: ClipTimes, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """A clip's spoiled pixels, uint8[2, side, side, 3], and its labels, int8[LABELS]."""
    scenes = (world.state_at(times.first), world.state_at(times.second))
    if times.first == times.second:
        one = training_clip(scenes[:1], FRAME_SIZE, rng)
        pixels = np.concatenate([one, one])
    else:
        pixels = training_clip(scenes, FRAME_SIZE, rng)
    apart = times.second - times.first
    labels = [*map(frame_labels, scenes), np.array([apart >= 0.4], np.int8)]
    return pixels, np.concatenate(labels)


class ClipRing:
    """A ring of rendered clips in files, written by workers and read by the trainer."""

    def __init__(self, folder: Path, size: int, create: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        mode = "w+" if create else "r+"
        shape = (size, 2, FRAME_SIZE, FRAME_SIZE, 3)
        self.folder = folder
        self.size = size
        self.pixels = np.memmap(folder / "pixels.u8", np.uint8, mode, shape=shape)  # type: ignore[call-overload]
        self.labels = np.memmap(folder / "labels.i8", np.int8, mode, shape=(size, LABELS))  # type: ignore[call-overload]
        self.count = np.memmap(folder / "count.i8", np.int64, mode, shape=(64,))  # type: ignore[call-overload]

    def ready(self) -> int:
        """The number of slots that hold a clip."""
        return int(min(self.count.sum(), self.size))

    def batch(
        self, size: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """A random batch of finished clips: their pixels and labels."""
        picked = rng.integers(0, self.ready(), size)
        return np.asarray(self.pixels[picked]), np.asarray(self.labels[picked])


def _produce(
    folder: Path, size: int, worker: int, workers: int, seed: int, core: int | None
) -> None:
    os.nice(5)
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    ring = ClipRing(folder, size, create=False)
    rng = np.random.default_rng((seed, worker))
    parent = os.getppid()
    slot = worker
    while os.getppid() == parent:
        world = World(int(rng.integers(0, MAX_TRAIN_SEED)))
        base = draw_times(rng)
        for step in range(4):
            shift = step * 17.0
            times = ClipTimes(base.first + shift, base.second + shift)
            ring.pixels[slot], ring.labels[slot] = make_clip(world, times, rng)
            ring.count[worker] += 1
            slot = slot + workers if slot + workers < size else worker


def start_workers(
    folder: Path, size: int, workers: int, seed: int, core: int | None = None
) -> tuple[ClipRing, list[BaseProcess]]:
    """A new ring and the processes that keep filling it until this one ends."""
    ring = ClipRing(folder, size, create=True)
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = []
    for worker in range(workers):
        process = context.Process(
            target=_produce, args=(folder, size, worker, workers, seed, core), daemon=True
        )
        process.start()
        processes.append(process)
    return ring, processes


def wait_for(ring: ClipRing, clips: int) -> None:
    """Wait until the ring holds `clips` clips."""
    while ring.ready() < clips:
        time.sleep(0.5)
