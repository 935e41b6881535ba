"""Trains the demo model, from nothing or from a folder, and writes its folder; a run can resume.

    python -m onlooker.demo_model.train --run runs/demo --out demo_model/weights

Stage 1 teaches the vision tower to see single clips; then its tokens for a pool of timelines are
cached; stage 2 teaches the language model on those. With a CUDA device everything runs there.

    python -m onlooker.demo_model.train --start demo_model/weights --language-minutes 60

keeps the tower of a folder and goes on with its language model, with new optimisers and at once
with the longest contexts.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import Qwen3VLForConditionalGeneration

from onlooker.demo_model.dataset import Layout
from onlooker.demo_model.model import build_config, build_model, scale_tokens, write_folder
from onlooker.demo_model.phrases import vocabulary
from onlooker.demo_model.tokenizer import build_tokenizer
from onlooker.demo_model.training.clips import MAX_TRAIN_SEED, ClipRing, start_workers, wait_for
from onlooker.demo_model.training.learner import SIZES, LanguagePlan, LanguageTrainer
from onlooker.demo_model.training.peers import Peers, joined_by, processes_for
from onlooker.demo_model.training.plots import plot_run
from onlooker.demo_model.training.pool import Pool, build_pool
from onlooker.demo_model.training.vision import VisionPlan, VisionTrainer, encode, patches_of

RING_CLIPS = 24_000
POOL_TIMELINES = 290
START_RATE = 3e-4
"""The learning rate of a run that goes on from a folder. At twice as much, what the weights knew
fell by four points within 220 steps, while they learnt new lessons."""


@dataclass(frozen=True)
class Options:
    """What a training run is asked to do. Minutes are wall-clock time per stage."""

    run: Path
    out: Path
    vision_minutes: float = 20.0
    language_minutes: float = 150.0
    timelines: int = POOL_TIMELINES
    """The number of worlds in the pool."""
    workers: int = 1
    """The number of processes that draw clips."""
    seed: int = 0
    resume: bool = True
    export_only: bool = False
    processes: int = 1
    """The number of processes that learn the language model together."""
    start: Path | None = None
    """A model folder to go on from. Its tower stays as it is, so there is no stage 1."""


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train_vision(model: Qwen3VLForConditionalGeneration, options: Options) -> None:
    """Run stage 1, unless this run has its result. The tower's tokens get the right scale."""
    done = options.run / "tower.pt"
    tower = model.model.visual
    if options.resume and done.exists():
        tower.load_state_dict(torch.load(done, weights_only=True, map_location=device()))
        return
    if options.start is not None:  # its language model was taught on this tower's tokens
        torch.save(tower.state_dict(), done)
        return
    folder = options.run / "clips"
    ring, workers = start_workers(folder, RING_CLIPS, options.workers, options.seed)
    try:
        wait_for(ring, 1_500)
        plan = VisionPlan(seconds=options.vision_minutes * 60.0)
        trainer = VisionTrainer(tower.train(), plan, options.run)
        saved = options.run / "vision.pt"
        if options.resume and saved.exists():
            trainer.load(torch.load(saved, weights_only=True, map_location=device()))
        trainer.run(ring, options.seed)
    finally:
        for worker in workers:
            worker.terminate()
    settle_scale(model, ring)
    torch.save(tower.state_dict(), done)


@torch.no_grad()
def settle_scale(model: Qwen3VLForConditionalGeneration, ring: ClipRing) -> None:
    """Scale the tower's tokens to `TOKEN_SCALE`, from which language training starts."""
    tower = model.model.visual.eval()
    pixels, _ = ring.batch(256, np.random.default_rng(0))
    merged, deep = encode(tower, patches_of(torch.from_numpy(pixels).to(device())))
    scale_tokens(tower.merger, merged)
    scale_tokens(tower.deepstack_merger_list[0], deep[0])


