"""When a stream's diary is written, and what of."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from onlooker.cache_store.config import DiarySection
from onlooker.cache_store.diary import DiaryQuery, Level
from onlooker.cache_store.opening import open_diary
from onlooker.core.clock import ManualClock
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame, Pixels
from onlooker.core.metrics import Metrics
from onlooker.engine.config import RestartSection
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import Question
from onlooker.engine.supervisor import EngineSupervisor
from onlooker.engine.wording import DEFAULT_WORDING, Wording
from onlooker.scheduler.request_class import RequestClass
from onlooker.streams.diary.diary_keeper import DiaryKeeper
from onlooker.streams.diary.diary_writer import DiaryWriter
from onlooker.streams.diary.periods import WallClock
from onlooker.streams.diary.stream_diary import StreamDiary
from tests.fakes.pictures import make_pixels
from tests.fakes.waiting import until

DOOR = StreamId("door")
SEEN_AT = (r"to be seen", "Seen at {seen_until_s:.0f}.")
SCRIPT = ((r"to be seen", "All is {colour}."), (r"has just changed", "It turned {colour}."))


@dataclass
class Written:
    """A stream whose diary is written, and what the engine was asked for it."""

    writer: DiaryWriter
    diary: StreamDiary
    engine: EngineSupervisor
    clock: ManualClock
    metrics: Metrics
    asked: list[Question] = field(default_factory=list)
    asked_at_s: list[float] = field(default_factory=list)
    """Clock times of the same."""
    is_strained: bool = False
    num_clips: int = 0

    async def clip(self, colour: Any) -> Clip:
        """The stream's next clip, a second after the one before, which the engine has seen."""
        index, self.num_clips = self.num_clips, self.num_clips + 1
        frame = Frame(index, float(index), 0.0, _pixels(colour))
        clip = Clip(DOOR, index, (frame, frame))
        await self.engine.ingest(clip)
        return clip

    async def see(self, *colours: Any) -> None:
        for colour in colours:
            clip = await self.clip(colour)
            await self.writer.see(clip, clip.start_s)

    async def show(self, *colours: Any) -> None:
        for colour in colours:
            clip = await self.clip(colour)
            self.writer.on_clip(clip, clip.start_s)

    async def told(self) -> list[tuple[float, str]]:
        query = DiaryQuery(start_s=0.0, end_s=1e9, levels=(Level.SCENE,), limit=100)
        return [(one.start_s, one.text) for one in await self.diary.find(query)]

    def counted(self, outcome: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "onlooker_diary_sentences_total", {"outcome": outcome}
        )
        return value or 0.0


def _pixels(colour: Any) -> Pixels:
    return colour if isinstance(colour, np.ndarray) else make_pixels(colour)


