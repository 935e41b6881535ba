"""Plots of benchmarks, as SVG files for the documentation."""

import math
from pathlib import Path
from typing import Any

DOCS = Path("docs/plots")


def plot_simulator(loads: dict[str, Any]) -> list[Path]:
    """Goodput, TTFT and lag over the number of streams, a line for each policy.

    Returns the files; none where matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        return []
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "onlooker"  # the same figures give the same file
    import matplotlib.pyplot as plt

    DOCS.mkdir(parents=True, exist_ok=True)
    counts = [int(count) for count in loads]
    paths = []
    for name, title, panels in (
        ("goodput", "promises kept", ("goodput_per_s", "answers_in_time", "frames_in_time")),
        ("latency", "latency", ("ttft_p50_s", "ttft_p99_s", "lag_p50_s", "lag_p99_s")),
    ):
        figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.4))
        for axis, key in zip(axes, panels, strict=True):
            for policy in next(iter(loads.values())):
                found = (loads[str(count)][policy][key] for count in counts)
                values = [math.nan if value is None else value for value in found]
                axis.plot(counts, values, marker=".", label=policy)
            axis.set_xlabel("streams")
            axis.set_title(key.replace("_", " "))
            if name == "latency":
                axis.set_yscale("log")
        axes[0].legend(fontsize="small")
        figure.suptitle(f"Simulated, GPU-like cost table: {title}")
        figure.tight_layout()
        path = DOCS / f"simulator_{name}.svg"
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
        paths.append(path)
    return paths