def load_model(tokenizer: Tokenizer, options: Options) -> Qwen3VLForConditionalGeneration:
    """A new model, or the one of the folder to start from, in fp32.

    Raises:
        ValueError: The folder's model does not fit this tokenizer.
    """
    config = build_config(tokenizer)
    model = build_model(config, options.seed)
    if options.start is not None:
        found = Qwen3VLForConditionalGeneration.from_pretrained(options.start, dtype=torch.float32)
        shapes = [c.text_config.vocab_size for c in (found.config, config)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{options.start} has {shapes[0]} words, this code {shapes[1]}")
        model.load_state_dict(found.state_dict())
    return model


def language_trainer(
    options: Options, model: Qwen3VLForConditionalGeneration | None = None
) -> LanguageTrainer:
    """The trainer of stage 2 in the state that the run's folder holds; the pool must be there.

    Without a `model` it makes one of the same shape.
    """
    tokenizer = build_tokenizer(vocabulary())
    model = load_model(tokenizer, options).to(device()) if model is None else model
    pool = Pool(options.run / "pool", model.config.text_config.hidden_size)
    plan = LanguagePlan(seconds=options.language_minutes * 60.0)
    if options.start is not None:  # it knows what is learnt first, and short contexts
        plan = replace(plan, focus=(), first_level=len(SIZES) - 1, rate=START_RATE)
    trainer = LanguageTrainer(model, Layout(tokenizer), pool, plan, options.run)
    saved = options.run / "language.pt"
    if options.resume and saved.exists():
        trainer.load(torch.load(saved, weights_only=True, map_location=device()))
    return trainer


def learn_beside(peers: Peers, options: Options) -> None:
    """Run stage 2 in one of the processes beside the first."""
    language_trainer(options).run(options.seed, peers)


def train_language(model: Qwen3VLForConditionalGeneration, options: Options) -> None:
    """Run stage 2; cache the pool first, unless this run has one."""
    folder = options.run / "pool"
    if not (options.resume and (folder / "timelines.jsonl").exists()):
        seeds = range(options.seed * options.timelines, (options.seed + 1) * options.timelines)
        if seeds.stop > MAX_TRAIN_SEED:
            raise ValueError(f"seeds up to {seeds.stop} would reach into the held-out worlds")
        build_pool(model.model.visual.eval(), folder, seeds)
    trainer = language_trainer(options, model)
    learnt = sum(p.numel() for p in trainer.parameters())
    with joined_by(learn_beside, options.processes, learnt, (options,)) as peers:
        trainer.run(options.seed, peers)


def export(model: Qwen3VLForConditionalGeneration, tokenizer: Tokenizer, out: Path) -> None:
    """Write the folder that vLLM serves."""
    write_folder(out, model.cpu(), tokenizer)
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({"written": str(out), "parameters": parameters}))


def parse() -> Options:
    root = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="checkpoints and logs")
    parser.add_argument("--out", type=Path, default=root / "weights", help="the model folder")
    parser.add_argument("--vision-minutes", type=float, default=Options.vision_minutes)
    parser.add_argument("--language-minutes", type=float, default=Options.language_minutes)
    parser.add_argument(
        "--timelines", type=int, default=Options.timelines, help="worlds in the pool"
    )
    parser.add_argument(
        "--workers", type=int, default=Options.workers, help="processes that draw clips"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=processes_for(device()),
        help="processes that learn the language model together (default: %(default)s here)",
    )
    parser.add_argument("--seed", type=int, default=Options.seed)
    parser.add_argument("--start", type=Path, help="a model folder to go on from")
    parser.add_argument("--fresh", action="store_true", help="ignore what an earlier run left")
    parser.add_argument("--export-only", action="store_true", help="write the last checkpoint")
    given = vars(parser.parse_args())
    return Options(resume=not given.pop("fresh"), **given)


def main() -> None:
    options = parse()
    options.run.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(vocabulary())
    model = load_model(tokenizer, options).to(device())
    if options.export_only:
        tower = torch.load(options.run / "tower.pt", weights_only=True, map_location=device())
        model.model.visual.load_state_dict(tower)
        saved = torch.load(options.run / "language.pt", weights_only=True, map_location=device())
        model.model.language_model.load_state_dict(saved["text"])
    else:
        train_vision(model, options)
        train_language(model, options)
        plot_run(options.run)
    export(model, tokenizer, options.out)


if __name__ == "__main__":
    main()
