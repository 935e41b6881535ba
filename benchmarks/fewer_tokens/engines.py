"""Engines for the parts of `tokens`, in whose streams every method can be chosen."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from onlooker.cache_store.config import CacheStoreSection, DiskSection, RamSection
from onlooker.core.clock import SystemClock
from onlooker.core.metrics import Metrics
from onlooker.engine.care import Care
from onlooker.engine.config import EngineSection
from onlooker.engine.memory.compaction import COMPACTIONS, CompactionSection
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.memory.drops import DROPS
from onlooker.engine.memory.token_drop import TokenDropSection
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.engine.vllm_adapter.gateway.model_folder import model_folder
from onlooker.engine.vllm_adapter.gateway.segment_engine import SegmentEngine
from onlooker.engine.vllm_adapter.wire import flush_segments

Encoder = Literal["all", "kept"]

Rows = dict[str, dict[str, Any]]
"""Figures by the name of a row: a method, with what of a clip it encodes."""

WIDTH, HEIGHT = 384, 288

BATCH = 8
"""Clips that are compacted at once."""


def row_name(method: str, encoder: Encoder) -> str:
    """The row of a method: `+kept` where only the places that are computed are encoded, and
    `-text` where compaction keeps no text."""
    if encoder == "all" or method == "off":
        return method
    return f"{method}-text" if method in COMPACTIONS else f"{method}+kept"


def care_of(method: str) -> Care:
    """The care with which a stream's clips are taken in."""
    return Care(
        token_drop=method if method in DROPS else "off",
        compaction=method if method in COMPACTIONS else "off",
    )


def sized(model: str, folder: Path) -> Path:
    """The model, in `folder`, with a profile that asks for pictures of `WIDTH` and `HEIGHT`."""
    source = model_folder(model)
    assert source is not None, "the model is a folder"
    num_pixels = 2 * WIDTH * HEIGHT  # of both frames of a clip
    changes: dict[str, dict[str, Any]] = {
        "onlooker.json": {"frame_width": WIDTH, "frame_height": HEIGHT},
        "video_preprocessor_config.json": {
            "size": {"longest_edge": num_pixels, "shortest_edge": num_pixels}
        },
    }
    for path in source.iterdir():
        if path.name in changes:
            told = json.loads(path.read_text()) | changes[path.name]
            (folder / path.name).write_text(json.dumps(told))
        else:
            (folder / path.name).symlink_to(path.resolve())
    return folder


@asynccontextmanager
async def running(
    model: str,
    label: str,
    *,
    metrics: Metrics | None = None,
    encoder: Encoder = "all",
    keeps_text: bool = True,
    keep_ratio: float = 0.25,
    store: Path | None = None,
) -> AsyncIterator[SegmentEngine]:
    """An engine in whose streams every method can be chosen; the other arguments go for all.

    Args:
        label: what lines about its start begin with.
        store: the folder of a disk tier, which most of what is asked about is then read from.
    """
    compaction = CompactionSection(
        method="vsb",  # so that queries are kept; each stream chooses for itself
        keep_ratio=keep_ratio,
        min_places=3,
        keeps_text=keeps_text,
        behind_clips=1,
        batch_clips=BATCH,
        max_load_ratio=1.0,
    )
    section = MemorySection(token_drop=TokenDropSection(encoder=encoder), compaction=compaction)
    tiers = None
    if store is not None:
        disk = DiskSection(path=store, sync=False)
        tiers = CacheStoreSection(memory=RamSection(budget_bytes=64 << 20), disk=disk)
        section = section.model_copy(update={"arena_gib": 0.05})
    settings = EngineSection(model=model, served_model_name="demo", mode="segments", memory=section)
    engine = make_engine(settings, SystemClock(), metrics or Metrics(), tiers)
    assert isinstance(engine, SegmentEngine)
    await engine.start(lambda line: print(f"  {label}: {line}", flush=True))
    try:
        yield engine
    finally:
        await engine.close()


async def flush(engine: SegmentEngine) -> None:
    """Wait until all segments are stored."""
    await engine.runner.ask_workers(flush_segments(120.0))
