"""`Stopwatch`: CPU time by stage of the engine, for benchmarks. Off unless one asks for it.

It wraps methods of the running objects, in the gateway's process and in the engine core's; time
spent in a stage that another stage calls counts for the inner one only. CPU time of the calling
thread is taken, which a busy machine does not blur: on a CPU with one thread for the model it is
all of the work; with more threads, or on a GPU, the model's own stages show only their launching.
"""

import functools
import json
import multiprocessing
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Place = tuple[Any, str, str]
"""An object or class, the name of its method, and the stage that the method's time counts for."""

SPIN = "spin"
"""The stage of waiting for another process by looking again and again, which is no work."""

REPORT_INTERVAL_S = 0.1

ENV_STAGES = "ONLOOKER_BENCHMARK_STAGES"
"""The environment variable that names the folder where vLLM's processes report their stages."""


def register() -> None:
    """vLLM's plug-in entry point, run in every process that vLLM starts. It measures only if a
    benchmark has named a folder."""
    folder = os.environ.get(ENV_STAGES)
    if folder and multiprocessing.parent_process() is not None:
        report_stages(Path(folder))


class Stopwatch:
    """Counts CPU seconds by stage, without those of inner stages, between takes. Thread-safe."""

    def __init__(self, read_s: Callable[[], float] = time.thread_time) -> None:
        self._read_s = read_s
        self._local = threading.local()
        self._lock = threading.Lock()
        self._spent_s: dict[str, float] = defaultdict(float)
        self._wrapped: list[tuple[Any, str, Any]] = []

    def watch(self, places: Iterable[Place]) -> None:
        """Wrap methods; what an object does not have (another version of vLLM) is left out."""
        for owner, name, stage in places:
            method = getattr(owner, name, None)
            if method is not None:
                self._wrapped.append((owner, name, owner.__dict__.get(name)))
                setattr(owner, name, self._timed(method, stage))

    def unwatch(self) -> None:
        """Put every method back."""
        for owner, name, method in reversed(self._wrapped):
            if method is None:
                delattr(owner, name)
            else:
                setattr(owner, name, method)
        self._wrapped.clear()

    def take(self) -> dict[str, float]:
        """Seconds by stage since the last call."""
        with self._lock:
            spent, self._spent_s = self._spent_s, defaultdict(float)
        return dict(spent)

    def _timed(self, method: Callable[..., Any], stage: str) -> Callable[..., Any]:
        @functools.wraps(method)
        def timed(*args: Any, **kwargs: Any) -> Any:
            inner: list[float] = self._local.__dict__.setdefault("inner", [])
            inner.append(0.0)
            begun_s = self._read_s()
            try:
                return method(*args, **kwargs)
            finally:
                took_s = self._read_s() - begun_s
                own_s = took_s - inner.pop()
                if inner:
                    inner[-1] += took_s
                with self._lock:
                    self._spent_s[stage] += own_s

        return timed


def core_places() -> list[Place]:
    """The methods in which vLLM's processes spend time: engine core, worker, our parts of them."""
    from vllm.distributed.device_communicators import shm_broadcast
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.engine.core import EngineCoreProc
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    from onlooker.engine.vllm_adapter.step.planner import StepPlanner
    from onlooker.engine.vllm_adapter.worker.rotary import Rotary
    from onlooker.engine.vllm_adapter.worker.worker import SegmentWorker

    return [
        (shm_broadcast, "sched_yield", SPIN),
        (EngineCoreProc, "_process_engine_step", "core_step"),
        (EngineCoreProc, "_handle_client_request", "scheduler"),
        (Scheduler, "schedule", "scheduler"),
        (Scheduler, "update_from_output", "scheduler"),
        (StepPlanner, "num_covered", "plan"),
        (StepPlanner, "plan", "plan"),
        (StepPlanner, "finish", "plan"),
        (GPUModelRunner, "execute_model", "runner"),
        (GPUModelRunner, "_execute_mm_encoder", "encoder"),
        (GPUModelRunner, "_model_forward", "forward"),
        (GPUModelRunner, "sample_tokens", "sample"),
        (SegmentWorker, "begin", "load"),
        (SegmentWorker, "load", "load"),
        (SegmentWorker, "end", "save"),
        (SegmentWorker, "_take", "save"),
        (Rotary, "shift", "rotate"),
        (Rotary, "move", "rotate"),
        (Rotary, "remove", "rotate"),
    ]


def gateway_places(llm: Any) -> list[Place]:
    """The methods in which the gateway's process spends its time on requests.

    `llm` is the running ``AsyncLLM``.
    """
    from onlooker.engine.memory.prompt import PromptBuilder
    from onlooker.engine.vllm_adapter.gateway import segment_engine as features
    from onlooker.engine.vllm_adapter.gateway.preparer import _Template

    built = ("copy", "load_text", "load_clip", "save_clip", "retrieve", "question", "build")
    return [
        (features, "engine_input", "compose"),
        (llm.renderer.get_mm_processor(), "apply", "preprocess"),
        (_Template, "fill", "preprocess"),
        *((PromptBuilder, name, "compose") for name in built),
        (llm.input_processor, "process_inputs", "submit"),
        (llm.engine_core.encoder, "encode", "submit"),
        (llm.output_processor, "process_outputs", "outputs"),
    ]


def report_stages(folder: Path) -> None:
    """From now on keep ``folder/PID.json`` up to date with this process's CPU seconds, in all
    (``process``) and by stage."""
    watch = Stopwatch()
    watch.watch(core_places())
    threading.Thread(target=_report, args=(watch, folder), daemon=True).start()


def _report(watch: Stopwatch, folder: Path) -> None:
    total: dict[str, float] = defaultdict(float)
    path = folder / f"{os.getpid()}.json"
    while folder.exists():
        for stage, spent_s in watch.take().items():
            total[stage] += spent_s
        total["process"] = time.process_time()
        path.with_suffix(".new").write_text(json.dumps(total))
        path.with_suffix(".new").replace(path)
        time.sleep(REPORT_INTERVAL_S)
