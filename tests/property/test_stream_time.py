"""The virtual clock's promise and causality, for any frames, pauses and interleavings."""

import asyncio
import random
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.core.clock import ManualClock
from onlooker.core.media import Codec, EncodedFrame
from onlooker.engine.fake import ScriptedEngine
from onlooker.streams.hub import StreamHub
from onlooker.streams.stream import Stream, StreamOptions
from tests.fakes.pictures import encode_chunks, make_message
from tests.fakes.streams import SMALL, ask, driven, running_hub
from tests.fakes.waiting import until

COLOURS = [(220, 30, 30), (226, 36, 30), (30, 200, 40), (250, 250, 250)]
"""The first two are alike enough to be near-duplicates."""


@dataclass(frozen=True)
class Shot:
    """A frame to be sent, and whether a question follows it."""

    capture_s: float
    colour: tuple[int, int, int]
    is_asked: bool


@st.composite
def scripts(draw: st.DrawFn, *, max_size: int = 16) -> list[Shot]:
    gaps = draw(st.lists(st.sampled_from([0.03, 0.1, 0.3, 0.5, 0.7, 1.0, 4.0]), max_size=max_size))
    shots, now_s = [], 0.0
    for gap_s in gaps:
        now_s += gap_s
        colour = draw(st.sampled_from(COLOURS))
        shots.append(Shot(round(now_s, 3), colour, draw(st.booleans())))
    return shots


async def play(shots: list[Shot], *, seed: int) -> list[str]:
    """Send `shots` on the virtual clock at a pace that `seed` decides; the answers, in order."""
    pace = random.Random(seed)
    clock = ManualClock()
    engine = ScriptedEngine(
        clock=clock,
        info=SMALL,
        ingest_s=pace.choice([0.0, 0.3, 7.0]),
        ttft_s=pace.choice([0.0, 2.0]),
        tpot_s=pace.choice([0.0, 0.4]),
    )
    async with running_hub(
        engine=engine, clock=clock, mailbox_frames=pace.choice([1, 2, 8]), stream_idle_s=1e9
    ) as hub:
        stream = await hub.open_stream(options=StreamOptions(clock="virtual"))
        asking: list[asyncio.Task[str]] = []

        async def send() -> None:
            for shot in shots:
                push = asyncio.ensure_future(
                    stream.push_wait(make_message(shot.capture_s, colour=shot.colour))
                )
                await asyncio.sleep(0)  # it stands in the line now, looked at or not
                if pace.random() < 0.5:
                    await push
                if shot.is_asked:
                    await push
                    asking.append(asyncio.ensure_future(ask(stream, "digest")))
                    await asyncio.sleep(0)
                    await until(lambda: sum(not task.done() for task in asking) < 4)
                await push
                for _ in range(pace.randrange(4)):
                    await asyncio.sleep(0)

        await driven(clock, send(), step_s=pace.choice([0.01, 0.5, 5.0]))
        return [await driven(clock, task, step_s=0.5) for task in asking]


@settings(max_examples=25)
@given(scripts(), st.integers(0, 1 << 16), st.integers(0, 1 << 16))
def test_the_same_input_gives_the_same_answers_at_any_speed(
    shots: list[Shot], seed: int, other_seed: int
) -> None:
    assert asyncio.run(play(shots, seed=seed)) == asyncio.run(play(shots, seed=other_seed))


async def filled(hub: StreamHub, shots: list[Shot], *, clock: str) -> Stream:
    stream = await hub.open_stream(options=StreamOptions(clock=clock))  # type: ignore[arg-type]
    for shot in shots:
        await stream.push_wait(arriving(hub, shot))
    return stream


def arriving(hub: StreamHub, shot: Shot) -> EncodedFrame:
    return make_message(shot.capture_s, colour=shot.colour, received_at_s=hub._clock.now_s())


