"""Two real engines in one server: the decider checks, the answerer answers, and both come back."""

import asyncio
import multiprocessing
import os
import signal

import pytest

from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.engine.checks import Check
from onlooker.engine.config import DeciderSection, EngineSection, VllmSection
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.supervisor import EngineSupervisor
from onlooker.scheduler.config import SchedulerSection
from onlooker.server.config import Settings
from onlooker.server.wiring import make_engine
from tests.vllm.test_engines import MODEL, ask, open_with_clips, question

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

NUM_CLIPS = 6


def processes() -> set[int]:
    return {child.pid for child in multiprocessing.active_children() if child.pid is not None}


def test_a_decider_checks_beside_an_answerer() -> None:
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    asyncio.run(_decide(dies=False))


@pytest.mark.slow  # four models are loaded
@pytest.mark.timeout(900)
def test_a_decider_that_is_killed_is_started_again_and_the_answerer_with_it() -> None:
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    asyncio.run(_decide(dies=True))


async def _decide(*, dies: bool) -> None:
    before = processes()
    settings = Settings(
        engine=EngineSection(
            model=MODEL,
            memory=MemorySection(recent_clips=4, retrieved_clips=2),
            vllm=VllmSection(max_model_len=1024),
            decider=DeciderSection(model=MODEL, window_clips=4, arena_gib=0.25, max_model_len=1024),
        ),
        scheduler=SchedulerSection(policy="fcfs"),
    )
    said: list[str] = []
    engine = make_engine(settings, clock=SystemClock(), metrics=Metrics())
    supervisor = EngineSupervisor(
        engine, clock=SystemClock(), settings=settings.engine.restarts, metrics=Metrics()
    )
    await supervisor.start(said.append)
    try:
        assert any(line.startswith("decider: ") and "remembered" in line for line in said), said
        assert len(processes() - before) == 2, "each model has a process of its own"
        assert supervisor.info.decider is not None
        assert supervisor.info.decider.max_clips == 4
        if dies:
            # The process that was started last is the decider's.
            os.kill(max(processes() - before), signal.SIGKILL)
            await supervisor.next_life(after=1)
        await open_with_clips(supervisor, "door", NUM_CLIPS)
        await _look(supervisor)
    finally:
        await supervisor.close()


async def _look(supervisor: EngineSupervisor) -> None:
    """Both models are the same and see the same newest clips, so that they say the same."""
    door = StreamId("door")
    asked = {"asked_s": 1e6, "answers": (("yes",), ("no",)), "num_clips": 4}
    text = "Is there a red circle?"
    decided = await supervisor.check(Check(door, text, decides=True, **asked))  # type: ignore[arg-type]
    checked = await supervisor.check(Check(door, text, **asked))  # type: ignore[arg-type]
    assert decided.logprobs == pytest.approx(checked.logprobs, abs=1e-3)
    answer, end = await ask(supervisor, question("door", "What do you see?"))
    assert answer
    assert end.clip_spans_s
    stock = await supervisor.take_stock({})
    assert stock.held is not None
    assert stock.held.num_indexed == 2 * NUM_CLIPS, "memory of both is told"
