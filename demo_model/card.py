"""Writes measured results into the model card, between its two markers.

python -m onlooker.demo_model.card
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

START, STOP = "<!-- results -->", "<!-- end of results -->"
TARGETS = {
    "now": 0.98,
    "at_time": 0.92,
    "first_seen": 0.92,
    "last_seen": 0.92,
    "ever": 0.92,
    "when": 0.92,
    "check": 0.97,
    "narrate_change": 0.90,
    "narrate_silent": 0.97,
}


def target_of(family: str) -> float | None:
    """The accuracy (0-1) that the project asks of a family of questions; None: none is asked."""
    return next((value for name, value in TARGETS.items() if family.startswith(name)), None)


def results_text(report: dict[str, Any], recall: dict[str, Any] | None) -> str:
    """Markdown: accuracy per family and setting, the yes/no threshold, recall of evidence."""
    settings = list(report["settings"].values())
    families = sorted({family for setting in settings for family in setting["families"]})
    lines = [
        "| family | " + " | ".join(setting["what"] for setting in settings) + " | target |",
        "|---" * (len(settings) + 2) + "|",
    ]
    for family in families:
        cells = [setting["families"].get(family) for setting in settings]
        shown = [f"{c['accuracy']:.3f} ({c['n']})" if c else "-" for c in cells]
        target = target_of(family)
        wanted = "-" if target is None else f"{target:.2f}"
        lines.append(f"| {family} | " + " | ".join(shown) + f" | {wanted} |")
    if "check_threshold" in report:
        lines += [
            "",
            f"Yes/no checks with p(yes) >= {report['check_threshold']:.2f}, a threshold tuned on "
            f"validation worlds: {report['check_accuracy_at_threshold']:.3f} on test worlds.",
        ]
    if recall is not None:
        lines += ["", *_recall_lines(recall)]
    return "\n".join(lines)


def _recall_lines(recall: dict[str, Any]) -> list[str]:
    families = recall["recall"]
    layers = len(next(iter(next(iter(families.values())).values())))
    lines = [
        f"Recall of an evidence clip among {recall['clips']:,} clips (an hour) by mean query and "
        "mean key, keys computed under a window of 8 clips, the question seeing the newest 8:",
        "",
        "| family | best of | " + " | ".join(f"layer {n}" for n in range(layers)) + " |",
        "|---" * (layers + 2) + "|",
    ]
    for family, rows in families.items():
        for name, values in rows.items():
            cells = " | ".join(f"{value:.2f}" for value in values)
            lines.append(f"| {family} | {name.lstrip('@')} | {cells} |")
    return lines


def fill(card: str, results: str) -> str:
    """The card with new results between its markers."""
    head, _, rest = card.partition(START)
    _, _, tail = rest.partition(STOP)
    return f"{head}{START}\n{results}\n{STOP}{tail}"


def main() -> None:
    root = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    results = Path("benchmarks/results")
    parser.add_argument("--report", type=Path, default=results / "demo_model.json")
    parser.add_argument("--recall", type=Path, default=results / "demo_model_recall.json")
    parser.add_argument("--card", type=Path, default=root / "MODEL_CARD.md")
    options = parser.parse_args()
    report = json.loads(options.report.read_text())
    recall = json.loads(options.recall.read_text()) if options.recall.exists() else None
    options.card.write_text(fill(options.card.read_text(), results_text(report, recall)))


if __name__ == "__main__":
    main()
