"""Evaluation of a model folder through vLLM, on held-out worlds and frames that went through JPEG.

    python -m onlooker.demo_model.evaluate --contexts 80

Prints a table, writes `benchmarks/results/demo_model.json` and a plot beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onlooker.demo_model.check import check_folder, check_frame, check_question
from onlooker.demo_model.dataset import ASK_SUFFIX, TURN_SUFFIX, sink_text
from onlooker.demo_model.examples import (
    SETTINGS,
    TEST_SEED,
    VALIDATION_SEED,
    ExampleItem,
    Filmed,
    all_families,
    draw_context,
    draw_items,
    in_conversation,
    reported_family,
)
from onlooker.demo_model.questions import DrawnQuestion, correct
from onlooker.demo_model.tokenizer import VIDEO_PAD

CLOCK = 1000.0
"""Frame numbers a second in the video metadata, so that stamps are exact to a millisecond."""
AGES = ((0, 0.5), (1, 3.5), (4, 15.5), (16, 31.5), (32, 63.5), (64, math.inf))
"""The groups of evidence ages by which results are split: (first second, upper bound)."""


@dataclass(frozen=True)
class Reply:
    """What the model said, and the probability of "yes" against "no" for its first token."""

    text: str
    yes: float | None


def video_item(filmed: Filmed) -> tuple[Any, dict[str, Any]]:
    """One video item of vLLM: frames, and the metadata from which the stamp is computed."""
    times = filmed.clip.frame_times
    first, second = times[0], times[-1]
    shift = filmed.clip.t_s - (first + second) / 2
    check_frame(*filmed.pixels.shape[2:0:-1])
    numbers = [round((t + shift) * CLOCK) for t in (first, second)]
    return filmed.pixels, {
        "fps": CLOCK,
        "frames_indices": numbers,
        "total_num_frames": 2,
        "duration": second - first,
        "video_backend": "onlooker",
        "do_sample_frames": False,
    }


def prompt_text(question: DrawnQuestion, clips: int) -> str:
    """The whole prompt of a question about `clips` clips."""
    parts = [sink_text(), VIDEO_PAD * clips]
    for earlier, answer in question.history:
        parts += [earlier, ASK_SUFFIX, answer, TURN_SUFFIX]
    return "".join([*parts, question.text, ASK_SUFFIX])


class ModelWatcher:
    """A model folder behind vLLM's offline interface."""

    def __init__(self, folder: Path, dtype: str = "float32", max_clips: int = 64) -> None:
        for name, value in (
            ("HF_HUB_OFFLINE", "1"),
            ("VLLM_NO_USAGE_STATS", "1"),
            ("DO_NOT_TRACK", "1"),
            ("VLLM_ENABLE_V1_MULTIPROCESSING", "0"),
            ("VLLM_CPU_KVCACHE_SPACE", "1"),
            ("VLLM_LOGGING_LEVEL", "ERROR"),
        ):
            os.environ.setdefault(name, value)
        check_folder(folder)
        from vllm import LLM

        self.llm = LLM(
            model=str(folder),
            dtype=dtype,
            enforce_eager=True,
            max_model_len=2048,
            max_num_seqs=32,
            max_num_batched_tokens=2048,
            block_size=32,
            limit_mm_per_prompt={"video": max_clips, "image": 1},
            mm_processor_cache_gb=1,
            enable_prefix_caching=True,
            disable_log_stats=True,
            seed=0,
        )
        tokenizer = self.llm.get_tokenizer()
        self.yes, self.no = (tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))

    def answer(self, clips: Sequence[Filmed], questions: Sequence[DrawnQuestion]) -> list[Reply]:
        """Greedy answers to questions about the same clips."""
        from vllm import SamplingParams

        for question in questions:
            check_question(question.text)
        videos = [video_item(filmed) for filmed in clips]
        prompts = [
            {"prompt": prompt_text(question, len(clips)), "multi_modal_data": {"video": videos}}
            for question in questions
        ]
        sampling = SamplingParams(
            temperature=0.0, max_tokens=40, logprobs=8, skip_special_tokens=False
        )
        outputs = self.llm.generate(prompts, sampling, use_tqdm=False)
        return [self._reply(output.outputs[0]) for output in outputs]

    def _reply(self, output: Any) -> Reply:
        first = output.logprobs[0] if output.logprobs else {}
        chances = [math.exp(first[t].logprob) if t in first else 0.0 for t in (self.yes, self.no)]
        total = sum(chances)
        return Reply(output.text, chances[0] / total if total > 0 else None)


