"""No time is forgotten: a world that stands still, its pictures skipped, asked about any second."""

import asyncio
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from onlooker.cache_store.config import CacheStoreSection, DiskSection
from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.demo_model.questions import CANNOT_TELL, DrawnQuestion, View, ask_view, correct
from onlooker.demo_model.render import render
from onlooker.demo_model.view import DrawnClip
from onlooker.demo_model.world import World
from onlooker.engine.config import EngineSection
from onlooker.engine.interface import AnswerEnd
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.streams.events import ClipSeen
from onlooker.streams.stream import Stream, StreamOptions
from tests.fakes.pictures import encode, make_message
from tests.fakes.streams import ask_fully, running_hub, waiting_events
from tests.vllm.test_engines import MODEL, Mode

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

STREAM = StreamId("world")
WORLD = World(3)
FPS = 4
OFF_S = (44, 54)
"""The camera sends nothing from the first second to the second."""
END_S = 60
NUM_QUESTIONS = 16
FAMILIES = ("at_time_color", "at_time_shape", "at_time_digit", "at_time_place", "at_time_count")


def shown_s(time_s: float) -> float:
    """The time of the world that the camera sees: it stands still for 12 seconds of every 20."""
    block, rest = divmod(time_s, 20.0)
    return block * 20 + min(rest, 8.0)


@dataclass(frozen=True)
class Asked:
    question: DrawnQuestion
    has_clip: bool
    """Whether a clip was taken in the second that is asked about."""
    text: str
    end: AnswerEnd


@dataclass(frozen=True)
class Told:
    """What an engine told of the world, in one of its modes."""

    mode: str
    asked: list[Asked]
    off: tuple[str, AnswerEnd]
    """What was told of a second in which the camera was off."""
    again: list[str]
    """The same answers from an engine that was started on what the first one stored."""


async def feed(stream: Stream) -> list[ClipSeen]:
    events = stream.subscribe(max_events=10_000)
    times = [index / FPS for index in range(END_S * FPS)]
    for number, time_s in enumerate(t for t in times if not OFF_S[0] <= t < OFF_S[1]):
        pixels = render(WORLD.state_at(shown_s(time_s)), 160, 120)
        message = make_message(time_s, sequence=number, payload=encode(pixels, quality=85))
        await stream.push_wait(message)
    await ask_fully(stream, "What is there?", max_tokens=1)  # all clips are seen then
    return [event for event in waiting_events(events) if isinstance(event, ClipSeen)]


def questions() -> list[DrawnQuestion]:
    """About seconds that were seen; a clip of the view is a whole second."""
    seconds = [
        DrawnClip(t + 0.5, tuple(shown_s(t + part / 8) for part in range(8)))
        for t in range(END_S - 1)
        if not OFF_S[0] - 1 <= t < OFF_S[1]
    ]
    view, rng = View(WORLD, seconds), random.Random(0)
    found: list[DrawnQuestion] = []
    while len(found) < NUM_QUESTIONS:
        asked = ask_view(view, rng, FAMILIES[len(found) % len(FAMILIES)])
        if asked is not None:
            found.append(asked)
    return found


def second_of(question: DrawnQuestion) -> int:
    return [t for t in range(END_S - 1) if not OFF_S[0] - 1 <= t < OFF_S[1]][question.evidence[0]]


def engine_of(mode: Mode, folder: Path) -> Any:
    store = CacheStoreSection(disk=DiskSection(path=folder)) if mode == "segments" else None
    settings = EngineSection(model=MODEL, mode=mode)
    return make_engine(settings, SystemClock(), Metrics(), store)


async def told_by(mode: Mode, folder: Path) -> Told:
    asked, again = [], []
    async with running_hub(engine=engine_of(mode, folder), clock=SystemClock()) as hub:
        stream = await hub.open_stream(STREAM, StreamOptions(clock="virtual"))
        clips = await feed(stream)
        for question in questions():
            second = second_of(question)
            has_clip = any(clip.start_s < second + 1 and clip.end_s >= second for clip in clips)
            text, end = await ask_fully(stream, question.text)
            asked.append(Asked(question, has_clip, text, end))
        off = await ask_fully(stream, f"What number was on the sign at {OFF_S[0] + 5} seconds?")
    if mode == "segments":
        async with running_hub(engine=engine_of(mode, folder), clock=SystemClock()) as hub:
            stream = await hub.open_stream(STREAM, StreamOptions(clock="virtual"))
            again = [(await ask_fully(stream, one.question.text))[0] for one in asked]
    return Told(mode, asked, off, again)


@pytest.fixture(scope="module", params=get_args(Mode))
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    return asyncio.run(told_by(request.param, tmp_path_factory.mktemp("segments")))


def test_what_was_there_is_known_of_every_second_that_was_seen(told: Told) -> None:
    wrong = [(a.question.text, a.question.answer, a.text) for a in told.asked if not is_right(a)]
    assert not wrong
    assert sum(not one.has_clip for one in told.asked) >= NUM_QUESTIONS // 3


def is_right(one: Asked) -> bool:
    return correct(one.question, one.text)


def test_the_evidence_holds_the_second_that_was_asked_about(told: Told) -> None:
    for one in told.asked:
        second = second_of(one.question)
        assert any(
            start_s < second + 1 and end_s > second for start_s, end_s in one.end.clip_spans_s
        ), (second, one.end.clip_spans_s)


def test_what_nobody_saw_is_not_told(told: Told) -> None:
    text, end = told.off
    assert text.strip() == CANNOT_TELL
    middle_s = sum(OFF_S) / 2
    assert not any(start_s <= middle_s < end_s for start_s, end_s in end.clip_spans_s)


def test_a_restarted_engine_knows_it_too(told: Told) -> None:
    if told.mode == "segments":
        assert told.again == [one.text for one in told.asked]
