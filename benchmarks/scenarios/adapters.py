"""Every adapter of a benchmark of the field on small items of our own, whose scores are known.

The engine tells colours and nothing else, so that what is checked is the way from a benchmark's
annotation file to its score: formats, cutting, times, the form of replies, scoring.

Not shown: how well any model does. No data set of these benchmarks can be had here.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any

from onlooker.benchmarks.adapters.benchmark import BENCHMARKS
from onlooker.benchmarks.adapters.evaluation import Evaluation
from onlooker.benchmarks.adapters.own_items import ColourEngine, write_items, write_own_video
from onlooker.benchmarks.adapters.reply_book import ReplyBook
from onlooker.benchmarks.adapters.viewer import Viewer
from onlooker.benchmarks.report import rows
from onlooker.clients.python.client import Client
from onlooker.core.settings import load_settings
from onlooker.server.config import Settings
from onlooker.server.serving import address, bind, make_server
from onlooker.server.wiring import make_gateway

NEAR = 1e-6


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The scores beside those that are right, by benchmark."""
    settings = load_settings(
        Settings, environ={}, overrides={"server.port": 0, "engine.mode": "fake"}
    )
    gateway = make_gateway(settings, engine=ColourEngine())
    bound = bind(settings.server)
    ready = asyncio.Event()
    server, failures = make_server(gateway, on_ready=ready.set)
    serving = asyncio.create_task(server.serve([bound]))
    try:
        await ready.wait()
        with tempfile.TemporaryDirectory(prefix="onlooker-adapters-") as name:
            return await _all(address(settings.server, bound), Path(name))
    finally:
        server.should_exit = True
        await serving
        bound.close()
        assert failures == [], failures


async def _all(base: str, folder: Path) -> dict[str, Any]:
    await asyncio.to_thread(write_own_video, folder)
    right = await asyncio.to_thread(write_items, folder)
    found: dict[str, Any] = {}
    async with Client(base) as client:
        for name, benchmark in BENCHMARKS.items():
            results = ReplyBook(folder / f"{name}.jsonl")
            viewer = Viewer(client, folder)
            run = Evaluation(benchmark, viewer, results, say=lambda line: None)
            report = await run.run(folder / f"{name}.json")
            scores = {way: score["all"] if "all" in score else score["held"]
                      for way, score in report["scores"].items()}  # fmt: skip
            found[name] = {
                "scores": scores,
                "right": right[name],
                "is_right": all(abs(scores[way] - right[name][way]) < NEAR for way in right[name]),
                "probes": report["probes"],
                "failed": report["failed"],
                "looked_ahead": report["looked_ahead"],
                "without_form": report["without_form"],
            }
    return {
        "benchmarks": found,
        "all_right": all(one["is_right"] and not one["failed"] for one in found.values()),
    }


def table(figures: dict[str, Any]) -> str:
    """For people."""
    head = ("benchmark", "probes", "scores", "right", "looked ahead", "failed")
    body = [
        (
            name, one["probes"], _said(one["scores"]), _said(one["right"]), one["looked_ahead"],
            one["failed"],
        )
        for name, one in figures["benchmarks"].items()
    ]  # fmt: skip
    verdict = "as they should be" if figures["all_right"] else "NOT as they should be"
    return "\n".join((rows(head, body), f"scores are {verdict}"))


def _said(scores: dict[str, float]) -> str:
    return ", ".join(f"{way} {score:.3f}" for way, score in scores.items())