@dataclass
class Results:
    """The questions and replies of one setting, and figures about them."""

    items: list[tuple[ExampleItem, Reply]]

    def table(self) -> dict[str, dict[str, float]]:
        """Accuracy and count per reported family."""
        marks: dict[str, list[bool]] = defaultdict(list)
        for item, reply in self.items:
            marks[reported_family(item.question)].append(correct(item.question, reply.text))
        return {k: {"accuracy": sum(v) / len(v), "n": len(v)} for k, v in sorted(marks.items())}

    def by_age(self) -> dict[str, dict[str, dict[str, float]]]:
        """Accuracy and count per family group and age of the evidence in seconds."""
        marks: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
        for item, reply in self.items:
            if item.age_s is None:
                continue
            first = next(low for low, high in AGES if item.age_s < high)
            marks[reported_family(item.question)][f"{first}+"].append(
                correct(item.question, reply.text)
            )
        return {
            family: {age: {"accuracy": sum(v) / len(v), "n": len(v)} for age, v in ages.items()}
            for family, ages in sorted(marks.items())
        }

    def checks(self) -> tuple[list[float], list[bool]]:
        """The probability of yes, and the truth, of every yes/no check on the newest clip."""
        kept = [
            (r.yes, i.question.answer == "yes")
            for i, r in self.items
            if i.question.family == "check" and r.yes is not None
        ]
        return [float(yes) for yes, _ in kept], [truth for _, truth in kept]

    def mistakes(self, count: int) -> list[str]:
        """Up to `count` wrong answers, for people to read."""
        wrong = [
            f"{i.question.family}: {i.question.text} -> {r.text!r}, not {i.question.answer!r}"
            for i, r in self.items
            if not correct(i.question, r.text)
        ]
        return wrong[:count]


def evaluate_setting(
    watcher: ModelWatcher,
    name: str,
    seed: int,
    contexts: int,
    repeat: int,
    families: Sequence[str],
    turns: int = 0,
) -> Results:
    """`repeat` questions of each family about each of `contexts` held-out worlds, each question
    after so many earlier turns."""
    from tqdm import tqdm

    rng = np.random.default_rng((seed, len(name)))
    found: list[tuple[ExampleItem, Reply]] = []
    for number in tqdm(range(contexts), desc=name, leave=False):
        _, clips, view = draw_context(SETTINGS[name], seed + number, rng)
        items = list(draw_items(view, number, rng, list(families) * repeat))
        if turns:
            items = in_conversation(items, view, np.random.default_rng((seed, number)), turns)
        replies = watcher.answer(clips, [item.question for item in items])
        found += zip(items, replies, strict=True)
    return Results(found)


def best_threshold(chances: Sequence[float], truths: Sequence[bool]) -> float:
    """The probability of yes from which "yes" is said, so that most checks are right.

    It is the middle of the best range. Thresholds as good as the best to within 0.005 count as
    well: among some hundred checks a single odd one would otherwise move the threshold to its own
    probability.
    """
    candidates = np.linspace(0.02, 0.98, 97)
    truth = np.array(truths)
    rights = [float(((np.array(chances) >= c) == truth).mean()) for c in candidates]
    best = [c for c, right in zip(candidates, rights, strict=True) if right >= max(rights) - 0.005]
    return float(np.median(best))


