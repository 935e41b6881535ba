"""`ResendEngine`: the stock vLLM engine, given the recent frames again with every request.

This is the honest rival of stream memory and the mode for models whose memory is not plain
attention KV: the same server, vLLM's prefix cache on, and a window that drops a stride of clips at
a time so that the cache is hit (`onlooker.engine.memory.window`). It forgets what left the window.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onlooker.cache_store.leases import Claim
from onlooker.core.clock import Clock
from onlooker.core.errors import EngineFailed, InvalidRequest, TooLarge
from onlooker.core.ids import StreamId, new_id
from onlooker.core.media import Clip, Cover
from onlooker.core.metrics import Metrics
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.config import EngineSection
from onlooker.engine.interface import (
    AnswerEvent,
    EngineInfo,
    Forgotten,
    IngestResult,
    Progress,
    Question,
    Remembered,
    Stock,
    Waiting,
)
from onlooker.engine.memory.retelling import Retelling, retold
from onlooker.engine.memory.said_times import TimesInView
from onlooker.engine.memory.shown import (
    ShownClip,
    before_until_s,
    cover_until_s,
    in_turn,
    spans_s,
    waiting,
)
from onlooker.engine.memory.times import Now
from onlooker.engine.memory.window import RecentWindow
from onlooker.engine.shared_core import SharedCore
from onlooker.engine.vllm_adapter.gateway import boot, sampling
from onlooker.engine.vllm_adapter.gateway.answer_reader import AnswerReader
from onlooker.engine.vllm_adapter.gateway.checks import answer_tokens, check_result, count_check
from onlooker.engine.vllm_adapter.gateway.composer import PromptComposer
from onlooker.engine.vllm_adapter.gateway.model_folder import Model, find_model
from onlooker.engine.vllm_adapter.gateway.outcome import RequestOutcome, count_times
from onlooker.engine.vllm_adapter.gateway.runner import VllmRunner
from onlooker.scheduler.load import EngineLoad


@dataclass(slots=True)
class _StreamState:
    """What resend mode remembers of a stream."""

    salt: str
    """The cache salt, which keeps one stream's cached KV from ever being served to another."""
    clips: Sequence[Clip] = ()
    """The recent window, oldest first."""
    window: RecentWindow[Clip] = field(default_factory=RecentWindow)
    covers: dict[int, float] = field(default_factory=dict)
    """Where the covers of the window's clips end, by clip index; those that are not known are left
    out."""

    def shown(self, clips: Sequence[Clip], asked_s: float) -> list[ShownClip]:
        """Clips of this stream as a context of stream time `asked_s` shows them."""
        covers = self.covers
        return [
            ShownClip.pictured(clip, covers.get(clip.clip_index, clip.end_s), asked_s)
            for clip in clips
        ]

    def cover(self, covers: Iterable[Cover]) -> None:
        """Note how long clips stand for what was there."""
        known = {clip.clip_index for clip in self.clips}
        found = {index: until_s for index, until_s in self.covers.items() if index in known}
        for cover in covers:
            if cover.clip_index in known:
                until_s = found.get(cover.clip_index, cover.until_s)
                found[cover.clip_index] = max(until_s, cover.until_s)
        self.covers = found

    def until(self, time_s: float) -> list[Clip]:
        """The clips as far as they had been captured by stream time `time_s`, which is what an
        answer may know.

        A clip that this time cuts in two shows its first frame only.
        """
        return [part for clip in self.clips if (part := clip.until(time_s)) is not None]


