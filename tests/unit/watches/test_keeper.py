"""Watches on streams of the scripted engine: what is alerted, once and in order, or not at all."""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.core.clock import ManualClock
from onlooker.core.errors import InvalidRequest, NotFound, TooLarge
from onlooker.core.metrics import Metrics
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import EngineInfo, Question
from onlooker.engine.wording import Wording, WordingRule
from onlooker.streams.events import ClipSeen
from onlooker.streams.fanout import Subscription
from onlooker.streams.stream import Stream, StreamOptions
from onlooker.watches.alert import Alert
from onlooker.watches.events import AlertRaised, WatchChanged
from onlooker.watches.options import WatchOptions
from tests.fakes.pictures import make_message
from tests.fakes.streams import (
    SMALL,
    InlineExecutor,
    driven,
    next_event,
    running_hub,
    waiting_events,
)
from tests.fakes.waiting import until

EVERY = {"gate_threshold": 0.0, "max_pair_gap_s": 0.1}
VIRTUAL, LIVE = StreamOptions(clock="virtual"), StreamOptions(clock="live")
JUST = Wording(
    rules=(
        WordingRule(r"(?:an? )?(\w+) appears", "Has {1} just appeared?"),
        WordingRule(r"it is (\w+)", "Is it {1}?", about_event=False),
    )
)
INFO = dataclasses.replace(SMALL, wording=JUST)


def make_engine(**options: Any) -> ScriptedEngine:
    return ScriptedEngine(**{"info": INFO, **options})


async def show(stream: Stream, colours: Sequence[str], first: int = 0) -> None:
    """One clip a second, each of one colour."""
    for index, colour in enumerate(colours, first):
        await stream.push_wait(make_message(float(index), colour=colour, sequence=index))


async def finish(stream: Stream) -> None:
    """Wait for the frame that waits for its partner, too."""
    async for _ in stream.ask(Question(text="digest?", at_s=1e6)):
        pass


def alerts_of(subscription: Subscription) -> list[Alert]:
    return [e.alert for e in waiting_events(subscription) if isinstance(e, AlertRaised)]


async def alerts_about(
    colours: Sequence[str], *watches: WatchOptions, **engine: Any
) -> list[Alert]:
    """Everything that the watches say about a video, on the virtual clock."""
    async with running_hub(engine=make_engine(**engine), perception=EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        events = stream.subscribe(max_events=1000)
        for index, options in enumerate(watches):
            stream.watches.create(options, f"w{index}")
        lease = stream.claim_source("test")
        await show(stream, colours)
        lease.release()
        await finish(stream)
        return alerts_of(events)


def times(alerts: Sequence[Alert]) -> list[float]:
    return [alert.end_s for alert in alerts]


RED = WatchOptions(condition="tell me when a red appears")


async def test_an_alert_is_raised_once_with_its_evidence() -> None:
    alerts = await alerts_about(["blue", "blue", "red", "red", "blue", "red"], RED)
    assert times(alerts) == [2.0, 5.0]
    first = alerts[0]
    assert (first.number, first.watch_id, first.kind, first.text) == (
        1, "w0", "alert", "tell me when a red appears",
    )  # fmt: skip
    assert first.confidence == pytest.approx(0.95)
    assert first.start_s == 2.0
    assert first.data is None
    assert first.frame_jpeg is None
    assert [alert.number for alert in alerts] == [1, 2]
    assert len({alert.alert_id for alert in alerts}) == 2


async def test_evidence_says_until_when_the_picture_was_known_to_be_the_same() -> None:
    """As far as was looked while the check was under way."""
    clock = ManualClock()
    engine = make_engine(clock=clock, check_s=2.0)
    async with running_hub(engine=engine, clock=clock) as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=1000)
        stream.watches.create(RED, "w0")
        for index in range(5):
            message = make_message(index / 2, sequence=index, received_at_s=clock.now_s())
            await stream.push_wait(message)
            if index == 1:
                await until(lambda: bool(engine.checks))
            clock.advance(0.5)
        alert = (await next_event(events, AlertRaised)).alert
        assert (alert.start_s, alert.end_s, alert.until_s) == (0.0, 0.5, 2.5)


