"""Both vLLM engines keep the `Engine` contract on real vLLM, processes and all."""

import asyncio
import contextlib
import math
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

from onlooker import demo_model
from onlooker.core.clock import SystemClock
from onlooker.core.errors import ConfigError, EngineDead, TooLarge
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.core.metrics import Metrics
from onlooker.engine.checks import Check
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.interface import (
    AnswerDelta,
    AnswerEnd,
    Engine,
    EvidenceSource,
    FinishReason,
    Question,
)
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.sampling import Sampling
from onlooker.engine.vllm_adapter.engine import make_engine

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

MODEL = os.environ.get("ONLOOKER_TEST_MODEL", str(Path(demo_model.__path__[0]) / "weights"))
Mode = Literal["resend", "segments"]
Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """One event loop for all tests of this file: the engine's tasks live on it."""
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    with asyncio.Runner() as runner:

        async def awaited(awaitable: Awaitable[Any]) -> Any:
            return await awaitable

        yield lambda awaitable: runner.run(awaited(awaitable))


@pytest.fixture(scope="module", params=get_args(Mode))
def engine(request: pytest.FixtureRequest, run: Run) -> Iterator[Engine]:
    settings = EngineSection(
        model=MODEL,
        mode=request.param,
        window_clips=8,
        memory=MemorySection(recent_clips=4, retrieved_clips=2),
        vllm=VllmSection(max_model_len=1024),
    )
    engine = make_engine(settings, SystemClock(), Metrics())
    run(engine.start(lambda line: None))
    yield engine
    run(engine.close())


def make_clip(stream: str, index: int) -> Clip:
    from tests.vllm.in_process import frames

    first, second = (
        Frame(2 * index + k, index + 0.5 * k, 0.0, pixels) for k, pixels in enumerate(frames(index))
    )
    return Clip(StreamId(stream), index, (first, second))


async def open_with_clips(engine: Engine, stream: str, num_clips: int) -> None:
    await engine.open_stream(StreamId(stream))
    for index in range(num_clips):
        await engine.ingest(make_clip(stream, index))


def question(stream: str, text: str, **options: Any) -> Question:
    options = {"asked_s": 1e6, "max_tokens": 8, **options}
    return Question(text=text, stream_id=StreamId(stream), **options)


async def ask(engine: Engine, asked: Question) -> tuple[str, AnswerEnd]:
    events = [event async for event in engine.answer(asked)]
    end = events[-1]
    assert isinstance(end, AnswerEnd)
    assert sum(isinstance(event, AnswerEnd) for event in events) == 1
    return "".join(event.text for event in events if isinstance(event, AnswerDelta)), end


async def ask_until_refused(engine: Engine) -> None:
    for _ in range(100):
        await ask(engine, question("killed", "Still there?"))


def test_a_clip_costs_only_what_is_new(engine: Engine, run: Run) -> None:
    async def scenario() -> None:
        await open_with_clips(engine, "costs", 3)
        result = await engine.ingest(make_clip("costs", 3))
        computed = result.num_tokens - result.num_cached_tokens
        block = 32  # resend finds whole blocks only
        assert computed <= engine.info.tokens_per_clip + block

    run(scenario())


def test_an_answer_ends_once_and_says_what_it_saw(engine: Engine, run: Run) -> None:
    async def scenario() -> None:
        await open_with_clips(engine, "ends", 3)
        _, end = await ask(engine, question("ends", "How many objects are there?"))
        assert end.finish_reason in (FinishReason.STOP, FinishReason.LENGTH)
        assert end.clip_spans_s == ((0.0, 2.5),)
        assert not end.memory_incomplete

    run(scenario())


def picture(index: int) -> Clip:
    """A picture that comes with a question: in no stream, and with an index below zero."""
    from tests.vllm.in_process import frames

    frame = Frame(0, 0.0, 0.0, frames(index)[0])
    return Clip(StreamId("pictures"), -1 - index, (frame, frame))


@pytest.mark.parametrize("num_clips", [0, 2])
def test_pictures_that_come_with_a_question_are_seen(
    engine: Engine, run: Run, num_clips: int
) -> None:
    async def scenario() -> list[tuple[str, AnswerEnd]]:
        stream = f"pictures-{num_clips}"
        await open_with_clips(engine, stream, num_clips)
        asked = question(stream, "What is there?", max_tokens=40)
        pictures = (picture(30), picture(60))
        return [await ask(engine, replace(asked, images=pictures[:n])) for n in range(3)]

    (_, none), (one_text, one), (two_text, two) = run(scenario())
    assert one_text
    assert two_text
    tokens = [end.num_prompt_tokens for end in (none, one, two)]
    assert tokens == sorted(set(tokens)), "each picture is part of the prompt"
    assert one.finish_reason in (FinishReason.STOP, FinishReason.LENGTH)


def test_an_answer_about_a_time_rests_on_nothing_later(engine: Engine, run: Run) -> None:
    async def scenario() -> None:
        await open_with_clips(engine, "short", 3)
        await open_with_clips(engine, "long", 6)
        asked = "What colour is the circle?"
        before, _ = await ask(engine, question("short", asked, asked_s=2.5))
        later, end = await ask(engine, question("long", asked, asked_s=2.5))
        assert later == before
        assert end.clip_spans_s[-1][1] <= 2.5

    run(scenario())