def evaluate(
    folder: Path,
    contexts: int,
    repeat: int,
    settings: Sequence[str],
    families: Sequence[str],
    turns: int = 0,
) -> dict[str, Any]:
    """Everything that is reported, as one JSON object."""
    sizes = check_folder(folder)
    started = time.time()
    watcher = ModelWatcher(folder)
    report: dict[str, Any] = {"parameters": sizes.parameters, "bytes": sizes.folder_bytes}
    report["turns"] = turns
    report["settings"] = {}
    mistakes: list[str] = []
    for name in settings:
        results = evaluate_setting(watcher, name, TEST_SEED, contexts, repeat, families, turns)
        report["settings"][name] = {
            "what": SETTINGS[name].name,
            "families": results.table(),
            "by_age_s": results.by_age(),
        }
        mistakes += results.mistakes(12)
        if name == "full" and "check" in families:
            tuned = evaluate_setting(
                watcher, name, VALIDATION_SEED, max(contexts // 3, 2), 4 * repeat, ["check"]
            )
            threshold = best_threshold(*tuned.checks())
            chances, truths = results.checks()
            right = np.mean((np.array(chances) >= threshold) == np.array(truths))
            report["check_threshold"] = threshold
            report["check_accuracy_at_threshold"] = float(right)
    report["families"] = report["settings"][settings[0]]["families"]
    report["mistakes"] = mistakes
    report["seconds"] = round(time.time() - started, 1)
    report["seeds"] = {"test": TEST_SEED, "validation": VALIDATION_SEED}
    return report


def print_table(report: dict[str, Any]) -> None:
    """Print the accuracies: one row a family, one column a setting."""
    settings = report["settings"]
    print(f"{'family':18s}" + "".join(f"{s['what']:>36s}" for s in settings.values()))
    families = sorted({f for s in settings.values() for f in s["families"]})
    for family in families:
        cells = [s["families"].get(family) for s in settings.values()]
        texts = [f"{c['accuracy']:.3f} (n={c['n']})" if c else "-" for c in cells]
        print(f"{family:18s}" + "".join(f"{text:>36s}" for text in texts))
    if "check_threshold" in report:
        print(
            f"check with p(yes) >= {report['check_threshold']:.2f} (tuned on validation seeds): "
            f"{report['check_accuracy_at_threshold']:.3f}"
        )


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw the accuracy per family and setting as bars."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    settings = report["settings"]
    families = sorted({f for s in settings.values() for f in s["families"]})
    figure, axes = pyplot.subplots(figsize=(9, 0.32 * len(families) + 1.5))
    height = 0.8 / len(settings)
    for number, setting in enumerate(settings.values()):
        at = np.arange(len(families)) + (number - (len(settings) - 1) / 2) * height
        values = [setting["families"].get(f, {}).get("accuracy", 0.0) for f in families]
        axes.barh(at, values, height, label=setting["what"])
    axes.set_yticks(np.arange(len(families)), families)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of right answers, held-out worlds, through vLLM")
    axes.legend(loc="lower left", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def main() -> None:
    root = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=root / "weights")
    parser.add_argument("--contexts", type=int, default=80, help="held-out worlds per setting")
    parser.add_argument("--repeat", type=int, default=2, help="questions per family and world")
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--families", nargs="+", default=all_families(), choices=all_families())
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/demo_model.json"), help="JSON file"
    )
    parser.add_argument("--turns", type=int, default=0, help="earlier turns before each question")
    options = parser.parse_args()
    report = evaluate(
        options.model,
        options.contexts,
        options.repeat,
        options.settings,
        options.families,
        options.turns,
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    plot(report, options.out.with_suffix(".png"))
    print_table(report)
    print(f"written to {options.out} ({report['seconds']:.0f} s)")


if __name__ == "__main__":
    main()
