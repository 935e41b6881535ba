"""What each method saves of a clip, with the demo model's weights at 384x288 pixels."""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onlooker.benchmarks.drawn_scenes import DrawnScene
from onlooker.benchmarks.fewer_tokens.engines import (
    BATCH,
    HEIGHT,
    WIDTH,
    Encoder,
    Rows,
    care_of,
    row_name,
    running,
    sized,
)
from onlooker.core.errors import ConfigError
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip
from onlooker.core.metrics import Metrics
from onlooker.engine.memory.compaction import COMPACTIONS
from onlooker.engine.vllm_adapter.gateway.segment_engine import SegmentEngine

WARM_UP = 4
"""Clips of each stream that are not counted: the first is whole for every method."""

SCENES = ("webcam", "busy", "crowded")

COSTS = ("tokens_ratio", "encoder_ratio", "kv_bytes_ratio", "time_ratio")


@dataclass
class Counted:
    """What one method cost on one scene."""

    times_s: list[float]
    num_computed: float = 0
    num_places: float = 0
    clip_bytes: float = 0
    """Bytes that are remembered of a clip."""

    def beside(self, whole: "Counted") -> dict[str, float]:
        """The figures of a row. `whole`: what `off` cost."""
        computed = self.num_computed / self.num_places if self.num_places else 1.0
        took, beside = map(statistics.median, (self.times_s, whole.times_s))
        return {
            "tokens_ratio": round(computed, 3),
            "kv_bytes_ratio": round(self.clip_bytes / whole.clip_bytes, 3),
            "time_ratio": round(took / beside, 3),
            "clip_ms": round(1000 * took, 1),
        }


async def costs(
    model: str, seed: int, num_clips: int, methods: Sequence[str], encoder: Encoder
) -> Rows:
    """Show drawn scenes to a stream of each method; the first is `off`."""
    found: Rows = defaultdict(dict)
    with tempfile.TemporaryDirectory(prefix="tokens") as name:
        folder = sized(model, Path(name))
        metrics = Metrics()
        async with running(str(folder), "costs", metrics=metrics, encoder=encoder) as engine:
            for scene in SCENES:
                clips = clips_of(scene, seed, num_clips)
                counted = await count(engine, metrics, clips, methods, f"{scene}-{encoder}")
                for method, cost in counted.items():
                    row = cost.beside(counted["off"])
                    row["encoder_ratio"] = row["tokens_ratio"] if encoder == "kept" else 1.0
                    found[row_name(method, encoder)][scene] = row
    return dict(found)


def clips_of(scene: str, seed: int, count: int) -> list[Clip]:
    """The first clips of a drawn scene."""
    made: DrawnScene = getattr(DrawnScene, scene)(seed, WIDTH, HEIGHT)
    return list(made.clips(StreamId("scene"), count))


async def count(
    engine: SegmentEngine,
    metrics: Metrics,
    clips: Sequence[Clip],
    methods: Sequence[str],
    label: str,
) -> dict[str, Counted]:
    """Show the same clips to a stream of each method, in turns. Streams are left open."""
    counted = {method: Counted([]) for method in methods}
    streams = {method: StreamId(f"{label}-{method}") for method in methods}
    for stream_id in streams.values():
        await engine.open_stream(stream_id)
    for number, clip in enumerate(clips):
        turns = [*methods[number % len(methods) :], *methods[: number % len(methods)]]
        for method in turns:
            before = _places(metrics)
            began_s = time.perf_counter()
            mine = Clip(streams[method], clip.clip_index, clip.frames)
            await engine.ingest(mine, care_of(method))
            if number >= WARM_UP:
                cost = counted[method]
                cost.times_s.append(time.perf_counter() - began_s)
                computed, left_out = (a - b for a, b in zip(_places(metrics), before, strict=True))
                cost.num_computed += computed
                cost.num_places += computed + left_out
    await engine.compactor.settled()
    stock = await engine.take_stock({})
    whole = stock.remembered[streams["off"]] / len(clips)
    for method, stream_id in streams.items():
        held, num_whole = stock.remembered[stream_id], 0
        if method in COMPACTIONS:  # what is still recent is whole
            num_whole = len(clips) - num_compacted(len(clips), engine.compactor.behind)
        counted[method].clip_bytes = (held - num_whole * whole) / (len(clips) - num_whole)
    print(f"  {label}: {len(clips)} clips of {len(methods)} streams", flush=True)
    return counted


def num_compacted(num_clips: int, behind: int) -> int:
    """How many of a stream's clips have been compacted, when the newest `behind` stay whole.

    Raises:
        ConfigError: none.
    """
    if num_clips < behind + BATCH:
        raise ConfigError(f"nothing is compacted of {num_clips} clips: --clips {behind + BATCH}")
    return (num_clips - behind) // BATCH * BATCH


def _places(metrics: Metrics) -> tuple[float, float]:
    """Places that were computed, and left out, so far."""
    found = (
        metrics.registry.get_sample_value("onlooker_clip_places_total", {"kind": kind})
        for kind in ("computed", "left_out")
    )
    computed, left_out = (value or 0.0 for value in found)
    return computed, left_out
