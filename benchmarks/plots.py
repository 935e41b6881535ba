"""Plots of benchmarks, as SVG files for the documentation."""

import math
from pathlib import Path
from typing import Any

DOCS = Path("docs/plots")


Lines = dict[str, list[tuple[float, dict[str, Any]]]]
"""For each side, its figures with the number of streams that they belong to."""

PANELS = (
    ("goodput", "promises kept", ("goodput_per_s", "answers_in_time", "frames_in_time")),
    ("latency", "latency", ("ttft_p50_s", "ttft_p99_s", "lag_p50_s", "lag_p99_s")),
)


def plot_simulator(loads: dict[str, Any]) -> list[Path]:
    """Plot goodput, TTFT and lag over the number of streams, a line for each policy.

    Returns the files; none where matplotlib is not installed.
    """
    lines: Lines = {
        policy: [(float(count), found[policy]) for count, found in loads.items()]
        for policy in next(iter(loads.values()))
    }
    return _plotted(lines, DOCS, "simulator", "Simulated, GPU-like cost table")


def plot_load(trials: dict[str, list[dict[str, Any]]], folder: Path) -> list[Path]:
    """Plot trials on a real engine likewise, a line for each side.

    Of several trials with as many streams the last is shown. Returns the files; none where
    matplotlib is not installed.
    """
    lines: Lines = {
        side: sorted({float(trial["streams"]): trial for trial in found}.items())
        for side, found in trials.items()
    }
    return _plotted(lines, folder, "load", "Measured")


def _plotted(lines: Lines, folder: Path, prefix: str, title: str) -> list[Path]:
    try:
        import matplotlib as mpl
    except ImportError:
        return []
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "onlooker"  # the same figures give the same file
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, what, panels in PANELS:
        figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.4))
        for axis, key in zip(axes, panels, strict=True):
            for label, points in lines.items():
                values = [math.nan if f[key] is None else f[key] for _, f in points]
                axis.plot([count for count, _ in points], values, marker=".", label=label)
            axis.set_xlabel("streams")
            axis.set_title(key.replace("_", " "))
            if name == "latency":
                axis.set_yscale("log")
        axes[0].legend(fontsize="small")
        figure.suptitle(f"{title}: {what}")
        figure.tight_layout()
        path = folder / f"{prefix}_{name}.svg"
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
        paths.append(path)
    return paths