def test_an_answer_ends_before_a_stop_and_tells_its_tokens(engine: Engine, run: Run) -> None:
    async def scenario() -> None:
        await open_with_clips(engine, "stops", 3)
        asked = question("stops", "What is there?", max_tokens=20)
        whole, _ = await ask(engine, asked)
        word = whole.split()[1]
        cut, end = await ask(engine, replace(asked, sampling=Sampling(stop=(word,))))
        assert cut == whole.partition(word)[0]
        assert end.finish_reason is FinishReason.STOP
        told = replace(asked, sampling=Sampling(num_alternatives=2))
        deltas = [d async for d in engine.answer(told) if isinstance(d, AnswerDelta)]
        chances = [chance for delta in deltas for chance in delta.chances]
        assert "".join(chance.text for chance in chances).strip().startswith(whole.split()[0])
        for chance in chances:  # the likeliest words are taken
            assert chance.alternatives[0] == (chance.text, chance.logprob)
            assert len(chance.alternatives) == 2

    run(scenario())


def test_a_seed_gives_the_same_words_again(engine: Engine, run: Run) -> None:
    async def scenario() -> None:
        await open_with_clips(engine, "seeds", 3)
        asked = question("seeds", "What is there?", max_tokens=20)
        drawn = []
        for seed in (1, 1, 2, 3, 4):
            sampling = Sampling(temperature=2.0, seed=seed, ignores_end=True)
            drawn.append((await ask(engine, replace(asked, sampling=sampling)))[0])
        assert drawn[0] == drawn[1]
        assert len(set(drawn)) > 1

    run(scenario())


def test_a_model_whose_template_tells_no_functions_says_so(engine: Engine) -> None:
    assert not engine.info.calls_functions


def test_a_full_window_goes_on(engine: Engine, run: Run) -> None:
    async def scenario() -> None:
        await open_with_clips(engine, "full", 20)
        _, end = await ask(engine, question("full", "What was there at 3 seconds?"))
        if engine.info.mode == "resend":
            assert end.clip_spans_s[-1][1] == 19.5
        if engine.info.mode == "segments":
            assert end.clip_spans_s == ((3.0, 4.0),)  # the named second, long out of the window
            assert end.retrieved_spans_s == end.clip_spans_s

    run(scenario())


def test_an_answer_says_what_it_rested_on_and_where_that_lay(engine: Engine, run: Run) -> None:
    async def scenario() -> None:
        await open_with_clips(engine, "based", 12)
        _, end = await ask(engine, question("based", "Was there ever a red circle?"))
        if engine.info.mode == "resend":
            assert (end.evidence, end.fetched_bytes, end.fetched_ratio) == ((), {}, None)
            return
        recent = [e for e in end.evidence if e.source is EvidenceSource.RECENT]
        assert [(e.start_s, e.end_s, e.tier) for e in recent] == [(8.0, 11.5, "device")]
        older = [e for e in end.evidence if e.source is EvidenceSource.RETRIEVED]
        assert tuple((e.start_s, e.end_s) for e in older) == end.retrieved_spans_s
        assert end.fetched_ratio is not None
        # Two clips a layer, of twelve: at least two in all, at most two for each of five layers.
        assert 2 / 12 <= end.fetched_ratio <= 8 / 12
        clip_bytes = end.fetched_bytes["device"] / (12 * end.fetched_ratio)
        _, end = await ask(engine, question("based", "What was there at 3 seconds?"))
        (named,) = end.evidence
        assert (named.start_s, named.source, named.tier) == (3.0, EvidenceSource.NAMED, "device")
        assert end.fetched_bytes == {"device": pytest.approx(clip_bytes)}
        assert end.fetched_ratio == pytest.approx(1 / 12)

    run(scenario())


def test_a_cancelled_answer_leaves_the_engine_well(engine: Engine, run: Run) -> None:
    async def scenario() -> None:
        await open_with_clips(engine, "cancel", 2)
        events = engine.answer(question("cancel", "What is there?", max_tokens=500))
        assert isinstance(events, AsyncIterator)
        async for _ in events:
            break
        await events.aclose()  # type: ignore[attr-defined]  # an async generator, as all are here
        await ask(engine, question("cancel", "What is there?"))

    run(scenario())


def test_streams_do_not_see_each_other(engine: Engine, run: Run) -> None:
    async def scenario() -> None:
        await open_with_clips(engine, "one", 4)
        await engine.open_stream(StreamId("empty"))
        _, end = await ask(engine, question("empty", "What is there?"))
        assert end.clip_spans_s == ()

    run(scenario())


def test_many_questions_at_once_are_all_answered(engine: Engine, run: Run) -> None:
    async def scenario() -> None:
        await open_with_clips(engine, "many", 6)
        asked = [question("many", "How many objects are there?") for _ in range(6)]
        answers = await asyncio.gather(*(ask(engine, one) for one in asked))
        assert len({text for text, _ in answers}) == 1

    run(scenario())


