"""Can a question find its evidence? Recall of the evidence clip among an hour of clips.

    python -m onlooker.demo_model.recall

Scores are mean query against mean key before rotation, as retrieval in the server ranks segments.
Keys are computed under a sliding window, and the question sees the newest clips only.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration

from onlooker.demo_model.check import check_folder
from onlooker.demo_model.dataset import Layout
from onlooker.demo_model.examples import TEST_SEED
from onlooker.demo_model.phrases import SYSTEM_PROMPTS
from onlooker.demo_model.questions import DrawnQuestion, View, ask_view
from onlooker.demo_model.training.contexts import Branch, Context
from onlooker.demo_model.training.language import forward, mean_scores
from onlooker.demo_model.training.packing import pack
from onlooker.demo_model.training.pool import DrawnTimeline, Pool, write_pool
from onlooker.demo_model.world import World

FAMILIES = ("at_time_color", "at_time_digit", "ever", "when_appeared", "when_changed")
RANKS = (8, 16, 32)
WINDOW = 8
RUN = 64


def hour(seed: int, clips: int) -> DrawnTimeline:
    """A timeline of `clips` clips, one a second, from an arbitrary second of the world on."""
    firsts = [120.3 + i for i in range(clips)]
    seconds = [t + 0.5 for t in firsts]
    stamps = [t + 0.25 for t in firsts]
    return DrawnTimeline(seed, tuple(stamps), tuple(firsts), tuple(seconds), 0)


def context_of(timeline: DrawnTimeline, rows: list[int], branches: list[Branch]) -> Context:
    every = np.arange(len(rows))
    return Context(timeline, np.array(rows), WINDOW, every, 0, branches)


@torch.no_grad()
def mean_keys(
    model: Qwen3VLForConditionalGeneration, layout: Layout, pool: Pool, layers: tuple[int, ...]
) -> list[Tensor]:
    """The mean keys of all clips: per layer float[clips, key heads, width].

    They are computed in runs; each run starts with a window of clips of the run before.
    """
    timeline = pool.timelines[0]
    parts: list[list[Tensor]] = [[] for _ in layers]
    nothing = Branch(1, DrawnQuestion("none", "What do you see?", "nothing"))
    for start in range(0, len(timeline), RUN):
        first = max(0, start - WINDOW)
        rows = list(range(first, min(start + RUN, len(timeline))))
        packed = pack(layout, [context_of(timeline, rows, [nothing])], pool, SYSTEM_PROMPTS[0])
        seen = forward(model.model.language_model, packed, layout.video, layers)
        for part, (_, keys) in zip(parts, seen.summaries, strict=True):
            part.append(keys[start - first :])
    return [torch.cat(part) for part in parts]


@torch.no_grad()
def ranks(
    model: Qwen3VLForConditionalGeneration, layout: Layout, pool: Pool, each: int, seed: int
) -> dict[str, list[list[int]]]:
    """How many clips outrank the best evidence clip: by family, per question and layer."""
    layers = tuple(range(model.config.text_config.num_hidden_layers))
    keys = mean_keys(model, layout, pool, layers)
    timeline = pool.timelines[0]
    view = View(World(timeline.seed), timeline.clips())
    rng = np.random.default_rng(seed)
    recent = list(range(len(timeline) - WINDOW, len(timeline)))
    found: dict[str, list[list[int]]] = defaultdict(list)
    for family in FAMILIES:
        for _ in range(each):
            question = ask_view(view, rng, family)
            if question is None or not question.evidence or question.answer == "no":
                continue
            context = context_of(timeline, recent, [Branch(WINDOW, question)])
            packed = pack(layout, [context], pool, SYSTEM_PROMPTS[0])
            packed.evidence = packed.evidence[:, :0]
            seen = forward(model.model.language_model, packed, layout.video, layers)
            above = []
            for (queries, _), layer_keys in zip(seen.summaries, keys, strict=True):
                scores = mean_scores(queries, layer_keys)[0]
                best = scores[list(question.evidence)].max()
                above.append(int((scores > best).sum()))
            found[family].append(above)
    return found


def recall_table(found: dict[str, list[list[int]]]) -> dict[str, dict[str, list[float]]]:
    """The share of questions whose evidence is found: by family and "@k", per layer."""
    return {
        family: {
            f"@{k}": [
                float(np.mean([row[layer] < k for row in rows])) for layer in range(len(rows[0]))
            ]
            for k in RANKS
        }
        for family, rows in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=Path(__file__).resolve().parent / "weights")
    parser.add_argument("--clips", type=int, default=3_600)
    parser.add_argument("--each", type=int, default=60, help="questions per family")
    parser.add_argument("--run", type=Path, default=Path("runs/recall"))
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/demo_model_recall.json")
    )
    options = parser.parse_args()
    check_folder(options.model)
    model = Qwen3VLForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    rng = np.random.default_rng(TEST_SEED)
    write_pool(model.model.visual, options.run, [hour(TEST_SEED + 77, options.clips)], rng)
    pool = Pool(options.run, model.config.text_config.hidden_size)
    layout = Layout(tokenizer.backend_tokenizer)
    table = recall_table(ranks(model, layout, pool, options.each, TEST_SEED))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"clips": options.clips, "recall": table}, indent=2) + "\n")
    for family, rows in table.items():
        for name, values in rows.items():
            print(f"{family:16s} {name:4s} per layer: " + " ".join(f"{v:.2f}" for v in values))


if __name__ == "__main__":
    main()