@asynccontextmanager
async def writing(
    *,
    is_live: bool = False,
    ttft_s: float = 0.0,
    script: Sequence[tuple[str, str]] = SCRIPT,
    wording: Wording = DEFAULT_WORDING,
    **settings: Any,
) -> AsyncIterator[Written]:
    clock, metrics, section = ManualClock(), Metrics(), DiarySection(**settings)
    asked, asked_at_s = list[Question](), list[float]()

    def note(question: Question) -> bool:
        asked.append(question)
        asked_at_s.append(clock.now_s())
        return False

    info = replace(ScriptedEngine().info, wording=wording)
    scripted = ScriptedEngine(script, clock, info=info, ttft_s=ttft_s, fail_answer=note)
    engine = EngineSupervisor(
        scripted, clock=clock, settings=RestartSection(), metrics=metrics, claim_of=lambda _: None
    )
    await engine.start(lambda line: None)
    await engine.open_stream(DOOR)
    keeper = DiaryKeeper(open_diary(section, None), settings=section, clock=clock, metrics=metrics)
    diary = StreamDiary(DOOR, keeper, is_forgotten=lambda start_s, end_s: False)
    with ThreadPoolExecutor(1) as pool:
        writer = DiaryWriter(
            DOOR,
            diary,
            engine=engine,
            clock=clock,
            pool=pool,
            is_strained=lambda: written.is_strained,
            wall=WallClock(is_known=False),
            is_live=is_live,
        )
        written = Written(writer, diary, engine, clock, metrics, asked, asked_at_s)
        try:
            yield written
        finally:
            await keeper.close()
            await engine.close()


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator["asyncio.Task[None]"]:
    """Work that goes on beside the block, and is cancelled at its end where it is not done."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def with_square(colour: str = "red") -> Pixels:
    """A plain picture with something blue in it: a change, and no other scene."""
    pixels = make_pixels(colour).copy()
    pixels[:60, :60] = (0, 0, 255)
    return pixels


async def test_a_change_that_is_another_scene_is_told_by_what_is_to_be_seen() -> None:
    script = (
        (r"to be seen", "Seen at {seen_until_s:.0f}."),
        (r"just changed", "The scene changed."),
    )
    async with writing(script=script) as written:
        await written.see("red", with_square())
        await written.writer.settle()
        assert (await written.told())[1:] == [(1.0, "Seen at 1.")]


async def test_what_the_model_is_not_sure_has_changed_is_told_by_what_is_to_be_seen() -> None:
    script = (
        (r"to be seen", "Seen at {seen_until_s:.0f}."),
        (r"has just changed", "A pink cat came in."),
    )
    for sure, told in ((0.0, "A pink cat came in."), (0.999, "Seen at 1.")):
        wording = replace(DEFAULT_WORDING, sure_commentary=sure)
        async with writing(script=script, wording=wording) as written:
            await written.see("red", with_square())
            await written.writer.settle()
            assert (await written.told())[-1] == (1.0, told)


@pytest.mark.parametrize("said", ["A pink cat came in.", "nothing"])
@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ("{seen_until_s:.0f} blue box", "1 blue box"),
        ("{seen_until_s:.0f} box", "1 box. Something blue appeared"),
    ],
)
async def test_a_colour_that_came_and_is_not_named_is_told(said: str, seen: str, told: str) -> None:
    script = ((r"to be seen", seen), (r"has just changed", said))
    wording = replace(DEFAULT_WORDING, names_colors=True)
    async with writing(script=script, wording=wording) as written:
        await written.see("grey", with_square("grey"))
        await written.writer.settle()
        assert (await written.told())[-1] == (1.0, told)


async def test_what_names_the_colour_that_came_is_believed() -> None:
    script = ((r"to be seen", "Grey."), (r"has just changed", "A Blue box came in."))
    wording = replace(DEFAULT_WORDING, names_colors=True)
    async with writing(script=script, wording=wording) as written:
        await written.see("grey", with_square("grey"))
        await written.writer.settle()
        assert (await written.told())[-1] == (1.0, "A Blue box came in.")


@pytest.mark.parametrize(("pause", "told"), [(" ...", []), (None, ["..."])])
async def test_a_piece_of_commentary_that_is_only_the_models_pause_is_no_sentence(
    pause: str | None, told: list[str]
) -> None:
    script = ((r"to be seen", "Grey."), (r"has just changed", "..."))
    wording = replace(DEFAULT_WORDING, pause=pause)
    async with writing(script=script, wording=wording) as written:
        await written.see("grey", with_square("grey"))
        await written.writer.settle()
        assert [text for _, text in await written.told()] == ["Grey.", *told]


async def test_sentences_are_asked_for_together() -> None:
    async with writing(max_together=3, ttft_s=1.0) as written:
        await written.see("red", "blue")
        assert written.asked == []
        async with running(written.see("green")):
            await until(lambda: len(written.asked) == 3)  # and none of them is answered yet
            assert [one.asked_s for one in written.asked] == [0.0, 1.0, 2.0]


async def test_each_is_written_about_its_own_clip_however_late() -> None:
    async with writing(max_together=8) as written:
        await written.see("red", "blue", "blue", "green")
        assert await written.told() == []
        await written.writer.settle()
        assert await written.told() == [
            (0.0, "All is red."),
            (1.0, "All is blue."),
            (3.0, "All is green."),
        ]


async def test_sentences_of_a_period_are_written_before_it_is_summed_up() -> None:
    async with writing() as written:
        await written.see("red")
        written.num_clips = 900
        await written.see("red")
        assert await written.told() == [(0.0, "All is red.")]


async def test_live_changes_are_gathered_until_the_next_beat() -> None:
    async with writing(is_live=True, gather_s=10.0) as written, running(written.writer.run()):
        written.clock.advance(13.0)
        await written.show("red", "blue")
        await until(lambda: written.writer.num_due == 2)

        def goes_by() -> bool:
            written.clock.advance(0.25)
            return written.counted("written") == 2

        await until(goes_by)
        assert written.asked_at_s[0] == written.asked_at_s[1] >= 20.0
        tickets = [one.care.ticket for one in written.asked]
        assert {one and one.request_class for one in tickets} == {RequestClass.BACKGROUND}


async def test_who_reads_does_not_wait_for_the_beat() -> None:
    async with writing(is_live=True, gather_s=600.0) as written, running(written.writer.run()):
        await written.show("red")
        await until(lambda: written.writer.num_due == 1)
        await written.writer.settle()
        assert await written.told() == [(0.0, "All is red.")]


async def test_a_reader_waits_briefly_for_a_slow_model() -> None:
    async with (
        writing(is_live=True, gather_s=600.0, ttft_s=60.0) as written,
        running(written.writer.run()),
    ):
        await written.show("red")
        await until(lambda: written.writer.num_due == 1)
        async with running(written.writer.settle()) as settling:
            await until(lambda: len(written.asked) == 1)

            def goes_by() -> bool:
                written.clock.advance(0.01)
                return settling.done()

            await until(goes_by)
            assert await written.told() == []


async def test_under_load_nothing_is_asked_and_the_next_sentence_says_what_is_there() -> None:
    async with writing(is_live=True, gather_s=0.0) as written, running(written.writer.run()):
        written.is_strained = True
        await written.show("red")
        await until(lambda: written.counted("skipped") == 1)
        assert written.asked == []
        written.is_strained = False
        await written.show("red")
        await until(lambda: written.counted("written") == 1)
        assert await written.told() == [(1.0, "All is red.")]


async def test_load_that_comes_while_changes_are_gathered_leaves_them_out() -> None:
    async with writing(is_live=True, gather_s=10.0) as written, running(written.writer.run()):
        await written.show("red")
        await until(lambda: written.writer.num_due == 1)
        written.is_strained = True

        def goes_by() -> bool:
            written.clock.advance(0.25)
            return written.counted("skipped") == 1

        await until(goes_by)
        assert written.asked == []


async def test_more_changes_a_minute_than_may_be_are_told_by_the_next_sentence() -> None:
    async with writing(max_per_minute=2, max_together=1) as written:
        await written.see("red", "blue", "green", "green")
        assert written.counted("skipped") == 2
        written.num_clips = 60
        await written.see("green")
        assert await written.told() == [
            (0.0, "All is red."),
            (1.0, "All is blue."),
            (60.0, "All is green."),
        ]


async def test_what_is_deleted_before_it_is_written_is_never_asked_about() -> None:
    async with writing() as written:
        await written.see("red", "blue", "green")
        written.writer.forget(0.5, 1.5)
        await written.writer.settle()
        assert [one.asked_s for one in written.asked] == [0.0, 2.0]


async def test_a_stream_that_ends_and_is_kept_is_written_to_its_end() -> None:
    async with writing(is_live=True, gather_s=600.0) as written:
        async with running(written.writer.run()):
            await written.show("red")
            await until(lambda: written.writer.num_due == 1)
        await written.writer.close()
        assert await written.told() == [(0.0, "All is red.")]