def test_a_question_of_ten_thousand_words_is_refused_and_costs_nobody_else(
    engine: Engine, run: Run
) -> None:
    async def scenario() -> None:
        await open_with_clips(engine, "words", 2)
        with pytest.raises(TooLarge, match="ask more briefly"):
            await ask(engine, question("words", "circle " * 10_000))
        await ask(engine, question("words", "What is there?"))

    run(scenario())


def test_a_closed_stream_is_forgotten(engine: Engine, run: Run) -> None:
    async def scenario() -> None:
        await open_with_clips(engine, "closed", 3)
        await engine.close_stream(StreamId("closed"))
        await engine.close_stream(StreamId("closed"))
        await engine.open_stream(StreamId("closed"))
        _, end = await ask(engine, question("closed", "What is there?"))
        assert end.clip_spans_s == ()

    run(scenario())


def test_a_folder_without_weights_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        make_engine(EngineSection(model=str(tmp_path)), SystemClock(), Metrics())


def test_a_way_of_running_that_cannot_remember_is_refused_before_the_model_is_loaded(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_USE_BREAKABLE_CUDAGRAPH", "1")
    engine = make_engine(EngineSection(model=MODEL), SystemClock(), Metrics())
    with pytest.raises(ConfigError, match="VLLM_USE_BREAKABLE_CUDAGRAPH=1"):
        run(engine.start(lambda message: None))
    run(engine.close())


# ---- checks ----


def make_check(stream: str, text: str, **options: Any) -> Check:
    options = {"asked_s": 1e6, **options}
    return Check(StreamId(stream), text, **options)


YES_NO = (("yes", "Yes"), ("no", "No"))


def test_a_check_reads_how_the_reply_would_begin(engine: Engine, run: Run) -> None:
    async def scenario() -> None:
        await open_with_clips(engine, "checked", 5)
        asked = "Is there a red circle?"
        result = await engine.check(make_check("checked", asked, answers=YES_NO))
        text, _ = await ask(engine, question("checked", asked, max_tokens=1))
        said = result.best_answer
        assert said is not None
        assert text.strip().lower() in YES_NO[said]
        assert result.best == pytest.approx(max(result.logprobs), abs=1e-6)
        assert result.num_prompt_tokens - result.num_cached_tokens <= 60

    run(scenario())


def test_a_given_reply_is_scored_as_if_it_had_been_generated(engine: Engine, run: Run) -> None:
    """One pass over the reply must equal one check for each of its words."""

    async def scenario() -> None:
        await open_with_clips(engine, "scored", 5)
        words = ["the", "red", "circle", "left"]
        for asked_s in (1e6, 2.5):
            check = make_check("scored", "What just changed?", given=" ".join(words))
            scored = await engine.check(replace(check, asked_s=asked_s))
            assert scored.perplexity is not None
            again = await engine.check(replace(check, asked_s=asked_s))
            assert again.perplexity == pytest.approx(scored.perplexity, rel=1e-4)
            first = await engine.check(
                make_check("scored", check.text, answers=((words[0],),), asked_s=asked_s)
            )
            single = await engine.check(replace(check, asked_s=asked_s, given=words[0]))
            assert single.perplexity == pytest.approx(math.exp(-first.logprobs[0]), rel=1e-3)

    run(scenario())


def test_a_check_about_a_time_sees_nothing_later(engine: Engine, run: Run) -> None:
    async def scenario() -> None:
        await open_with_clips(engine, "then", 3)
        await open_with_clips(engine, "since", 6)
        asked = {"answers": YES_NO, "asked_s": 2.5}
        then = await engine.check(make_check("then", "Is there a red circle?", **asked))
        since = await engine.check(make_check("since", "Is there a red circle?", **asked))
        assert since.logprobs == pytest.approx(then.logprobs, abs=1e-4)

    run(scenario())


def test_many_checks_leave_later_answers_as_they_were(engine: Engine, run: Run) -> None:
    async def scenario() -> None:
        await open_with_clips(engine, "left", 4)
        await open_with_clips(engine, "alone", 4)
        checks = [make_check("left", f"Is there a {c} circle?", answers=YES_NO) for c in COLOURS]
        given = [make_check("left", "What just changed?", given="a red circle")]
        await asyncio.gather(*(engine.check(check) for check in checks + given))
        for stream in ("left", "alone"):
            await engine.ingest(make_clip(stream, 4))
        texts = [await ask(engine, question(s, "What do you see?")) for s in ("left", "alone")]
        assert texts[0][0] == texts[1][0]

    run(scenario())


COLOURS = ("red", "green", "blue", "yellow")


def test_a_killed_engine_process_is_noticed(engine: Engine, run: Run) -> None:
    """The last test: it ends the engine."""
    import multiprocessing

    async def scenario() -> None:
        await open_with_clips(engine, "killed", 1)
        for child in multiprocessing.active_children():
            if child.pid is not None and "EngineCore" in child.name:
                os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(EngineDead):
            await ask_until_refused(engine)
        assert not engine.healthy()
        with contextlib.suppress(EngineDead):
            await engine.close_stream(StreamId("killed"))

    run(scenario())