@settings(max_examples=40)
@given(
    scripts(),
    scripts(max_size=5),
    st.floats(0, 10, allow_nan=False),
    st.sampled_from(["live", "virtual"]),
)
def test_no_frame_captured_later_changes_an_answer(
    shots: list[Shot], other: list[Shot], at_s: float, clock: str
) -> None:
    """Later frames are taken away, replaced by others, or there before the question: no matter."""
    early = [shot for shot in shots if shot.capture_s <= at_s]
    later = [Shot(at_s + 0.001 + shot.capture_s, shot.colour, is_asked=False) for shot in other]

    async def answers() -> list[str]:
        async with running_hub(clock=ManualClock(), max_ask_wait_s=100, max_fps=1000) as hub:
            texts = []
            for script in (early, shots, early + later):
                stream = await filled(hub, script, clock=clock)
                texts.append(await driven_ask(hub, stream, at_s))
            asked_first = await filled(hub, early, clock=clock)
            texts.append(await driven_ask(hub, asked_first, at_s))
            for shot in later:
                await asked_first.push_wait(arriving(hub, shot))
            texts.append(await driven_ask(hub, asked_first, at_s))
            return texts

    assert len(set(asyncio.run(answers()))) == 1


async def driven_ask(hub: StreamHub, stream: Stream, at_s: float) -> str:
    clock = hub._clock
    assert isinstance(clock, ManualClock)
    return await driven(clock, ask(stream, "digest", at_s=at_s), step_s=0.5)


@settings(max_examples=25)
@given(scripts(), st.sets(st.integers(0, 15)))
def test_questions_do_not_change_what_is_remembered(shots: list[Shot], asked: set[int]) -> None:
    async def final(with_questions: bool) -> str:
        async with running_hub() as hub:
            stream = await hub.open_stream(options=StreamOptions(clock="virtual"))
            for index, shot in enumerate(shots):
                await stream.push_wait(make_message(shot.capture_s, colour=shot.colour))
                if with_questions and index in asked:
                    await ask(stream, "anything")
            return await ask(stream, "digest")

    assert asyncio.run(final(True)) == asyncio.run(final(False))


@settings(max_examples=15)
@given(st.integers(1, 39), st.floats(0, 4))
def test_coded_video_keeps_the_same_promise(num_sent: int, at_s: float) -> None:
    chunks = VP8_CHUNKS

    async def answers() -> set[str]:
        async with running_hub() as hub:
            texts = set()
            for num in (max(num_sent, int(at_s * 10) + 1), 40):
                stream = await hub.open_stream(options=StreamOptions(clock="virtual"))
                for index, chunk in enumerate(chunks[:num]):
                    await stream.push_wait(make_message(index / 10, codec=Codec.VP8, payload=chunk))
                texts.add(await ask(stream, "digest", at_s=at_s))
            return texts

    assert len(asyncio.run(answers())) == 1


VP8_CHUNKS = encode_chunks("libvpx", 40)


DISTINCT = {"red": (220, 30, 30), "green": (30, 180, 50), "blue": (40, 60, 220)}
HOLD_S = 2.0


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.5, 1.0, 2.0, 4.0]), st.sampled_from([*DISTINCT])),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from([0.0, 0.25, 3.0]),
)
def test_a_question_about_any_time_is_answered_from_what_was_seen_then(
    shots: list[tuple[float, str]], later_s: float
) -> None:
    """Each picture stands for what was there until the next one comes, for two seconds at most,
    whether it was kept or is nearly the same as one that was."""
    looks: list[tuple[float, str]] = []
    for gap_s, colour in shots:
        looks.append((gap_s + (looks[-1][0] if looks else 0.0), colour))
    asked_s = looks[-1][0] + later_s

    def seen(second: int) -> list[str]:
        """The colours from this second until the next, one after the other."""
        end_s, found = min(second + 1.0, asked_s), list[str]()
        for (time_s, colour), (next_s, _) in zip(looks, [*looks[1:], (1e9, "")], strict=True):
            until_s = min(next_s, time_s + HOLD_S)
            if time_s < end_s and until_s > second and found[-1:] != [colour]:
                found.append(colour)
        return found

    async def scenario() -> None:
        async with running_hub(clock=ManualClock(), stream_idle_s=1e9) as hub:
            stream = await hub.open_stream(options=StreamOptions(clock="virtual"))
            for time_s, name in looks:
                await stream.push_wait(make_message(time_s, colour=DISTINCT[name]))
            for second in range(int(asked_s) + 1):
                text = await ask(stream, f"Which colours at {second} seconds?", at_s=asked_s)
                if second == asked_s:  # nothing has passed of it yet
                    continue
                colours = seen(second)
                expected = f"I have seen these colours: {', '.join(colours)}."
                assert text == (expected if colours else "I can't tell."), (second, looks)

    asyncio.run(scenario())
