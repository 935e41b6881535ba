"""What crosses between processes comes out as it went in, through whatever plain data it takes."""

import inspect
import json
from dataclasses import asdict
from typing import Any, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from onlooker.cache_store.config import CacheStoreSection, RedisSection
from onlooker.cache_store.leases import Claim
from onlooker.engine.memory.key_runs import KeyRuns
from onlooker.engine.memory.load_runs import LoadRuns, LoadSpan
from onlooker.engine.memory.plan import (
    Filling,
    MemorySlot,
    RequestPlan,
    RequestReport,
    RetrievalPlan,
    SaveSpan,
)
from onlooker.engine.memory.ranking import Ranking, RetrievalPolicy
from onlooker.engine.sampling import PauseRamp
from onlooker.engine.vllm_adapter import wire
from onlooker.engine.vllm_adapter.entry.extension import SegmentExtension
from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.load import EngineLoad
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.slo import Tier
from onlooker.scheduler.ticket import Served, Ticket


def sent(plain: Any) -> Any:
    """As it arrives: tuples have become lists."""
    return json.loads(json.dumps(plain))


keys = st.text("abc/0123456789", min_size=1, max_size=12)
counts = st.integers(0, 1 << 20)
loads = st.lists(st.builds(LoadSpan, keys, counts, counts, counts), max_size=4).map(LoadRuns.of)
saves = st.lists(
    st.builds(
        SaveSpan, keys, counts, counts, counts,
        offsets=st.lists(st.lists(counts, max_size=3), max_size=3),
        retrievable=st.booleans(),
        start_s=st.floats(0, 1e6),
        end_s=st.floats(0, 1e6),
        meta=st.dictionaries(keys, keys, max_size=2),
        rows=st.lists(counts, max_size=3),
        filling=st.none()
        | st.builds(
            Filling, keys, *[st.lists(counts, max_size=3)] * 2, st.integers(-5, 5),
            *[st.lists(counts, max_size=3)] * 2,
        ),
    ),
    max_size=2,
)  # fmt: skip
retrievals = st.builds(
    RetrievalPlan,
    slots=st.lists(st.builds(MemorySlot, counts, counts, counts), max_size=3),
    candidates=st.lists(keys, max_size=5).map(KeyRuns.of),
    recent=st.lists(keys, max_size=3).map(KeyRuns.of),
    num_wanted=counts,
    traces=st.booleans(),
    question_start=counts,
    question_tokens=counts,
    question_position=counts,
)


@given(
    st.builds(
        RequestPlan, loads, saves, st.none() | retrievals, st.lists(keys, max_size=3), st.booleans()
    )
)
def test_a_plan_survives_the_way_to_the_scheduler(plan: RequestPlan) -> None:
    assert wire.read_plan(sent(wire.plan_params(plan))) == plan


def test_a_request_without_a_plan_has_none() -> None:
    assert wire.read_plan(None) is None
    assert wire.read_plan({"other": 1}) is None


reports = st.builds(
    RequestReport,
    saved=st.lists(keys, max_size=3),
    missing=st.lists(keys, max_size=3),
    picked=st.lists(st.lists(keys, max_size=3), max_size=3),
    read=st.dictionaries(keys, st.tuples(keys, counts), max_size=3),
    away=st.lists(keys, max_size=3),
    heads=st.dictionaries(keys, st.floats(0, 1), max_size=3),
    traced=st.lists(st.dictionaries(st.just("mean_key"), st.lists(st.floats(0, 1))), max_size=2),
)


@given(reports)
def test_a_report_survives_the_way_back(report: RequestReport) -> None:
    assert wire.read_report(sent(wire.report_params(report))) == report


def test_an_output_that_reports_nothing_reads_as_empty() -> None:
    assert wire.read_report(None) == RequestReport()


def test_a_ticket_survives_beside_a_plan() -> None:
    ticket = Ticket(RequestClass.CHECK, 12.5, 13.25, 0.1, "door", Tier.BACKGROUND)
    params = sent({"kv_transfer_params": {}, **wire.ticket_params(ticket)})
    assert wire.read_ticket(params) == ticket


def test_the_rule_for_a_pause_survives_beside_a_ticket() -> None:
    rule = wire.PauseRule(2503, PauseRamp(0.5, -0.0625))
    ticket = Ticket(RequestClass.QUESTION, 12.5, 13.25)
    params = sent({**wire.ticket_params(ticket), **wire.pause_params(rule)})
    assert wire.read_pause(params) == rule
    assert wire.read_ticket(params) == ticket
    assert wire.read_pause(None) is None
    assert wire.read_pause(wire.ticket_params(ticket)) is None


def test_a_request_without_a_ticket_has_none() -> None:
    assert wire.read_ticket(None) is None
    assert wire.read_ticket({"kv_transfer_params": {}}) is None


def test_how_a_request_was_served_and_the_load_survive() -> None:
    served = Served("question", 0.25, -1.0, ("question", "decode"))
    load = EngineLoad(busy_ratio=0.5, costs=[1.0, 2.0], has_fallen_back=True)
    params = sent({**wire.served_params(served), **wire.load_params(load)})
    assert wire.read_served(params) == served
    assert wire.read_load(params) == load
    assert wire.read_served({}) is None
    assert wire.read_load(None) is None


