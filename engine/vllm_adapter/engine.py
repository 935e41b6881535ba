"""`ResendEngine`: the stock vLLM engine, given the recent frames again with every request.

This is the honest rival of stream memory and the mode for models whose memory is not plain
attention KV: the same server, vLLM's prefix cache on, and a window that drops a stride of clips at
a time so that the cache is hit (`onlooker.engine.memory.window`). It forgets what left the window.
"""

import asyncio
import gc
import logging
import secrets
from collections.abc import AsyncIterator
from typing import Any

from onlooker.core.clock import Clock
from onlooker.core.errors import EngineDead, EngineFailed, InvalidRequest, TooLarge
from onlooker.core.ids import StreamId, new_id
from onlooker.core.media import Clip
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection
from onlooker.engine.interface import (
    AnswerDelta,
    AnswerEnd,
    AnswerEvent,
    EngineInfo,
    FinishReason,
    IngestResult,
    Progress,
    Question,
)
from onlooker.engine.memory.window import RecentWindow, spans_s
from onlooker.engine.vllm_adapter import boot
from onlooker.engine.vllm_adapter.model_folder import Model, find_model
from onlooker.engine.vllm_adapter.prompt import PromptComposer

_log = logging.getLogger("onlooker.engine.vllm")

SHUTDOWN_TIMEOUT_S = 5.0
"""How long vLLM's processes get to end by themselves."""

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class ResendEngine:
    """`onlooker.engine.interface.Engine` on an unmodified vLLM."""

    def __init__(self, settings: EngineSection, clock: Clock, metrics: Metrics) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._streams: dict[StreamId, _StreamState] = {}
        self._llm: Any = None  # vllm.AsyncLLM; vLLM is imported only when the engine starts
        self._composer: PromptComposer | None = None
        self._info: EngineInfo | None = None
        self._dead = False

    @property
    def info(self) -> EngineInfo:
        assert self._info is not None, "the engine has not been started"
        return self._info

    async def start(self, progress: Progress) -> None:
        settings = self._settings
        model = find_model(settings.model, served_name=settings.served_model_name)
        self._llm = await boot.start_vllm(
            settings.vllm,
            model,
            max_clips=settings.window_clips + settings.max_question_images,
            progress=progress,
            clock=self._clock,
        )
        self._composer = PromptComposer(
            self._llm.get_tokenizer(), instructions=model.profile.instructions
        )
        progress("looking at two blank clips to warm up")
        tokens_per_clip = await self._measure_clip(model)
        self._info = EngineInfo(
            model=model.served_name,
            mode="resend",
            frame_width=model.profile.frame_width,
            frame_height=model.profile.frame_height,
            tokens_per_clip=tokens_per_clip,
            max_clips=settings.window_clips,
            knows=model.profile.knows,
        )
        self._metrics.engine_up.set(1)

    async def close(self) -> None:
        if self._llm is not None:
            await asyncio.to_thread(self._llm.shutdown, SHUTDOWN_TIMEOUT_S)
            self._llm = self._composer = None
            gc.collect()  # AsyncLLM's finaliser fails when it runs only at the interpreter's exit
        self._metrics.engine_up.set(0)

    def healthy(self) -> bool:
        alive = self._llm is not None and not self._dead and not self._llm.errored
        self._metrics.engine_up.set(int(alive))
        return alive

    async def open_stream(self, stream_id: StreamId) -> None:
        self._streams[stream_id] = _StreamState(
            salt=f"{stream_id}:{secrets.token_hex(8)}",
            window=RecentWindow(
                max_clips=self._settings.window_clips, stride_clips=self._settings.stride_clips
            ),
        )

    async def close_stream(self, stream_id: StreamId) -> None:
        self._streams.pop(stream_id, None)

    async def ingest(self, clip: Clip) -> IngestResult:
        state = self._streams[clip.stream_id]
        state.window.add(clip)
        prompt = self._composed.watching(state.window.clips(), salt=state.salt)
        try:
            end: AnswerEnd | None = None
            async for event in self._generate(
                prompt, new_id("ingest"), boot.sampling(max_tokens=1, temperature=0.0)
            ):
                if isinstance(event, AnswerEnd):
                    end = event
        except (EngineFailed, TooLarge) as error:
            state.window.discard(clip)
            raise EngineFailed(f"clip {clip.clip_index} was lost: {error.message}") from error
        assert end is not None
        self._count("ingest", end)
        return IngestResult(
            num_tokens=end.num_prompt_tokens, num_cached_tokens=end.num_cached_tokens
        )

    async def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        state = self._streams.get(question.stream_id)
        clips = [] if state is None else list(state.window.until(question.asked_s))
        salt = question.response_id if state is None else state.salt
        clips += question.images
        prompt = self._composed.asking(
            clips,
            question=question.text,
            dialogue=question.dialogue,
            instructions=question.instructions,
            salt=salt,
        )
        sampling = boot.sampling(
            max_tokens=question.max_tokens, temperature=question.temperature, seed=question.seed
        )
        events = self._generate(prompt, question.response_id, sampling, spans_s(clips))
        try:
            async for event in events:
                if isinstance(event, AnswerEnd):
                    self._count("answer", event)
                yield event
        finally:
            await events.aclose()

    @property
    def _composed(self) -> PromptComposer:
        assert self._composer is not None, "the engine has not been started"
        return self._composer

    async def _generate(
        self,
        prompt: dict[str, Any],
        request_id: str,
        sampling: Any,
        spans: tuple[tuple[float, float], ...] = (),
    ) -> Any:
        """Run one request; vLLM's errors come out as ours."""
        if self._llm is None or self._dead:
            raise EngineDead("the engine is not running")
        outputs: Any = None
        num_output_tokens = 0
        try:
            rendered = await boot.render(self._llm, prompt)
            outputs = self._llm.generate(rendered, sampling, request_id)
            async for output in outputs:
                completion = output.outputs[0]
                num_output_tokens += len(completion.token_ids)
                if completion.text:
                    yield AnswerDelta(completion.text)
                if output.finished:
                    if completion.finish_reason not in _FINISH:
                        raise EngineFailed(f"the engine ended with '{completion.finish_reason}'")
                    yield AnswerEnd(
                        finish_reason=_FINISH[completion.finish_reason],
                        num_prompt_tokens=len(output.prompt_token_ids or ()),
                        num_cached_tokens=output.num_cached_tokens or 0,
                        num_output_tokens=num_output_tokens,
                        clip_spans_s=spans,
                    )
        except (EngineDead, EngineFailed, GeneratorExit, asyncio.CancelledError):
            raise
        except Exception as error:
            raise self._translated(error) from error
        finally:
            if outputs is not None:
                await outputs.aclose()

    def _translated(self, error: Exception) -> Exception:
        if boot.is_engine_dead(error) or self._llm is None or self._llm.errored:
            self._dead = True
            self._metrics.engine_up.set(0)
            _log.error("the engine is dead", exc_info=error)
            return EngineDead("the engine stopped; the server has to be restarted")
        if boot.is_client_error(error):
            if "max_model_len" in str(error) or "longer than" in str(error):
                return TooLarge(
                    "the question and the clips in view do not fit the model's context of "
                    f"{self._settings.vllm.max_model_len} tokens: ask more briefly",
                    param="question",
                )
            return InvalidRequest("the engine refused the request: " + str(error).splitlines()[0])
        _log.error("a request failed", exc_info=error)
        return EngineFailed("the engine could not run this request; see the server's log")

    async def _measure_clip(self, model: Model) -> int:
        """Tokens that one more clip adds; the two requests also warm the engine up."""
        lengths: list[int] = []
        for num_clips in (1, 2):
            clips = boot.blank_clips(model, num_clips)
            prompt = self._composed.watching(clips, salt="warm-up")
            async for event in self._generate(
                prompt, new_id("warmup"), boot.sampling(max_tokens=1, temperature=0.0)
            ):
                if isinstance(event, AnswerEnd):
                    lengths.append(event.num_prompt_tokens)
        return lengths[1] - lengths[0]

    def _count(self, work: str, end: AnswerEnd) -> None:
        computed = end.num_prompt_tokens - end.num_cached_tokens
        self._metrics.tokens.labels(work, "computed").inc(computed)
        self._metrics.tokens.labels(work, "cached").inc(end.num_cached_tokens)
        self._metrics.tokens.labels(work, "generated").inc(end.num_output_tokens)


class _StreamState:
    """What resend mode remembers of a stream: its salt and its recent clips."""

    __slots__ = ("salt", "window")

    def __init__(self, *, salt: str, window: RecentWindow) -> None:
        self.salt = salt
        """Keeps one stream's cached KV from ever being served to another."""
        self.window = window