class ResendEngine:
    """An `onlooker.engine.interface.Engine` on an unmodified vLLM."""

    def __init__(
        self,
        settings: EngineSection,
        clock: Clock,
        metrics: Metrics,
        core: SharedCore | None = None,
    ) -> None:
        """`core`: the engine core of several gateways; None starts one of this gateway's own."""
        self._settings = settings
        self._metrics = metrics
        self._runner = VllmRunner(settings.vllm, clock, metrics, core)
        self._streams: dict[StreamId, _StreamState] = {}
        self._composer: PromptComposer | None = None
        self._info: EngineInfo | None = None
        self._window_clips = 0
        self._retelling = Retelling.REMARK

    @property
    def info(self) -> EngineInfo:
        assert self._info is not None, "the engine has not been started"
        return self._info

    async def recipe(self) -> boot.Recipe:
        """What vLLM is started with.

        Raises:
            ConfigError: the model cannot be found.
        """
        settings = self._settings
        model = await asyncio.to_thread(
            find_model, settings.model, served_name=settings.served_model_name
        )
        self._window_clips = settings.window_clips or model.profile.window_clips
        self._retelling = model.profile.retelling
        arguments = {
            "enable_prefix_caching": True,
            "mm_processor_cache_gb": settings.vllm.processor_cache_gib,
            "limit_mm_per_prompt": {
                # One more for the frame that waits for its partner.
                "video": self._window_clips + 1 + settings.max_question_images,
                "image": 0,
            },
        }
        return boot.Recipe(model, arguments)

    async def start(self, progress: Progress) -> None:
        settings, recipe = self._settings, await self.recipe()
        model = recipe.model
        await self._runner.start(recipe, progress)
        self._composer = PromptComposer(
            self._runner.tokenizer,
            instructions=model.profile.instructions,
            family=model.family,
        )
        progress("looking at two blank clips to warm up")
        self._info = model.info(
            mode="resend",
            tokens_per_clip=await self._measure_clip(model),
            max_clips=self._window_clips,
            max_images=settings.max_question_images,
            writes_json=sampling.writes_json(self._runner.tokenizer),
            calls_functions=self._composer.takes_functions,
        )

    async def close(self) -> None:
        await self._runner.close()

    def healthy(self) -> bool:
        return self._runner.healthy()

    def load(self) -> EngineLoad:
        return EngineLoad()  # stock vLLM does not tell its load

    async def open_stream(self, stream_id: StreamId, claim: Claim | None = None) -> Remembered:
        self._streams[stream_id] = _StreamState(_new_salt(stream_id))
        return Remembered()

    async def close_stream(self, stream_id: StreamId, *, forget: bool = True) -> None:
        self._streams.pop(stream_id, None)

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        state = self._streams[clip.stream_id]
        state.cover([Cover(clip.clip_index - 1, before_until_s(clip))])
        max_clips = self._window_clips
        before = state.window.before_next(
            state.clips,
            max_clips=max_clips - 1,
            stride_clips=min(self._settings.stride_clips or max(1, max_clips // 2), max_clips),
        )
        clips = [*before, clip]
        try:
            outcome = await self._run(self._composed.watching(clips, salt=state.salt))
        except (EngineFailed, TooLarge, InvalidRequest) as error:
            raise EngineFailed(f"clip {clip.clip_index} was lost: {error.message}") from error
        state.clips = clips
        state.cover([Cover(clip.clip_index, cover_until_s(clip))])
        outcome.count(self._metrics, "ingest", num_output_tokens=1)
        return IngestResult(
            num_tokens=outcome.num_prompt_tokens, num_cached_tokens=outcome.num_cached_tokens
        )

    async def forget(
        self,
        stream_id: StreamId,
        start_s: float,
        end_s: float,
        *,
        is_aged: bool = False,
        max_clips: int | None = None,
    ) -> Forgotten:
        state = self._streams[stream_id]
        covers = state.covers
        found = [
            c
            for c in state.clips
            if c.start_s <= end_s
            and (c.end_s >= start_s or covers.get(c.clip_index, c.end_s) > start_s)
        ]
        gone = {clip.clip_index: clip for clip in found[:max_clips]}
        if gone:
            # With another salt no request finds blocks in which the clips could be seen.
            kept = [clip for clip in state.clips if clip.clip_index not in gone]
            self._streams[stream_id] = _StreamState(_new_salt(stream_id), kept, covers=covers)
        return Forgotten(
            clip_indices=frozenset(gone),
            num_bytes=sum(
                {f.capture_s: f.pixels.nbytes for c in gone.values() for f in c.frames}.values()
            ),
            has_more=len(gone) < len(found),
        )

    async def take_stock(self, waiting: Waiting) -> Stock:
        return Stock()

    async def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        state = self._streams.get(question.stream_id)
        clips: list[Clip] = []
        shown: list[ShownClip] = []
        if state is not None:
            state.cover(question.covers)
            clips = state.until(question.asked_s)
            shown = state.shown(clips, question.asked_s)
        if question.pending is not None:
            clips.append(question.pending)
            shown += waiting(question)
        shown = in_turn(shown)
        clips += question.images  # they have no time
        now = Now.of(question, self._settings.memory.zone)
        prompt = self._composed.asking(
            clips,
            question=retold(question.text, now, shown, self._retelling),
            dialogue=question.dialogue,
            instructions=question.instructions,
            salt=question.response_id if state is None else state.salt,
            tools=question.tools,
            made=question.made,
        )
        rendered = await self._runner.render(prompt)
        reader = AnswerReader(question, self._runner.call_finder)
        view = TimesInView.of(question, shown)
        if self._settings.memory.mend_times:
            reader.hold_to(view)
        outcome = None
        options = sampling.for_answer(question, pause_id=self._runner.pause_id)
        async with self._runner.outputs(rendered, options, question.response_id) as outputs:
            async for output in outputs:
                if (delta := reader.take(output)) is not None:
                    yield delta
                while (unsettled := reader.unsettled) is not None:
                    if (delta := reader.settle(view.alike(unsettled.said_s))) is not None:
                        yield delta
                if output.finished:
                    outcome = RequestOutcome.of(output)
        if outcome is None:
            raise EngineFailed("the engine ended an answer without saying so")
        if (delta := reader.end()) is not None:
            yield delta
        outcome.count(self._metrics, "answer", reader.num_tokens)
        count_times(self._metrics, reader)
        yield replace(outcome.answer_end(reader), clip_spans_s=spans_s(shown))

    async def check(self, check: Check) -> CheckResult:
        state = self._streams.get(check.stream_id)
        prompt = self._composed.asking(
            [] if state is None else state.until(check.asked_s),
            question=check.text,
            dialogue=(),
            instructions=check.instructions,
            salt=new_id("check") if state is None else state.salt,
        )
        tokenizer = self._runner.tokenizer
        groups, given_ids = answer_tokens(tokenizer, check), []
        if check.given is not None:
            given = self._composed.neutral(check.given)
            prompt["prompt"] += given
            given_ids = tokenizer.encode(given, add_special_tokens=False)
        for cached in (True, False):  # once more where the cache held a part of the reply
            rendered = await self._runner.render(prompt)
            options = sampling.for_check(check, groups, cached=cached)
            output = await self._runner.last_output(rendered, options, new_id("check"))
            result = check_result(output, check, groups, given_ids)
            if result is not None:
                count_check(self._metrics, result)
                return result
        raise EngineFailed("a reply could not be scored")

    @property
    def _composed(self) -> PromptComposer:
        assert self._composer is not None, "the engine has not been started"
        return self._composer

    async def _run(self, prompt: dict[str, Any]) -> RequestOutcome:
        """Run a request for what it leaves in the prefix cache."""
        rendered = await self._runner.render(prompt)
        output = await self._runner.last_output(rendered, sampling.for_effect(), new_id("ingest"))
        return RequestOutcome.of(output)

    async def _measure_clip(self, model: Model) -> int:
        """Tokens that one more clip adds; the requests also warm the engine up."""
        lengths: list[int] = []
        for num_clips in (1, 2):
            prompt = self._composed.watching(boot.blank_clips(model, num_clips), salt="warm-up")
            lengths.append((await self._run(prompt)).num_prompt_tokens)
        # Asked for alternatives for the first time, vLLM compiles what reads them, for seconds.
        await self.check(boot.blank_check(model, boot.blank_clips(model, 1)[0]))
        return lengths[1] - lengths[0]


def _new_salt(stream_id: StreamId) -> str:
    return f"{stream_id}:{secrets.token_hex(8)}"
