"""The process that runs the engine core of several gateways, before it loads anything."""

from multiprocessing import Pipe

from onlooker.cache_store.config import CacheStoreSection
from onlooker.engine.config import EngineSection
from onlooker.engine.vllm_adapter.engine import run_core
from onlooker.scheduler.config import SchedulerSection


def test_a_model_that_is_not_there_is_told_to_who_started_the_core() -> None:
    ours, theirs = Pipe()
    engine = EngineSection(mode="segments", model="/no/such/model")
    run_core(engine, CacheStoreSection(), SchedulerSection(), (), 2, theirs)
    assert ours.poll()
    assert "no model folder '/no/such/model'" in ours.recv()
