"""Fewer tokens: what each method of token drop saves of a clip, and what it costs in answers.

Two things are measured, each method beside `off` in the same engine, clip by clip in turns.

Costs, with the demo model's weights at 384x288 pixels (192 vision tokens a clip; it was trained at
9, so nothing is asked): a webcam's scene (one thing moves in a still room), a busy one (half a
dozen move fast) and a crowded one (a dozen), drawn, with noise and JPEG. `tokens_ratio` is the
share of vision tokens that were computed, `encoder_ratio` of those that the vision tower encoded,
`kv_bytes_ratio` the bytes that are remembered beside those of `off`, `time_ratio` the median time
of a clip beside that of `off`. What stands by itself in a method's figures is the webcam's.

Answers, with the demo model as it is (9 vision tokens a clip): on held-out worlds, `accuracy` of
questions about now, asked while it watches, and about named seconds; `recall` of questions whose
evidence has to be found by content. `computed_ratio` is the share of these clips' tokens, text
included, that was computed. Methods that lose stay in the table.

Methods of compaction stand in the same tables: they compute all, and are about what stays of a clip
that has left the window; their `kv_bytes_ratio` is that of such a clip. With 192 places a quarter
of the tokens stays. Of the 15 tokens of the demo model's clip six are text: its text and a third
of its picture stay, or (`-text`) three tokens of the picture and no text. So do codecs: clips as
they are stored, packed; a clip then takes the time of packing, too.

Each part is kept as soon as it is measured; `--resume` takes those of an earlier run with the same
options and commit.

Not shown: a real model, real video, a GPU. `+kept` encodes only the places that are computed.
"""

import argparse
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from onlooker.benchmarks.fewer_tokens import codecs
from onlooker.benchmarks.fewer_tokens.answers import Worlds, answers
from onlooker.benchmarks.fewer_tokens.engines import HEIGHT, WIDTH, Encoder, Rows
from onlooker.benchmarks.fewer_tokens.savings import COSTS, SCENES, costs
from onlooker.benchmarks.parts import Parts
from onlooker.benchmarks.report import rows
from onlooker.engine.memory.compaction import COMPACTIONS
from onlooker.engine.memory.drops import DROPS

ALL: tuple[Encoder, ...] = ("all",)
_ENCODERS: dict[str, tuple[Encoder, ...]] = {
    "filled": ("all", "kept"),
    "shown_again": ("all", "kept"),
}
"""What of a clip is encoded in methods that are measured with more than `ALL`."""

METHODS = (*DROPS, *COMPACTIONS, *codecs.LOSSY)

_TOLD = ("model", "seed", "clips", "worlds", "world_clips", "questions", "methods")
"""The options that figures depend on."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=int, default=32, help="of each scene [32]")
    parser.add_argument("--worlds", type=int, default=2, help="held-out streams [2]")
    parser.add_argument("--world-clips", type=int, default=120, help="length of each [120]")
    parser.add_argument("--questions", type=int, default=125, help="about each at its end [125]")
    parser.add_argument(
        "--part", choices=("costs", "answers"), default=None, help="one part only [both]"
    )
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=[*METHODS], help="beside off [all]"
    )
    parser.add_argument(
        "--resume", action="store_true", help="parts of an earlier run are taken as they are"
    )


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Costs and answers of every method."""
    told = {name: getattr(options, name) for name in _TOLD}
    parts = Parts(options.out / "tokens", seed=options.seed, options=told, resumes=options.resume)
    found: Rows = defaultdict(dict)
    for name, part in _parts(options).items():
        if options.part is None or name.startswith(options.part):
            merge(found, await parts.get(name, part))
    for row in found.values():
        for cost in COSTS:
            if cost in row.get(SCENES[0], {}):
                row[cost] = row[SCENES[0]][cost]
    return {"size": f"{WIDTH}x{HEIGHT}", **told, "methods": dict(found)}


def _parts(options: argparse.Namespace) -> dict[str, Callable[[], Awaitable[Rows]]]:
    """What is measured, by the name of the part, in order."""
    model, seed = options.model, options.seed
    worlds = Worlds(seed, options.worlds, options.world_clips, options.questions)
    packers = [name for name in codecs.LOSSY if name in options.methods]
    compactions = [name for name in COMPACTIONS if name in options.methods]
    found: dict[str, Callable[[], Awaitable[Rows]]] = {}
    for encoder in ("all", "kept"):
        drops = [
            name
            for name in DROPS
            if name in options.methods and encoder in _ENCODERS.get(name, ALL)
        ]
        # What is kept of a clip does not go by what the vision tower encodes.
        costly = [*drops, *compactions] if encoder == "all" else drops
        asked = [*drops, *compactions]
        if costly:
            found[f"costs_{encoder}"] = partial(
                costs, model, seed, options.clips, ["off", *costly], encoder
            )
        if asked:
            found[f"answers_{encoder}"] = partial(answers, model, worlds, ["off", *asked], encoder)
    if packers:
        found["costs_codecs"] = partial(codecs.costs, model, seed, packers)
        found["answers_codecs"] = partial(codecs.answers, model, worlds, packers)
    return found


def merge(found: Rows, more: Rows) -> None:
    """Add the figures of a part. `off` is measured in several: what came first counts."""
    for name, figures in more.items():
        for key, value in figures.items():
            found[name].setdefault(key, value)


def table(figures: dict[str, Any]) -> str:
    """The figures as tables in plain text: one for each scene, and one of the answers."""
    methods: dict[str, dict[str, Any]] = figures["methods"]
    parts = []
    for scene in SCENES:
        lines = [
            (name, *(row[scene][cost] for cost in (*COSTS, "clip_ms")))
            for name, row in methods.items()
            if scene in row
        ]
        if lines:
            parts.append(rows((scene, *COSTS, "clip ms"), lines))
    answers = ("computed_ratio", "accuracy", "now", "at_time", "recall", "demo_kv_bytes_ratio")
    lines = [
        (name, *(row.get(one) for one in answers))
        for name, row in methods.items()
        if "accuracy" in row
    ]
    if lines:
        parts.append(rows(("answers", *answers), lines))
    return "\n\n".join(parts)
