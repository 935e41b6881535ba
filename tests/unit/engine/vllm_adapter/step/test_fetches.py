"""Which requests wait for the store below, and when they need not any more."""

from dataclasses import replace

from onlooker.engine.memory.load_runs import LoadRuns, LoadSpan
from onlooker.engine.memory.plan import Filling, RequestPlan
from onlooker.engine.vllm_adapter.step.fetches import Fetches
from onlooker.engine.vllm_adapter.step.planner import StepPlanner
from onlooker.engine.vllm_adapter.wire import WorkerReport
from tests.unit.engine.vllm_adapter.step.factories import (
    BLOCK,
    ingesting,
    make_request,
    make_scheduled,
)


def holding(*keys: str, rank: int = 0) -> WorkerReport:
    return WorkerReport(held={rank: dict.fromkeys(keys, True)})


def asked(fetches: Fetches) -> dict[str, list[str]]:
    return {op.request_id: op.keys for op in fetches.ops()}


def test_what_is_held_ready_is_not_fetched() -> None:
    fetches = Fetches()
    fetches.note(holding("a", "b"))
    assert fetches.is_ready("q", ["a", "b"])
    assert asked(fetches) == {}


def test_a_request_waits_until_what_it_lacks_was_fetched() -> None:
    fetches = Fetches()
    fetches.note(holding("a"))
    assert not fetches.is_ready("q", ["a", "b"])
    assert fetches.awaits("q")
    assert asked(fetches) == {"q": ["a", "b"]}
    assert asked(fetches) == {}, "the workers are told once"
    assert not fetches.is_ready("q", ["a", "b"])
    fetches.note(WorkerReport(fetched={0: ["q"]}))
    assert not fetches.awaits("q")
    assert fetches.is_ready("q", ["a", "b"]), "whether or not all of it was found"


def test_what_was_let_go_of_is_fetched() -> None:
    fetches = Fetches()
    fetches.note(holding("a"))
    fetches.note(WorkerReport(held={0: {"a": False}}))
    assert not fetches.is_ready("q", ["a"])


def test_every_worker_of_a_split_model_has_to_hold_it() -> None:
    fetches = Fetches(num_workers=2)
    fetches.note(holding("a"))
    assert not fetches.is_ready("q", ["a"])
    fetches.ops()
    fetches.note(WorkerReport(fetched={1: ["q"]}))
    fetches.note(WorkerReport(fetched={1: ["q"]}))
    assert fetches.awaits("q"), "one worker that says it twice is not two"
    fetches.note(WorkerReport(fetched={0: ["q"]}))
    assert fetches.is_ready("q", ["a"])


def test_only_so_many_requests_hold_what_was_fetched_at_once() -> None:
    fetches = Fetches(max_requests=2)
    for name in "pqr":
        assert not fetches.is_ready(name, [name])
    assert list(asked(fetches)) == ["p", "q"]
    fetches.note(WorkerReport(fetched={0: ["p", "q"]}))
    assert asked(fetches) == {}, "fetched, and not yet started"
    fetches.forget(["p"])
    (op,) = fetches.ops()
    assert (op.request_id, op.has_waited) == ("r", True)


def test_a_request_that_ended_is_fetched_for_no_more() -> None:
    fetches = Fetches()
    fetches.is_ready("q", ["a"])
    fetches.forget(["q"])
    assert not fetches.awaits("q")
    assert asked(fetches) == {}


PLAN = RequestPlan(
    loads=LoadRuns.of([LoadSpan("s/1", 0, 2 * BLOCK, 0), LoadSpan("s/2", 2 * BLOCK, BLOCK, 0)]),
    reads=["s/9"],
)


def test_what_vllm_has_in_its_blocks_need_not_be_held() -> None:
    fetches = Fetches()
    planner = StepPlanner(block_size=BLOCK, fetches=fetches)
    planner.note(holding("s/2", "s/9"))
    request = make_request("q", PLAN, num_prompt_tokens=4 * BLOCK)
    assert planner.is_ready(request, 2 * BLOCK)
    assert not planner.is_ready(request, 0)


def test_a_request_is_started_once_its_segments_are_there() -> None:
    planner = StepPlanner(block_size=BLOCK, fetches=Fetches(max_requests=1))
    request = make_request("q", PLAN, num_prompt_tokens=4 * BLOCK)
    assert not planner.is_ready(request, 0)
    assert planner.awaits_fetch(request)
    (op,) = planner.plan([]).fetches
    assert op.keys == ["s/1", "s/2", "s/9"], "what is looked into as well"
    planner.note(WorkerReport(fetched={0: ["q"]}))
    assert planner.is_ready(request, 0)
    planner.to_load(request, 3 * BLOCK)
    (load,) = planner.plan([make_scheduled("q", 3 * BLOCK, BLOCK)]).loads
    assert load.keys == ["s/1", "s/2"]
    other = make_request("r", PLAN, num_prompt_tokens=4 * BLOCK)
    assert not planner.is_ready(other, 0)
    assert [op.request_id for op in planner.plan([]).fetches] == ["r"], "there is room again"


def test_what_a_clip_is_filled_from_is_fetched_before_it_is_seen() -> None:
    planner = StepPlanner(block_size=BLOCK, fetches=Fetches())
    planner.note(holding("sink"))
    plan = ingesting()
    (save,) = plan.saves
    filled = replace(plan, saves=[replace(save, filling=Filling("clip/0", [], [], 0))])
    assert not planner.is_ready(make_request("i", filled, num_prompt_tokens=60), 0)
    assert [op.keys for op in planner.plan([]).fetches] == [["sink", "clip/0"]]


def test_without_a_store_nothing_is_waited_for() -> None:
    planner = StepPlanner(block_size=BLOCK)
    request = make_request("q", PLAN, num_prompt_tokens=4 * BLOCK)
    assert planner.is_ready(request, 0)
    assert not planner.awaits_fetch(request)
