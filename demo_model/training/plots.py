"""Loss and accuracy curves of a training run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VISION_CURVES = ("color", "shape", "digit", "moving", "cell")
LANGUAGE_GROUPS = {
    "now": ("now_color", "now_shape", "now_place", "now_count", "now_digit", "now_moving"),
    "at a time": ("at_time_color", "at_time_shape", "at_time_place", "at_time_digit"),
    "first and last": ("first_seen", "last_seen"),
    "when": ("when_appeared", "when_changed"),
    "ever": ("ever",),
    "check": ("check",),
    "narration": ("narrate",),
}


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a training log; an empty list when there is no log."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def smooth(values: list[float], span: int = 12) -> list[float]:
    """A running mean over the last `span` values."""
    return [
        sum(values[max(0, i - span + 1) : i + 1]) / min(i + 1, span) for i in range(len(values))
    ]


def plot_run(folder: Path, out: Path | None = None) -> Path:
    """Draw both stages into one picture: `training.png` in the run's folder, or `out`.

    A run that went on from a model folder has no first stage to show.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    out = folder / "training.png" if out is None else out
    vision = read_log(folder / "vision.jsonl")
    panels = 2 if vision else 1
    figure, grid = pyplot.subplots(1, panels, figsize=(5.5 * panels, 4), squeeze=False)
    left, right = grid[0][0], grid[0][-1]
    if vision:
        left.set_title("vision tower: single clips")
    for name in VISION_CURVES:
        rows = [row for row in vision if name in row]
        if rows:
            left.plot([row["step"] for row in rows], [row[name] for row in rows], label=name)
    language = read_log(folder / "language.jsonl")
    for name, families in LANGUAGE_GROUPS.items():
        steps, values = [], []
        for row in language:
            found = [row[family] for family in families if family in row]
            if found:
                steps.append(row["step"])
                values.append(sum(found) / len(found))
        right.plot(steps, smooth(values), label=name)
    levels = {row["level"]: row["step"] for row in reversed(language)}
    for clips, step in levels.items():
        right.axvline(step, color="0.85", zorder=0)
        right.text(step, 0.01, str(clips), fontsize=7, color="0.4")
    right.set_title("language model: growing contexts (clips at the bottom)")
    for axes in grid[0]:
        axes.set_xlabel("step")
        axes.set_ylabel("share of right answers")
        axes.set_ylim(0, 1.02)
        axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(out, dpi=80)
    pyplot.close(figure)
    return out
