"""``python -m onlooker.benchmarks.adapters``: a benchmark of the field, put to a running server."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from onlooker.benchmarks.adapters.benchmark import BENCHMARKS
from onlooker.benchmarks.adapters.evaluation import Evaluation
from onlooker.benchmarks.adapters.reply_book import ReplyBook
from onlooker.benchmarks.adapters.viewer import Viewer
from onlooker.clients.python.client import Client
from onlooker.core.errors import OnlookerError


def main() -> int:
    """Run one benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m onlooker.benchmarks.adapters", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("benchmark", choices=sorted(BENCHMARKS))
    parser.add_argument("--data", type=Path, required=True, help="its annotation file (JSON)")
    parser.add_argument("--videos", type=Path, required=True, help="the folder of its videos")
    parser.add_argument("--server", default="http://127.0.0.1:8000", help="address of the server")
    parser.add_argument("--api-key", help="a key of the server, where it wants one")
    parser.add_argument("--fps", type=float, default=2.0, help="pictures shown of each second [2]")
    parser.add_argument("--at-once", type=int, default=4, help="videos shown at once [4]")
    parser.add_argument(
        "--out", type=Path, default=Path("results"), help="folder; a run goes on there [results]"
    )
    options = parser.parse_args()
    try:
        return asyncio.run(_run(options))
    except OnlookerError as error:
        print(f"onlooker: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130


async def _run(options: argparse.Namespace) -> int:
    benchmark = BENCHMARKS[options.benchmark]
    results = ReplyBook(options.out / f"{benchmark.name}.jsonl")
    async with Client(options.server, api_key=options.api_key) as client:
        viewer = Viewer(client, options.videos, fps=options.fps)
        run = Evaluation(benchmark, viewer, results, at_once=options.at_once)
        report = await run.run(options.data)
    path = options.out / f"{benchmark.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))
    print(f"replies in {results.path}, the report in {path}")
    return 1 if report["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
