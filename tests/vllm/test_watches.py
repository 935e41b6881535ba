"""Watches on the real engine with the demo model: what happened is told, and nothing else."""

import asyncio
import io
import os

import pytest
from PIL import Image

from onlooker.benchmarks.alert_truth import Shown, mark
from onlooker.core.clock import SystemClock
from onlooker.core.media import Codec, EncodedFrame
from onlooker.core.metrics import Metrics
from onlooker.demo_model.examples import VALIDATION_SEED
from onlooker.demo_model.render import render
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.interface import Question
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.scheduler.config import SchedulerSection
from onlooker.server.config import Settings
from onlooker.server.wiring import make_hub
from onlooker.streams.config import PerceptionSection, StreamsSection
from onlooker.streams.stream import StreamOptions
from onlooker.watches.alert import Alert
from onlooker.watches.events import AlertRaised
from onlooker.watches.options import WatchOptions

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

NUM_FRAMES = 30
CONDITIONS = {"sign": "tell me when the sign changes", "cut": "tell me when the scene changes"}


@pytest.fixture(scope="module")
def shown() -> Shown:
    return Shown(VALIDATION_SEED + 5, num_frames=NUM_FRAMES, start_s=12.0)


@pytest.fixture(scope="module")
def alerts(shown: Shown) -> list[Alert]:
    """What the watches say about a world, on the virtual clock."""
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    return asyncio.run(_alerts(shown))


async def _alerts(shown: Shown) -> list[Alert]:
    clock, metrics = SystemClock(), Metrics()
    settings = Settings(
        streams=StreamsSection(
            perception=PerceptionSection(gate_threshold=0.0, max_pair_gap_s=0.05)
        ),
        engine=EngineSection(mode="segments", vllm=VllmSection(max_model_len=1024)),
        scheduler=SchedulerSection(policy="fcfs"),
    )
    engine = make_engine(settings.engine, clock, metrics)
    hub = make_hub(settings, engine=engine, clock=clock, metrics=metrics)
    await hub.start(lambda line: None)
    try:
        stream = await hub.open_stream(options=StreamOptions(clock="virtual", gate_threshold=0.0))
        events = stream.subscribe(max_events=10_000)
        for name, condition in CONDITIONS.items():
            stream.watches.create(WatchOptions(condition=condition, include_frame=True), name)
        stream.watches.create(WatchOptions(instruction=""), "commentary")
        for index, time_s in enumerate(shown.times):
            picture = io.BytesIO()
            Image.fromarray(render(shown.world.state_at(time_s), 320, 240)).save(picture, "JPEG")
            frame = EncodedFrame(index, float(index), Codec.JPEG, picture.getvalue(), 0.0)
            await stream.push_wait(frame)
        async for _ in stream.ask(Question(text="What do you see?", at_s=1e6)):
            pass
        found = []
        while (numbered := events.take()) is not None:
            if isinstance(numbered[1], AlertRaised):
                found.append(numbered[1].alert)
        return found
    finally:
        await hub.close(deadline_s=0.0)


def test_the_sign_and_the_scene_are_told_when_they_change(
    shown: Shown, alerts: list[Alert]
) -> None:
    for name in CONDITIONS:
        standing = shown._standing(name, "", "")
        told = [(round(a.end_s), a.end_s) for a in alerts if a.watch_id == name]
        events = {index: at for index, at in standing.events.items() if index < NUM_FRAMES - 1}
        marks = mark(
            type(standing)(name, "", "", events), told, [float(i) for i in range(NUM_FRAMES)]
        )
        assert marks.hits >= len(events) - 1, (name, events, told)
        assert marks.false <= 1, (name, events, told)
    assert any(alert.watch_id == "sign" for alert in alerts)


def test_commentary_says_what_changed_and_keeps_silent_otherwise(
    shown: Shown, alerts: list[Alert]
) -> None:
    changed, quiet = shown.comments()
    spoke = {round(a.end_s) for a in alerts if a.kind == "commentary"}
    known = {index for index in changed if index < NUM_FRAMES - 1}
    assert len(known & spoke) >= 0.8 * len(known)
    assert len(quiet & spoke) <= 0.1 * len(quiet)
    assert any("sign now shows" in a.text for a in alerts if a.kind == "commentary")


def test_alerts_are_numbered_and_carry_what_they_rest_on(alerts: list[Alert]) -> None:
    assert [alert.number for alert in alerts] == list(range(1, len(alerts) + 1))
    assert [alert.end_s for alert in alerts] == sorted(alert.end_s for alert in alerts)
    assert all(alert.frame_jpeg for alert in alerts if alert.kind == "alert")
