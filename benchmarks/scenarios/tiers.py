"""Save and load speed of each tier and codec, as a ratio to the plain limit of its medium."""

import argparse
import asyncio
from typing import Any

from onlooker.benchmarks import micro_cache_store
from onlooker.benchmarks.report import rows


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure as `onlooker.benchmarks.micro_cache_store` says."""
    return await asyncio.to_thread(micro_cache_store.measure, options.seed)


def table(figures: dict[str, Any]) -> str:
    """The figures as tables in plain text."""
    titles = ("tier", "codec", "save GB/s", "of limit", "load GB/s", "of limit")
    lines = [
        (
            tier,
            codec,
            found.get("save_gb_per_s"),
            found.get("save_ratio"),
            found["load_gb_per_s"],
            found["load_ratio"],
        )
        for tier, codecs in figures["tiers"].items()
        for codec, found in codecs.items()
    ]
    return rows(titles, lines)
