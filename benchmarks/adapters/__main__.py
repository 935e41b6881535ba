"""``onlooker eval``: a benchmark of the field, put to a running server."""

import argparse
import asyncio
import json
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from onlooker.benchmarks.adapters.benchmark import BENCHMARKS
from onlooker.benchmarks.adapters.evaluation import Evaluation
from onlooker.benchmarks.adapters.item_files import ItemFiles
from onlooker.benchmarks.adapters.reply_book import ReplyBook
from onlooker.benchmarks.adapters.report_lines import lines
from onlooker.benchmarks.adapters.viewer import Viewer
from onlooker.clients.python.client import ENV_API_KEY, Client
from onlooker.clients.python.options import DEFAULT_URL, ClientOptions
from onlooker.core.errors import OnlookerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark, or list all; returns the exit status: 1 where videos failed, 2 where the
    arguments are wrong or no server is there, 130 where it was stopped."""
    options = _parser().parse_args(arguments)
    if options.benchmark is None:
        print("\n".join(f"{name:26}{one.not_shown}" for name, one in BENCHMARKS.items()))
        print(
            "\nonlooker eval NAME --data FOLDER --server URL   (docs/benchmarks.md has the formats)"
        )
        return 0
    try:
        return asyncio.run(_run(options))
    except OnlookerError as error:
        print(f"onlooker: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="onlooker eval",
        description="Put a benchmark of the field to a running server. Without NAME: list all.",
    )
    parser.add_argument("benchmark", nargs="?", choices=list(BENCHMARKS), metavar="NAME")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(),
        help="its annotation file (JSON), or the folder of it [this folder]",
    )
    parser.add_argument(
        "--videos", type=Path, help="the folder of its videos [videos beside that file, or its own]"
    )
    parser.add_argument(
        "--server",
        default=os.environ.get("ONLOOKER_URL", DEFAULT_URL),
        help=f"the server's address; or ONLOOKER_URL [{DEFAULT_URL}]",
    )
    parser.add_argument("--api-key", help=f"a key, where the server wants one; or {ENV_API_KEY}")
    parser.add_argument("--ca", type=Path, help="PEM file with the authority of its certificate")
    parser.add_argument("--fps", type=_rate, default=2.0, help="pictures shown of each second [2]")
    parser.add_argument("--at-once", type=_count, default=4, help="videos shown at once [4]")
    parser.add_argument(
        "--out", type=Path, default=Path("results"), help="folder; a run goes on there [results]"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


async def _run(options: argparse.Namespace) -> int:
    benchmark = BENCHMARKS[options.benchmark]
    files = ItemFiles.found(options.data, options.videos, benchmark=benchmark.name)
    client_options = ClientOptions(ca_file=options.ca)
    async with Client(options.server, api_key=options.api_key, options=client_options) as client:
        model = (await client.models()).data[0].id
        path = _results(options.out, model, benchmark.name, files.annotations, options.fps)
        viewer = Viewer(client, files.videos, fps=options.fps)
        run = Evaluation(benchmark, viewer, ReplyBook(path), at_once=options.at_once, say=_progress)
        report = {"model": model, "fps": options.fps, **await run.run(files.annotations)}
    told = path.with_suffix(".json")
    told.parent.mkdir(parents=True, exist_ok=True)
    told.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2) if options.json else "\n".join(lines(report)))
    _progress(f"replies in {path}, the report in {told}")
    return 1 if report["failed"] else 0


def _results(out: Path, model: str, name: str, annotations: Path, fps: float) -> Path:
    """Where replies are kept: by all that makes other replies, as a run must not go on with those
    of another model, file or rate."""
    folder = re.sub(r"[^\w.-]+", "_", model).strip("._") or "model"
    return out / folder / f"{name}-{annotations.stem}-{fps:g}fps.jsonl"


def _rate(text: str) -> float:
    if not 0 < (value := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no rate: a number above 0 is wanted")
    return value


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is too few: at least 1 is wanted")
    return value


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
