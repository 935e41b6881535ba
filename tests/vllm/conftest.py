"""What several files run: the demo model as segments, its reference, and models made for tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onlooker import demo_model
from tests.vllm.rig import NUM_CLIPS, WINDOW, Rebuilt, ingest_all, save_sink

MODEL = Path(os.environ.get("ONLOOKER_TEST_MODEL", Path(demo_model.__path__[0]) / "weights"))


@pytest.fixture(scope="session", autouse=True)
def _a_core_of_its_own() -> None:
    """Where tests run two at a time, each of the two has its engines on another core. By itself
    every engine takes the same."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        core = cores[int(worker.removeprefix("gw")) % len(cores)]
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", str(core))


@pytest.fixture(scope="session")
def qwen2_5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2.5-VL with random weights."""
    from tests.vllm.tiny_qwen2_5 import write_tiny_qwen2_5

    return write_tiny_qwen2_5(tmp_path_factory.mktemp("qwen2_5"))


@pytest.fixture(scope="module")
def vllm() -> Iterator[Any]:
    from tests.vllm.in_process import SegmentVllm

    engine = SegmentVllm(MODEL)
    save_sink(engine)
    ingest_all(engine)
    yield engine
    engine.engine.engine_core.shutdown()


@pytest.fixture(scope="module")
def reference() -> Any:
    from tests.vllm.reference import Reference

    return Reference(MODEL)


@pytest.fixture(scope="module")
def whole(vllm: Any, reference: Any) -> Rebuilt:
    return Rebuilt(vllm, reference, NUM_CLIPS)


@pytest.fixture(scope="module")
def sliding(vllm: Any, reference: Any) -> Rebuilt:
    return Rebuilt(vllm, reference, WINDOW)
