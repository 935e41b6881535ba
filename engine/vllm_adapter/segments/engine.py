"""`SegmentEngine`: every clip is computed once and remembered; questions bring old ones back.

The gateway's half of stream memory. KV stays in vLLM's worker; here are the prompts' plans.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from onlooker.cache_store.config import CacheStoreSection
from onlooker.cache_store.key import SegmentKind, StreamKey, parse_key
from onlooker.core.clock import Clock
from onlooker.core.errors import ConfigError, EngineFailed, InvalidRequest, TooLarge
from onlooker.core.ids import StreamId, new_id
from onlooker.core.media import Clip
from onlooker.core.metrics import Metrics
from onlooker.core.settings import with_secrets
from onlooker.engine.config import EngineSection
from onlooker.engine.interface import (
    AnswerEnd,
    AnswerEvent,
    EngineInfo,
    IngestResult,
    Progress,
    Question,
    Remembered,
)
from onlooker.engine.memory.times import named_spans, speaks_of_now
from onlooker.engine.vllm_adapter import boot
from onlooker.engine.vllm_adapter.answers import answer_events, count_tokens, only_end
from onlooker.engine.vllm_adapter.model_folder import Model, find_model
from onlooker.engine.vllm_adapter.prompt import PromptComposer, clip_uuid, video_item
from onlooker.engine.vllm_adapter.runner import VllmRunner
from onlooker.engine.vllm_adapter.segments.composer import (
    ClipTokens,
    EngineInput,
    PromptBuilder,
    clip_tokens,
)
from onlooker.engine.vllm_adapter.segments.evidence import with_evidence
from onlooker.engine.vllm_adapter.segments.memory import Recall, RememberedClip, StreamMemory
from onlooker.engine.vllm_adapter.segments.spec import PARAMS_KEY, SegmentSpec

_log = logging.getLogger("onlooker.engine.vllm")

DEFAULT_RECENT = 16
"""Clips of the recent window where nothing else is said."""

TENANT = "default"
"""Keys do not yet name tenants: all API keys share one."""

_SEGMENTS = "onlooker.engine.vllm_adapter.segments"

FAMILIES = {"Qwen3VLForConditionalGeneration": "OnlookerQwen3VL"}
"""Architectures whose memory is plain rotary attention, and our guarded classes for them."""


class SegmentEngine:
    """`onlooker.engine.interface.Engine` with stream memory."""

    def __init__(
        self,
        settings: EngineSection,
        clock: Clock,
        metrics: Metrics,
        store: CacheStoreSection | None = None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._store = store
        self._fingerprint = ""
        self._runner = VllmRunner(settings.vllm, clock, metrics)
        self._memories: dict[StreamId, StreamMemory] = {}
        self._newest: dict[StreamId, Clip] = {}
        """Each stream's newest clip with its pixels: a question may ask for its first half."""
        self._composer: PromptComposer | None = None
        self._info: EngineInfo | None = None
        self._video_token = 0
        self._merge = 1
        self._max_segments = 0
        self._recent_clips = 0

    @property
    def info(self) -> EngineInfo:
        assert self._info is not None, "the engine has not been started"
        return self._info

    async def start(self, progress: Progress) -> None:
        settings = self._settings
        model = find_model(settings.model, served_name=settings.served_model_name)
        if model.architecture not in FAMILIES:
            raise ConfigError(
                f"stream memory does not know the family {model.architecture or 'of this model'}; "
                "start with --mode resend, which serves it without memory"
            )
        self._fingerprint = model.fingerprint()
        room = (
            settings.window_clips or model.profile.window_clips
        ) - settings.memory.retrieved_clips
        self._recent_clips = settings.memory.recent_clips or max(1, min(DEFAULT_RECENT, room))
        await self._runner.start(model, self._arguments(model), progress)
        self._composer = PromptComposer(
            self._runner.tokenizer, instructions=model.profile.instructions
        )
        config = self._runner.model_config
        self._video_token = config.video_token_id
        self._merge = config.vision_config.spatial_merge_size
        progress("looking at a blank clip to warm up")
        tokens_per_clip = await self._warm_up(model)
        self._info = model.info(
            mode="segments",
            tokens_per_clip=tokens_per_clip,
            max_clips=self._recent_clips + settings.memory.retrieved_clips,
        )

    async def close(self) -> None:
        await self._runner.close()

    def healthy(self) -> bool:
        return self._runner.healthy()

    async def open_stream(self, stream_id: StreamId) -> Remembered:
        stored = await self._runner.ask_workers("stored_generations", self._lives(stream_id))
        # Only what every worker has is whole; the newest life is the one to go on with.
        lives = set(stored[0]).intersection(*stored[1:])
        generation = max(lives) if lives else int(self._clock.wall_s() * 1000)
        key = StreamKey(self._fingerprint, TENANT, stream_id, generation)
        memory = self._memories[stream_id] = StreamMemory(key)
        if lives:
            await self._restore(memory)
        last = memory.last_clip
        return Remembered() if last is None else Remembered(last.clip_index + 1, last.end_s)

    async def close_stream(self, stream_id: StreamId, *, forget: bool = True) -> None:
        memory = self._memories.pop(stream_id, None)
        self._newest.pop(stream_id, None)
        if memory is not None and self._runner.healthy():
            await self._runner.ask_workers("drop_stream", memory.prefix, forget)

    async def ingest(self, clip: Clip) -> IngestResult:
        memory = self._memories[clip.stream_id]
        head, tokens, pixels = await self._prepared(memory, clip)
        sink = await self._sink(memory, head)
        builder = PromptBuilder()
        builder.load_text(*sink)
        for recent in memory.recent(self._recent_clips):
            builder.load_clip(recent.tokens)
        builder.save_clip(tokens, pixels, (clip.start_s, clip.end_s))
        try:
            end = await self._effect(builder)
        except (EngineFailed, TooLarge, InvalidRequest) as error:
            await self._forget_missing(memory)
            raise EngineFailed(f"clip {clip.clip_index} was lost: {error.message}") from error
        if tokens.key not in end.details.get(PARAMS_KEY, {}).get("saved", ()):  # type: ignore[attr-defined]
            raise EngineFailed(f"clip {clip.clip_index} was seen but not kept")
        memory.add(RememberedClip(tokens, clip.clip_index, clip.start_s, clip.end_s))
        self._newest[clip.stream_id] = clip
        await self._make_room()
        count_tokens(self._metrics, "ingest", end)
        return IngestResult(end.num_prompt_tokens, end.num_cached_tokens)

    async def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        memory = self._memories[question.stream_id]
        incomplete, has_begun = memory.is_incomplete, False
        while True:
            recall = self._recall(memory, question)
            builder = await self._asking(memory, question, recall)
            events = self._run(builder, question.response_id, self._sampling(question))
            try:
                async for event in events:
                    has_begun = True
                    if isinstance(event, AnswerEnd):
                        count_tokens(self._metrics, "answer", event)
                        event = with_evidence(event, recall, incomplete)
                    yield event
                return
            except EngineFailed:
                # A segment may be gone. Answer from what is left, and say so; if nothing is
                # missing the failure was another one.
                if has_begun or not await self._forget_missing(memory):
                    raise
                incomplete = True
            finally:
                await events.aclose()

    # ---- prompts ----

    def _recall(self, memory: StreamMemory, question: Question) -> Recall:
        limits = self._settings.memory
        return memory.recall(
            asked_s=question.asked_s,
            named=named_spans(question.text, now_s=question.asked_s),
            speaks_of_now=speaks_of_now(question.text),
            recent_clips=self._recent_clips,
            retrieved_clips=limits.retrieved_clips,
        )

    async def _asking(
        self, memory: StreamMemory, question: Question, recall: Recall
    ) -> PromptBuilder:
        head, _, tail = self._composed.parts(
            question.text, question.dialogue, question.instructions
        )
        builder = PromptBuilder()
        builder.load_text(*await self._sink(memory, head))
        for clip in recall.named:
            builder.load_clip(clip.tokens)
        if recall.num_slots:
            builder.retrieve([clip.tokens for clip in recall.candidates], recall.num_slots)
        for clip in recall.recent:
            builder.load_clip(clip.tokens)
        for picture in self._shown_once(memory, question):
            _, tokens, pixels = await self._prepared(memory, picture, once=question.response_id)
            builder.picture(tokens, pixels)
        builder.question(self._token_ids(tail))
        return builder

    def _shown_once(self, memory: StreamMemory, question: Question) -> list[Clip]:
        """What is computed for this answer only: half a clip, a frame that waits, pictures."""
        newest = self._newest.get(question.stream_id)
        half = None
        if newest is not None and newest.end_s > question.asked_s:
            half = newest.until(question.asked_s)
        return [clip for clip in (half, question.pending, *question.images) if clip is not None]

    async def _prepared(
        self, memory: StreamMemory, clip: Clip, *, once: str | None = None
    ) -> tuple[str, ClipTokens, Any]:
        """The text before the clips, and `clip` as tokens and as features with pixels.

        `once` names the answer for which it is shown once: its frames may belong to a clip that
        comes later under the same index, which must not be taken for this one.
        """
        head, text = self._composed.watched_parts
        key = memory.clip_key(clip.clip_index)
        if once is not None:
            key = f"once/{once}/{clip_uuid('', clip)}"
        rendered = await self._runner.render(
            {
                "prompt": text,
                "multi_modal_data": {"video": [video_item(clip)]},
                "multi_modal_uuids": {"video": [key]},
            }
        )
        tokens = clip_tokens(key, rendered, video_token=self._video_token, merge=self._merge)
        return head, tokens, rendered["mm_kwargs"]["video"][0]

    async def _sink(self, memory: StreamMemory, head: str) -> tuple[str, list[int]]:
        """The stored segment of the system prompt; computed when it is not there yet."""
        token_ids = self._token_ids(head)
        key = memory.sink_key(head)
        if key not in memory.sinks:
            builder = PromptBuilder()
            builder.save_text(key, token_ids)
            builder.question(token_ids[-1:])
            await self._effect(builder)
            memory.sinks.add(key)
        return key, token_ids

    def _token_ids(self, text: str) -> list[int]:
        return list(self._runner.tokenizer.encode(text, add_special_tokens=False))

    # ---- requests ----

    async def _effect(self, builder: PromptBuilder) -> AnswerEnd:
        """Run a request for what it saves."""
        return await only_end(
            self._run(builder, new_id("ingest"), {"max_tokens": 1, "temperature": 0.0})
        )

    def _sampling(self, question: Question) -> dict[str, Any]:
        return {
            "max_tokens": question.max_tokens,
            "temperature": question.temperature,
            "seed": question.seed,
        }

    async def _run(
        self, builder: PromptBuilder, request_id: str, options: dict[str, Any]
    ) -> AsyncGenerator[AnswerEvent, None]:
        prompt: EngineInput
        spec: SegmentSpec
        prompt, spec = builder.build()
        sampling = boot.sampling(**options, kv_transfer_params=spec.to_params())
        outputs = self._runner.generate(prompt, sampling, request_id)
        try:
            async for event in answer_events(outputs):
                yield event
        finally:
            await outputs.aclose()

    # ---- keeping house ----

    def _lives(self, stream_id: StreamId) -> str:
        return f"{self._fingerprint}/{TENANT}/{stream_id}/"

    async def _restore(self, memory: StreamMemory) -> None:
        """Remember again what an earlier server stored of a stream."""
        stored = await self._runner.ask_workers("restore_stream", memory.prefix)
        known = set.intersection(*({key for key, _ in rows} for rows, _ in stored))
        memory.is_incomplete = not all(is_complete for _, is_complete in stored)
        for key, meta in stored[0][0]:
            parsed = parse_key(key)
            if key not in known:
                continue
            if parsed.kind is SegmentKind.SINK:
                memory.sinks.add(key)
            elif parsed.kind is SegmentKind.CLIP:
                tokens = ClipTokens.restored(
                    key, meta, video_token=self._video_token, merge=self._merge
                )
                memory.add(RememberedClip(tokens, parsed.index, meta["start_s"], meta["end_s"]))
        _log.info("a stream's memory was found again", extra={"clips": len(memory)})

    async def _forget_missing(self, memory: StreamMemory) -> bool:
        """Compare what should be stored with what is; returns whether anything was gone."""
        keys = [*memory.keys()]
        answers = await self._runner.ask_workers("missing_segments", keys)
        missing = {key for answer in answers for key in answer}
        memory.forget(missing)
        if missing:
            _log.warning("segments are missing", extra={"count": len(missing)})
        return bool(missing)

    async def _make_room(self) -> None:
        """Forget the oldest clips of the longest stream while there are too many."""
        while sum(map(len, self._memories.values())) > self._max_segments:
            longest = max(self._memories.values(), key=len)
            keys = longest.forget_oldest(max(1, len(longest) // 20))
            await self._runner.ask_workers("drop_segments", keys)

    async def _warm_up(self, model: Model) -> int:
        """Remember one black clip and forget it; learns what a clip takes. Returns its tokens."""
        (clip,) = boot.blank_clips(model, 1)
        await self.open_stream(clip.stream_id)
        self._max_segments = 1
        await self.ingest(clip)
        stats = (await self._runner.ask_workers("segment_stats"))[0]
        clip_bytes = max(1, int(stats["bytes"]))
        room = self._settings.memory.arena_gib * 2**30
        if self._store is not None:
            # What does not fit the arena sinks to the tiers; only its index row stays.
            room = float(self._store.memory.budget_bytes)
            if self._store.disk is not None:
                room = float(self._store.disk.budget_bytes)
        self._max_segments = max(1, int(room / clip_bytes))
        tokens = len(self._memories[clip.stream_id].recent(1)[0].tokens.token_ids)
        await self.close_stream(clip.stream_id)
        return tokens

    def _arguments(self, model: Model) -> dict[str, Any]:
        """vLLM engine arguments of segments mode."""
        assert model.architecture is not None, "checked by start"
        settings = self._settings
        memory = settings.memory
        in_context = self._recent_clips + memory.retrieved_clips + settings.max_question_images + 2
        return {
            # Loaded KV would be hashed as if it were a true prefix and be served to others.
            "enable_prefix_caching": False,
            "mm_processor_cache_gb": 0,
            "limit_mm_per_prompt": {"video": in_context, "image": 0},
            "hf_overrides": {"architectures": [FAMILIES[model.architecture]]},
            "scheduler_cls": f"{_SEGMENTS}.scheduler.SegmentScheduler",
            "worker_extension_cls": f"{_SEGMENTS}.extension.SegmentExtension",
            "kv_transfer_config": boot.kv_transfer_config(
                "SegmentConnector", f"{_SEGMENTS}.connector", self._connector_settings()
            ),
        }

    def _connector_settings(self) -> dict[str, Any]:
        memory = self._settings.memory
        settings: dict[str, Any] = {"score": memory.score}
        if self._store is not None:
            settings["arena_bytes"] = int(memory.arena_gib * 2**30)
            settings["store"] = with_secrets(self._store)
        return settings

    @property
    def _composed(self) -> PromptComposer:
        assert self._composer is not None, "the engine has not been started"
        return self._composer