def test_settings_survive_with_their_secrets() -> None:
    store = CacheStoreSection(redis=RedisSection(url=SecretStr("redis://:secret@127.0.0.1/0")))
    settings = wire.AdapterSettings(
        scheduler=SchedulerSection(policy="fcfs"),
        policy=RetrievalPolicy(ranking=Ranking(voting_layers=(2,)), mass=0.5),
        arena_bytes=1 << 20,
        mover="strided",
        pool_bytes=1 << 21,
        shelf_bytes=1 << 19,
        index_bytes=1 << 22,
        index_host_bytes=1 << 23,
        ring_bytes=1 << 17,
        saving_bytes=1 << 16,
        write_behind_segments=9,
        fetching_requests=3,
        keeps_queries=True,
        store=store,
        heads=wire.ScoreHeads(
            "f", (wire.ScoreHead("a", "a.weight"), wire.ScoreHead("b", "b", "c"))
        ),
    )
    assert wire.AdapterSettings.from_config(sent(settings.to_config())) == settings
    assert wire.AdapterSettings.from_config({}) == wire.AdapterSettings()


def test_the_reports_of_two_workers_are_one() -> None:
    mine = wire.WorkerReport(
        saved={"r": ["a", "c"], "s": ["d"]},
        read={"r": {"a": ("disk", 2), "b": ("device", 2)}},
        picked={"r": [["a"]]},
    )
    mine.join(
        wire.WorkerReport(
            saved={"r": ["a", "b"]},
            read={"r": {"a": ("device", 5), "b": ("memory", 5)}},
            missing={"q": ["c"]},
        )
    )
    report = mine.of("r")
    assert report.saved == ["a"], "half of a segment is none"
    assert mine.of("s").saved == []
    assert report.read == {"a": ("disk", 7), "b": ("memory", 7)}
    assert report.picked == [["a"]]
    assert mine.of("q").missing == ["c"]
    assert mine.request_ids == {"r", "s", "q"}


def test_two_workers_tell_by_themselves_what_they_hold_and_have_fetched() -> None:
    mine = wire.WorkerReport(held={0: {"a": True}}, fetched={0: ["r"]}, away={"p": ["a"]})
    mine.join(wire.WorkerReport(held={1: {"a": False}}, fetched={1: ["s"]}, away={"p": ["b"]}))
    assert mine.held == {0: {"a": True}, 1: {"a": False}}
    assert mine.fetched == {0: ["r"], 1: ["s"]}
    assert mine.of("p").away == ["a", "b"], "what either lacks is to be fetched"


CALLS: list[tuple[wire.WorkerCall[Any], Any]] = [
    (wire.drop_segments("p/", 7, ["a"]), 1),
    (wire.drop_stream("p/", 7, forget=True), 1),
    (wire.own_stream("tenant/door", Claim(7, is_handed_over=True)), None),
    (wire.is_writing("p/"), True),
    (wire.unreached_tiers("p/"), ["redis"]),
    (wire.delete_segments("p/", 7, ["p/clip/0000000001"]), 1),
    (
        wire.measure_segments(
            "all", wire.MeasureOp("likeness", "p/clip/0000000009", {"p/clip/0000000001": [(0, 1)]})
        ),
        {"p/clip/0000000001": [0.5]},
    ),
    (
        wire.compact_segments(
            "all", [wire.CompactOp("p/clip/0000000001", SaveSpan("a", 0, 1, 0), [(1, [0, 1])])]
        ),
        ["a"],
    ),
    (wire.unwritten_segments(["a"]), ["a"]),
    (wire.take_up_segments(["a"]), None),
    (wire.missing_segments("all", ["a"]), ["a"]),
    (wire.stored_lives("p/", is_first=True), wire.StoredLives([1], is_complete=True)),
    (
        wire.restore_stream("p/", is_first=True),
        wire.StoredSegments(
            [wire.StoredSegment("a", 0.0, 1.0, {"x": "y"})], is_complete=False, is_done=True
        ),
    ),
    (wire.flush_segments(1.0), True),
    (
        wire.worker_stock(["a"]),
        wire.WorkerStock(["a"], wire.WorkerStats(1, 2, 3, {"disk": {"hits": 1}}, {}, 4, 5, 6)),
    ),
    (wire.worker_stats(), wire.WorkerStats(1, 2, 3, {"disk": {"num_records": 1}}, {}, 4, 5, 6)),
]


def test_what_is_to_be_compacted_survives_the_way_to_the_workers() -> None:
    ops = [wire.CompactOp("a", SaveSpan("b", 0, 2, 0, [[0, 3]] * 3), [(0, [0]), (2, [1, 2])])]
    (_, plain) = wire.compact_segments("all", ops).args
    assert wire.read_compact_ops(sent(plain)) == ops
    assert wire.read_compact_ops(None) is None


@pytest.mark.parametrize(("call", "answer"), CALLS, ids=[call.method for call, _ in CALLS])
def test_a_call_to_the_workers_and_its_answer_are_plain_data(
    call: wire.WorkerCall[Any], answer: Any
) -> None:
    assert sent(call.args) == list(call.args)
    plain = asdict(answer) if hasattr(answer, "__dataclass_fields__") else answer
    assert call.read(sent(plain)) == answer


def test_every_call_to_the_workers_is_tried_here() -> None:
    makers = [
        name
        for name, maker in inspect.getmembers(wire, inspect.isfunction)
        if get_origin(get_type_hints(maker).get("return")) is wire.WorkerCall
    ]
    assert sorted(makers) == sorted(call.method for call, _ in CALLS)


@pytest.mark.parametrize("call", [call for call, _ in CALLS], ids=lambda call: call.method)
def test_every_call_finds_its_method_in_the_workers(call: wire.WorkerCall[Any]) -> None:
    inspect.signature(getattr(SegmentExtension, call.method)).bind(None, *call.args)