async def test_a_state_is_told_from_as_many_clips_as_the_model_wants() -> None:
    engine = ScriptedEngine(
        info=dataclasses.replace(
            SMALL, wording=dataclasses.replace(JUST, num_clips=3, num_state_clips=2)
        )
    )
    async with running_hub(engine=engine, perception=EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        for name in ("red appears", "it is red"):
            stream.watches.create(WatchOptions(condition=name), name)
        stream.claim_source("test")
        await show(stream, ["blue", "red"])
        await finish(stream)
    looked = {check.text: check.num_clips for check in engine.checks}
    assert looked == {"Has red just appeared?": 3, "Is it red?": 2}


async def test_while_true_alerts_about_every_clip_and_cooldown_holds_back() -> None:
    state = WatchOptions(condition="it is red", while_true=True, trigger=("yes_no",))
    assert times(await alerts_about(["red"] * 5, state)) == [0, 1, 2, 3, 4]
    cooled = dataclasses.replace(state, cooldown_s=2.0)
    assert times(await alerts_about(["red"] * 5, cooled)) == [0, 2, 4]
    limited = dataclasses.replace(state, max_alerts_per_minute=2)
    assert times(await alerts_about(["red"] * 70, limited)) == [0, 1, 60, 61]


async def test_a_watch_that_does_not_repeat_ends_with_its_first_alert() -> None:
    once = dataclasses.replace(RED, repeat=False)
    assert times(await alerts_about(["red", "blue", "red"], once)) == [0.0]


async def test_an_alert_brings_a_picture_and_words_along_when_asked_to() -> None:
    options = dataclasses.replace(RED, answer_prompt="Which colour?", include_frame=True)
    (alert,) = await alerts_about(["blue", "red"], options)
    assert alert.text == "The newest clip is mostly red."
    assert alert.frame_jpeg is not None
    assert alert.frame_jpeg.startswith(b"\xff\xd8")


async def test_commentary_is_silent_while_nothing_changes() -> None:
    options = WatchOptions(instruction="")
    alerts = await alerts_about(["blue", "blue", "red", "red", "blue"], options)
    assert times(alerts) == [0.0, 2.0, 4.0]
    assert "mostly red" in alerts[1].text


async def test_a_commentary_whose_silence_has_to_be_surer_and_surer_speaks_again() -> None:
    # Silence has a probability of 0.95 while nothing changes; after three clips it needs 0.96.
    ramp = WatchOptions(
        instruction="", trigger=("silence",), silence_threshold=0.9, silence_step=0.02
    )
    assert times(await alerts_about(["blue"] * 6, ramp)) == [0, 4]
    never = WatchOptions(instruction="", trigger=("silence",), silence_threshold=0.96)
    assert times(await alerts_about(["blue"] * 3, never)) == [0, 1, 2]


HEADED = dataclasses.replace(INFO, score_heads=("informative", "relevance"))


async def test_a_watch_speaks_by_the_models_own_heads() -> None:
    # Each head gives 0.9 for red, and 0.1 for others.
    async with running_hub(engine=make_engine(info=HEADED), perception=EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        events = stream.subscribe(max_events=100)
        each = WatchOptions(condition="it is red", trigger=("heads",), heads_threshold=1.7)
        one = dataclasses.replace(each, heads={"relevance": 1.0}, heads_threshold=None)
        sums = dataclasses.replace(one, heads_rule="sum")
        for name, options in (("each", each), ("one", one), ("sums", sums)):
            stream.watches.create(options, name)
        await show(stream, ["blue", "red", "red", "blue", "red", "red"])
        await finish(stream)
        alerts = alerts_of(events)
    told = {name: [a.end_s for a in alerts if a.watch_id == name] for name in ("each", "one")}
    assert told == {"each": [1.0, 4.0], "one": [1.0, 4.0]}, "when it becomes so"
    # 0.1, 1.0 (not above 1), 1.9; then 0.1, 1.0, 1.9 again
    assert [alert.end_s for alert in alerts if alert.watch_id == "sums"] == [2.0, 5.0]
    assert {alert.confidence for alert in alerts if alert.watch_id == "each"} == {1.0}


@pytest.mark.parametrize(
    ("info", "options", "says"),
    [
        (INFO, {"trigger": ("heads",)}, "the served one has none that can be read"),
        (INFO, {"heads": {"informative": 1.0}}, "heads/heads.json"),
        (HEADED, {"heads": {"mood": 1.0}}, "no head 'mood'; it has: informative, relevance"),
        (HEADED, {"heads": {}}, "names 1 to 16"),
        (HEADED, {"heads": {"relevance": float("inf")}}, "from -100 to 100"),
        (HEADED, {"heads_threshold": 1e9}, "'heads_threshold'"),
    ],
)
async def test_heads_that_the_model_does_not_have_are_refused(
    info: EngineInfo, options: dict[str, Any], says: str
) -> None:
    async with running_hub(engine=make_engine(info=info)) as hub:
        stream = await hub.open_stream()
        with pytest.raises(InvalidRequest, match=says):
            stream.watches.create(WatchOptions(condition="it is red", **options))


async def test_a_question_is_answered_when_it_can_be_told() -> None:
    options = WatchOptions(question="When is it red?")
    script = [("(?i)red", "{colour}")]
    engine = {"script": script, "info": INFO}
    wording = dataclasses.replace(JUST, not_yet=("^blue",))
    engine["info"] = dataclasses.replace(INFO, wording=wording)
    async with running_hub(engine=ScriptedEngine(**engine), perception=EVERY) as hub:  # type: ignore[arg-type]
        stream = await hub.open_stream(options=VIRTUAL)
        events = stream.subscribe(max_events=100)
        watch = stream.watches.create(options)
        await show(stream, ["blue", "blue", "red", "blue", "red"])
        await finish(stream)
        (alert,) = alerts_of(events)
        assert (alert.end_s, alert.text, alert.kind) == (2.0, "red", "question")
        assert stream.watches.get(watch.watch_id).state == "ended"


async def test_an_answer_that_drifts_is_given_anew() -> None:
    options = WatchOptions(instruction="Which colour?", trigger=("drift",))
    alerts = await alerts_about(["blue", "blue", "red", "red"], options)
    assert times(alerts) == [0.0, 2.0]


async def test_interval_and_change_need_no_check() -> None:
    engine = make_engine()
    async with running_hub(engine=engine, perception=EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        events = stream.subscribe(max_events=100)
        options = WatchOptions(condition="x", trigger=("interval",), interval_s=3.0)
        stream.watches.create(options)
        await show(stream, ["blue"] * 7)
        await finish(stream)
        assert times(alerts_of(events)) == [0.0, 3.0, 6.0]
        assert engine.checks == []


async def test_a_boundary_needs_no_check_and_its_deviations_can_be_changed() -> None:
    engine = make_engine()
    async with running_hub(engine=engine, perception=EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        events = stream.subscribe(max_events=100)
        watch = stream.watches.create(WatchOptions(instruction="", trigger=("boundary",)))
        await show(stream, ["blue"] * 7 + ["red"] * 7)
        stream.watches.update(watch.watch_id, {"deviations": 5.0})
        with pytest.raises(InvalidRequest, match="'deviations' is a number from"):
            stream.watches.update(watch.watch_id, {"deviations": 0.1})
        await finish(stream)
        assert times(alerts_of(events)) == [7.0]
        assert engine.checks == []


async def test_equal_checks_of_one_clip_are_run_once_and_still_clips_not_at_all() -> None:
    engine = make_engine()
    async with running_hub(engine=engine, perception=EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        for _ in range(3):
            stream.watches.create(RED)
        stream.watches.create(WatchOptions(condition="blue appears"))
        await show(stream, ["blue", "blue", "blue", "red"])
        await finish(stream)
        assert [(check.asked_s, check.text) for check in engine.checks] == [
            (at_s, f"Has {colour} just appeared?") for at_s in (0.0, 3.0)
            for colour in ("red", "blue")
        ]  # fmt: skip


@settings(max_examples=15)
@given(
    past=st.lists(st.sampled_from(["red", "blue", "green"]), min_size=1, max_size=6),
    one=st.lists(st.sampled_from(["red", "blue"]), max_size=4),
    other=st.lists(st.sampled_from(["red", "green"]), max_size=4),
)
def test_frames_that_come_later_change_no_alert(
    past: list[str], one: list[str], other: list[str]
) -> None:
    watches = (RED, WatchOptions(condition="it is green"), WatchOptions(instruction=""))

    def until_then(colours: list[str]) -> list[tuple[Any, ...]]:
        alerts = asyncio.run(alerts_about(colours, *watches))
        return [
            (a.number, a.watch_id, a.end_s, a.text, a.confidence)
            for a in alerts if a.end_s < len(past)
        ]  # fmt: skip

    assert until_then(past + one) == until_then(past + other)


# ---- live ----


async def test_ingest_never_waits_for_checks_and_what_was_skipped_is_made_up() -> None:
    clock, metrics = ManualClock(), Metrics()
    engine = make_engine(clock=clock, check_s=0.7)
    hub_options: dict[str, Any] = {
        "engine": engine, "clock": clock, "metrics": metrics, "pool": InlineExecutor(),
        "perception": EVERY, "watches": {"max_checks": 1},
    }  # fmt: skip
    async with running_hub(**hub_options) as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=1000)
        for condition in ("red appears", "blue appears"):
            stream.watches.create(WatchOptions(condition=condition))

        async def play() -> None:
            for index, colour in enumerate(["red", "blue", "red", "blue"]):
                stream.push(make_message(index, colour=colour, received_at_s=clock.now_s()))
                await clock.sleep(1.0)
            await clock.sleep(5.0)

        await driven(clock, play())
        told = waiting_events(events)
        lags = [event.lag_s for event in told if isinstance(event, ClipSeen)]
        assert len(lags) == 4
        assert max(lags) <= 0.5, "the pair gap, and nothing on top"
        found = [(e.alert.end_s, e.alert.watch_id) for e in told if isinstance(e, AlertRaised)]
        assert len(found) == 4
        assert [at_s for at_s, _ in found] == sorted(at_s for at_s, _ in found)

    def count(outcome: str) -> float:
        return float(metrics.checks.labels(outcome=outcome)._value.get())

    assert count("skipped") == count("made_up") > 0
    assert (count("done"), count("lost")) == (8, 0)


async def test_a_check_that_had_no_room_for_too_long_is_lost_and_the_watch_goes_on() -> None:
    clock, metrics = ManualClock(), Metrics()
    engine = make_engine(clock=clock, check_s=100.0)
    watches = {"max_checks": 1, "max_check_wait_s": 2.0, "backlog_clips": 2}
    async with running_hub(
        engine=engine, clock=clock, metrics=metrics, pool=InlineExecutor(), perception=EVERY,
        watches=watches,
    ) as hub:  # fmt: skip
        stream = await hub.open_stream(options=LIVE)
        stream.watches.create(WatchOptions(condition="red appears"))
        slow = stream.watches.create(WatchOptions(condition="blue appears"))

        async def play() -> None:
            for index in range(10):
                colour = ("red", "blue")[index % 2]
                stream.push(make_message(index, colour=colour, received_at_s=clock.now_s()))
                await clock.sleep(1.0)

        await driven(clock, play())
        assert metrics.checks.labels(outcome="lost")._value.get() >= 2
        assert stream.status().clips >= 9
        assert stream.watches.get(slow.watch_id).state == "active"


async def test_a_newer_comment_takes_the_place_of_one_that_is_being_written() -> None:
    clock = ManualClock()
    engine = make_engine(clock=clock, tpot_s=0.5)
    async with running_hub(
        engine=engine, clock=clock, pool=InlineExecutor(), perception=EVERY
    ) as hub:
        stream = await hub.open_stream(options=LIVE)
        events = stream.subscribe(max_events=1000)
        stream.watches.create(WatchOptions(instruction="Which colour?"))

        async def play() -> None:
            for index, colour in enumerate(["red", "blue", "green"]):
                stream.push(make_message(index, colour=colour, received_at_s=clock.now_s()))
                await clock.sleep(1.0)
            await clock.sleep(10.0)

        await driven(clock, play())
        told = waiting_events(events)
        (alert,) = [event.alert for event in told if isinstance(event, AlertRaised)]
        assert (alert.end_s, alert.text) == (2.0, "The newest clip is mostly green.")
        assert engine.num_answering == 0
        lags = [event.lag_s for event in told if isinstance(event, ClipSeen)]
        assert len(lags) == 3
        assert max(lags) <= 0.5, "watching does not wait for what is being written"


async def test_a_failed_check_or_reply_costs_one_alert_at_most() -> None:
    options = dataclasses.replace(RED, answer_prompt="Which colour?")
    colours = ["blue", "red", "blue", "red"]
    engine = {"fail_answer": lambda question: question.asked_s == 1.0}
    alerts = await alerts_about(colours, options, **engine)
    assert [alert.problem is None for alert in alerts] == [False, True]
    assert alerts[0].text == RED.condition
    alerts = await alerts_about(colours, RED, fail_check=lambda check: check.asked_s == 1.0)
    assert times(alerts) == [3.0]


# ---- create, update, delete ----


async def test_watches_are_created_updated_paused_and_deleted() -> None:
    async with running_hub(engine=make_engine(), perception=EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        events = stream.subscribe(max_events=100)
        keeper = stream.watches
        watch = keeper.create(RED)
        for first, change in ((0, {"paused": True}), (3, {"paused": False}), (6, None)):
            await show(stream, ["red", "blue", "blue"], first=first)
            await finish(stream)
            if change is not None:
                keeper.update(watch.watch_id, change)
        keeper.delete(watch.watch_id)
        await show(stream, ["red", "blue", "blue"], first=9)
        await finish(stream)
        told = waiting_events(events)
        changes = [event.change for event in told if isinstance(event, WatchChanged)]
        assert changes == ["created", "updated", "updated", "deleted"]
        assert len([event for event in told if isinstance(event, AlertRaised)]) == 2
        with pytest.raises(NotFound, match="has no watch"):
            keeper.get(watch.watch_id)


async def test_a_watch_expires() -> None:
    clock = ManualClock()
    async with running_hub(engine=make_engine(clock=clock), clock=clock, perception=EVERY) as hub:
        stream = await hub.open_stream(options=VIRTUAL)
        events = stream.subscribe(max_events=100)
        stream.watches.create(dataclasses.replace(RED, expires_after_s=2.5))
        await show(stream, ["red", "blue", "red", "blue", "red"])
        await finish(stream)
        assert times(alerts_of(events)) == [0.0, 2.0]
        assert stream.watches.watches()[0].why_ended == "expired"


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({}, InvalidRequest, "exactly one of"),
        ({"condition": "a", "question": "b"}, InvalidRequest, "exactly one of"),
        ({"condition": "  "}, InvalidRequest, "condition is empty"),
        ({"condition": "word " * 10_000}, TooLarge, "50000 characters; 500 are allowed"),
        ({"condition": "x", "json_schema": {"type": "banana"}}, InvalidRequest, "is a JSON object"),
        (
            {"condition": "x", "json_schema": {"type": "object", "properties": {"a": "text"}}},
            InvalidRequest,
            "json_schema.properties.a: 'text' is not of type 'object'",
        ),
        (
            {"condition": "x", "json_schema": {"type": "object", "oneOf": []}},
            InvalidRequest,
            r"json_schema.oneOf: \[\] should be non-empty",
        ),
        ({"condition": "x", "min_confidence": 1.5}, InvalidRequest, "from 0 to 1"),
        ({"condition": "x", "cooldown_s": float("nan")}, InvalidRequest, "'cooldown_s'"),
        ({"instruction": "", "silence_threshold": 1.5}, InvalidRequest, "'silence_threshold'"),
        ({"instruction": "", "silence_step": -2.0}, InvalidRequest, "'silence_step'"),
    ],
)  # fmt: skip
async def test_bad_options_are_refused_with_the_reason(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    async with running_hub(engine=make_engine()) as hub:
        stream = await hub.open_stream()
        with pytest.raises(error, match=says):
            stream.watches.create(WatchOptions(**options))
        assert stream.watches.watches() == []
        watch = stream.watches.create(RED)
        if options.get("json_schema") or "cooldown_s" in options:
            with pytest.raises(error, match=says):
                stream.watches.update(watch.watch_id, options)


async def test_a_thousand_watches_meet_the_limit() -> None:
    async with running_hub(engine=make_engine(), watches={"max_per_stream": 5}) as hub:
        stream = await hub.open_stream()
        for _ in range(5):
            stream.watches.create(RED)
        for _ in range(995):
            with pytest.raises(TooLarge, match="max_per_stream"):
                stream.watches.create(RED)
        assert len(stream.watches.watches()) == 5


async def test_a_stream_that_closes_takes_its_watches_along() -> None:
    metrics = Metrics()
    async with running_hub(engine=make_engine(), metrics=metrics) as hub:
        stream = await hub.open_stream(options=LIVE)
        stream.watches.create(RED)
        assert metrics.watches._value.get() == 1
        await hub.close_stream(stream.id, "done")
        assert metrics.watches._value.get() == 0
