"""vLLM's plug-in entry point: runs in every process that vLLM starts."""

import multiprocessing
import os
from pathlib import Path

ARCHITECTURES = {
    "OnlookerQwen3VL": "onlooker.engine.vllm_adapter.segments.model:GuardedQwen3VL",
}
"""Model classes by the architecture name under which segment mode asks for them."""

ENV_STAGES = "ONLOOKER_BENCHMARK_STAGES"
"""Names the folder in which vLLM's processes report where their time goes; benchmarks set it."""


def register() -> None:
    """Tell vLLM about our model classes; imports none of them yet."""
    from vllm import ModelRegistry

    for name, path in ARCHITECTURES.items():
        ModelRegistry.register_model(name, path)
    folder = os.environ.get(ENV_STAGES)
    if folder and multiprocessing.parent_process() is not None:
        from onlooker.engine.vllm_adapter.segments.stopwatch import report_stages

        report_stages(Path(folder))
