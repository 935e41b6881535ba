"""`SegmentEngine`: every clip is computed once and remembered; questions bring old ones back.

KV stays in vLLM's worker; here are the prompts and what becomes of them.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from onlooker.cache_store.config import CacheStoreSection
from onlooker.cache_store.leases import Claim
from onlooker.core.clock import Clock
from onlooker.core.errors import EngineFailed, InvalidRequest, TooLarge
from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import StreamId, new_id
from onlooker.core.media import Clip, Cover
from onlooker.core.metrics import Metrics
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.config import EngineSection, VllmSection
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
from onlooker.engine.memory.config import DEFAULT_RECENT
from onlooker.engine.memory.evidence import with_evidence
from onlooker.engine.memory.note_taker import NoteTaker
from onlooker.engine.memory.once import shown_once
from onlooker.engine.memory.plan import RequestReport
from onlooker.engine.memory.prompt import PromptBuilder
from onlooker.engine.memory.recaller import (
    Recaller,
    Trace,
    check_budgets,
    check_layers,
    retrieval_policy,
)
from onlooker.engine.memory.room import ClipRoom
from onlooker.engine.memory.said_times import TimesInView, UnsettledTime
from onlooker.engine.memory.shown import ShownClip, before_until_s
from onlooker.engine.memory.stream_memory import Recall, StreamMemory
from onlooker.engine.memory.thinning import Thinner
from onlooker.engine.shared_core import SharedCore
from onlooker.engine.vllm_adapter import wire
from onlooker.engine.vllm_adapter.families.family import Family
from onlooker.engine.vllm_adapter.gateway import boot, sampling
from onlooker.engine.vllm_adapter.gateway.answer_reader import AnswerReader
from onlooker.engine.vllm_adapter.gateway.checker import Checker
from onlooker.engine.vllm_adapter.gateway.compactor import Compactor
from onlooker.engine.vllm_adapter.gateway.composer import PromptComposer
from onlooker.engine.vllm_adapter.gateway.features import engine_input
from onlooker.engine.vllm_adapter.gateway.gauge import LoadGauge
from onlooker.engine.vllm_adapter.gateway.machine import memory_budgets
from onlooker.engine.vllm_adapter.gateway.memories import StreamMemories
from onlooker.engine.vllm_adapter.gateway.model_folder import Model, find_model
from onlooker.engine.vllm_adapter.gateway.modes import mover_of
from onlooker.engine.vllm_adapter.gateway.outcome import (
    RequestOutcome,
    count_fetched,
    count_places,
    count_times,
)
from onlooker.engine.vllm_adapter.gateway.platform import is_cpu_build
from onlooker.engine.vllm_adapter.gateway.preparer import ClipPreparer
from onlooker.engine.vllm_adapter.gateway.prompts import Ingesting, SegmentPrompts
from onlooker.engine.vllm_adapter.gateway.runner import VllmRunner
from onlooker.engine.vllm_adapter.gateway.time_finder import TimeFinder
from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.load import EngineLoad

_ENTRY = "onlooker.engine.vllm_adapter.entry"


@dataclass(frozen=True, slots=True)
class _Made:
    """The parts that need to know the running model."""

    streams: StreamMemories
    composer: PromptComposer
    prompts: SegmentPrompts
    recaller: Recaller
    notes: NoteTaker
    compactor: Compactor
    checker: Checker
    time_finder: TimeFinder


class SegmentEngine:
    """An `onlooker.engine.interface.Engine` with stream memory."""

    def __init__(
        self,
        settings: EngineSection,
        clock: Clock,
        metrics: Metrics,
        store: CacheStoreSection | None = None,
        scheduler: SchedulerSection | None = None,
        core: SharedCore | None = None,
    ) -> None:
        """`core`: the engine core of several gateways; None starts one of this gateway's own."""
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._store = store
        self._scheduler = scheduler or SchedulerSection()
        self._gauge = LoadGauge(metrics, clock=clock, is_shared=core is not None)
        self._runner = VllmRunner(settings.vllm, clock, metrics, core)
        self._info: EngineInfo | None = None
        self._made: _Made | None = None
        self._recent_clips = 0
        self._policy = retrieval_policy(settings.memory, None)
        self._heads: wire.ScoreHeads | None = None

    @property
    def info(self) -> EngineInfo:
        assert self._info is not None, "the engine has not been started"
        return self._info

    async def recipe(self) -> boot.Recipe:
        """What vLLM is started with.

        Raises:
            ConfigError: the model cannot be found, or has no stream memory.
        """
        settings = self._settings
        model = await asyncio.to_thread(
            find_model, settings.model, served_name=settings.served_model_name
        )
        family = model.family_with_memory()
        most = settings.window_clips or model.profile.window_clips
        left = most - settings.memory.retrieved_clips
        self._recent_clips = settings.memory.recent_clips or max(1, min(DEFAULT_RECENT, left))
        self._policy = retrieval_policy(settings.memory, model.profile.ranking)
        self._heads = model.heads
        return boot.Recipe(model, self._arguments(family), is_watched=True)

    async def start(self, progress: Progress) -> None:
        settings, recipe = self._settings, await self.recipe()
        model, family = recipe.model, recipe.model.family_with_memory()
        await self._runner.start(recipe, progress)
        num_layers = self._runner.model_config.text_config.num_hidden_layers
        check_layers(self._policy.ranking, num_layers)
        self._made = self._make(model, family)
        progress("looking at a blank clip to warm up")
        room = await self._warm_up(model)
        progress(str(room))
        # What the workers have room for is shared out evenly to those who make room in it.
        share = self._runner.num_gateways
        self._streams.max_clips = max(1, room.max_indexed // share)
        self._streams.max_tokens = room.max_tokens / share
        tokens_per_clip = room.clip_tokens
        max_clips = self._recent_clips + settings.memory.retrieved_clips
        room.check(max_clips)
        check_budgets(settings.memory, settings.vllm.max_model_len, max_clips, tokens_per_clip)
        self._info = model.info(
            mode="segments",
            tokens_per_clip=tokens_per_clip,
            max_clips=max_clips,
            max_images=settings.max_question_images,
            writes_json=sampling.writes_json(self._runner.tokenizer),
            calls_functions=self._parts.composer.takes_functions,
            survives=Guarantee.NONE if self._store is None else self._store.survives,
            score_heads=() if model.heads is None else model.heads.names,
        )

    async def close(self) -> None:
        if self._made is not None:
            await self._parts.notes.close()
            await self._parts.compactor.close()
        await self._runner.close()

    def healthy(self) -> bool:
        return self._runner.healthy()

    def load(self) -> EngineLoad:
        return self._gauge.load

    async def open_stream(self, stream_id: StreamId, claim: Claim | None = None) -> Remembered:
        remembered = await self._streams.open(stream_id, claim)
        self._parts.compactor.opened(self._streams[stream_id])
        return remembered

    async def close_stream(self, stream_id: StreamId, *, forget: bool = True) -> None:
        await self._streams.close(stream_id, forget=forget)

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        memory = self._streams[clip.stream_id]
        memory.cover([Cover(clip.clip_index - 1, before_until_s(clip))])
        with memory.reading():
            ingesting, outcome = await self._ingested(memory, clip, care)
        ingesting.done(memory)
        await self._streams.add(clip, ingesting.tokens)
        self._parts.compactor.note(memory, care.compaction)
        outcome.count(self._metrics, "ingest", num_output_tokens=1)
        if ingesting.thin is not None:
            count_places(self._metrics, ingesting.thin.shown)
        return IngestResult(outcome.num_prompt_tokens, outcome.num_cached_tokens, outcome.served)

    async def _ingested(
        self, memory: StreamMemory, clip: Clip, care: Care
    ) -> tuple[Ingesting, RequestOutcome]:
        """Have a clip computed and kept."""
        while True:
            ingesting = await self._prompts.ingesting(memory, clip, care)
            try:
                outcome = await self._run(ingesting.builder, care)
            except (EngineFailed, TooLarge, InvalidRequest) as error:
                # A segment of the window may be gone: the clip is seen after what is left.
                if not await self._streams.forget_missing(memory):
                    lost = f"clip {clip.clip_index} was lost: {error.message}"
                    raise EngineFailed(lost) from error
                continue
            if ingesting.tokens.key in outcome.report.saved:
                return ingesting, outcome
            if not ingesting.is_filled or not await self._streams.forget_missing(memory):
                raise EngineFailed(f"clip {clip.clip_index} was seen but not kept")

    async def forget(
        self,
        stream_id: StreamId,
        start_s: float,
        end_s: float,
        *,
        is_aged: bool = False,
        max_clips: int | None = None,
    ) -> Forgotten:
        return await self._streams.forget(
            stream_id, start_s, end_s, is_aged=is_aged, max_clips=max_clips
        )

    async def take_stock(self, waiting: Waiting) -> Stock:
        return await self._streams.take_stock(waiting)

    async def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        memory = self._streams[question.stream_id]
        memory.cover(question.covers)
        with memory.reading():
            async with aclosing(self._answered(memory, question)) as events:
                async for event in events:
                    yield event

    async def _answered(
        self, memory: StreamMemory, question: Question
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Answer from what is there, see `answer`."""
        incomplete = memory.is_incomplete
        asks = not self._streams.holds_all
        while True:
            num_forgets = memory.num_forgets
            recall: Recall | None = None
            reader = AnswerReader(question, self._runner.call_finder)
            try:
                recall = await self.recaller.recall(memory, question, asks=asks)
                newest = self._streams.newest(question.stream_id)
                once = shown_once(question, newest, recall)
                builder = await self._prompts.asking(memory, question, recall, once, newest)
                view = _view(question, recall, [one.shown for one in once])
                if self._mends(recall):
                    reader.hold_to(view)
                prompt = builder.build()
                pause_id = self._runner.pause_id
                options = sampling.for_answer(question, prompt.plan, pause_id=pause_id)
                outcome = None
                with self._gauge.running():
                    async with self._runner.outputs(
                        engine_input(prompt), options, question.response_id
                    ) as outputs:
                        async for output in outputs:
                            if (delta := reader.take(output)) is not None:
                                yield delta
                            while reader.unsettled is not None:
                                told_s = await self._find(reader.unsettled, question, recall, view)
                                if (delta := reader.settle(told_s)) is not None:
                                    yield delta
                            if output.finished:
                                outcome = RequestOutcome.of(output)
                if outcome is None:
                    raise EngineFailed("the engine ended an answer without saying so")
                self._gauge.note(outcome)
                if (delta := reader.end()) is not None:
                    yield delta
                self._parts.notes.take(memory, question, reader.text)
                outcome.count(self._metrics, "answer", reader.num_tokens)
                count_times(self._metrics, reader)
                end = outcome.answer_end(reader)
                end = with_evidence(
                    end,
                    outcome.report,
                    recall,
                    memory,
                    asked_s=question.asked_s,
                    once=[one.shown for one in once],
                    incomplete=incomplete,
                )
                count_fetched(self._metrics, end)
                yield end
                return
            except EngineFailed:
                # A segment may be gone. Answer from what is left, and say so unless it was to
                # go; if nothing is missing the failure was another one.
                if reader.has_sent:
                    raise
                if recall is not None and recall.num_slots and self._store is not None:
                    # A layer may have chosen what only the store has, for which no step waits.
                    asks = True
                    continue
                if await self._streams.forget_missing(memory):
                    incomplete = True
                elif memory.num_forgets == num_forgets:
                    raise

    def _mends(self, recall: Recall) -> bool:
        """Whether times are mended, for which the context has to be known: layers that choose clips
        by themselves tell afterwards, and of notes only the tokens are kept."""
        memory = self._settings.memory
        return memory.mend_times and not recall.num_slots and memory.notes == "off"

    async def _find(
        self, unsettled: UnsettledTime, question: Question, recall: Recall, view: TimesInView
    ) -> float | None:
        """What an answer is to tell in place of a misread time."""
        clips = [*recall.placed, *reversed(recall.recent)]
        found_s = await self._parts.time_finder.find(question, unsettled, clips)
        return view.alike(unsettled.said_s) if found_s is None else found_s

    async def trace(self, question: Question) -> Trace:
        """All scores of all layers for `question`, to calibrate a model."""
        memory = self._streams[question.stream_id]
        with memory.reading():
            return await self.recaller.trace(memory, question)

    async def check(self, check: Check) -> CheckResult:
        return await self._parts.checker.check(check)

    @property
    def compactor(self) -> Compactor:
        """Makes old clips smaller, for benchmarks that wait for it."""
        return self._parts.compactor

    @property
    def runner(self) -> VllmRunner:
        """The vLLM below, for benchmarks that look inside."""
        return self._runner

    # ---- requests ----

    async def _run(self, builder: PromptBuilder, care: Care = NO_CARE) -> RequestOutcome:
        """Run a request for what it saves or reports."""
        prompt = builder.build()
        options = sampling.for_effect(care.ticket, prompt.plan)
        with self._gauge.running():
            output = await self._runner.last_output(engine_input(prompt), options, new_id("ingest"))
        outcome = RequestOutcome.of(output)
        self._gauge.note(outcome)
        return outcome

    async def _probe(
        self,
        memory: StreamMemory,
        question: Question,
        recall: Recall,
        *,
        traces: bool = False,
        reads: Sequence[str] = (),
    ) -> RequestReport:
        builder = await self._prompts.probing(memory, question, recall, traces=traces, reads=reads)
        return (await self._run(builder, question.care)).report

    # ---- starting ----

    def _make(self, model: Model, family: Family) -> _Made:
        """Make the parts that need to know the running model."""
        memory = self._settings.memory
        layout = family.rotary_layout(self._runner.model_config)
        streams = StreamMemories(
            self._runner,
            self._clock,
            fingerprint=model.fingerprint(),
            layout=layout,
            is_shared=self._runner.num_gateways > 1,
            tells_workers=self._runner.gateway == 0,
        )
        composer = PromptComposer(
            self._runner.tokenizer, instructions=model.profile.instructions, family=family
        )
        prompts = SegmentPrompts(
            self._runner,
            composer,
            ClipPreparer(self._runner, composer.clip_text, layout),
            Thinner(
                memory.token_drop,
                tile=layout.patch * layout.merge,
                recent_clips=self._recent_clips,
            ),
            settings=memory,
            recent_clips=self._recent_clips,
            stride_clips=memory.stride_clips,
            # Each of the other requests of a step may take a token of it.
            step_tokens=self._settings.vllm.max_num_batched_tokens
            - self._settings.vllm.max_num_seqs,
            run_for_effect=self._run,
            retelling=model.profile.retelling,
        )
        recaller = Recaller(
            memory, self._policy, recent_clips=self._recent_clips, probe=self._probe
        )
        notes = NoteTaker(
            self._metrics,
            budget_tokens=memory.notes_tokens if memory.notes == "notes" else 0,
            prompt=prompts.noting,
            run=self._run,
            drop=streams.drop,
            delete=streams.delete,
        )
        checker = Checker(self._runner, prompts, streams, self._metrics)
        compactor = Compactor(
            memory.compaction,
            streams,
            self._gauge,
            self._clock,
            self._metrics,
            recent_clips=self._recent_clips,
            merge=layout.merge,
            name=f"compaction {self._runner.gateway}",
            is_lasting=self._store is not None and self._store.survives is not Guarantee.NONE,
        )
        finder = TimeFinder(checker)
        return _Made(streams, composer, prompts, recaller, notes, compactor, checker, finder)

    async def _warm_up(self, model: Model) -> ClipRoom:
        """Remember one black clip and forget it; learns what a clip takes."""
        (clip,) = boot.blank_clips(model, 1, gateway=self._runner.gateway)
        await self.open_stream(clip.stream_id)
        await self.ingest(clip)
        everywhere = await self._runner.ask_workers(wire.worker_stats())
        token_bytes = sum(worker.token_bytes for worker in everywhere)
        self._streams.bytes_per_token = token_bytes
        budgets = memory_budgets(self._settings, cpu=is_cpu_build())
        kept_bytes: float = budgets.arena_bytes
        if self._store is not None:
            # What does not fit the arena sinks to the tiers; only its index row stays.
            kept_bytes = float(self._store.memory.budget_bytes)
            if self._store.disk is not None:
                kept_bytes = float(self._store.disk.budget_bytes)
            if self._store.redis is not None:
                kept_bytes = math.inf  # Redis bounds itself, by `maxmemory` and the time to live
        clip_tokens = len(self._streams[clip.stream_id].recent(1)[0].tokens.token_ids)
        stored_bytes = clip_bytes = clip_tokens * token_bytes
        if self._mover == "layers":
            clip_bytes = clip_bytes * 3 // 2  # keys are held without position as well
        room = ClipRoom(
            clip_tokens=clip_tokens,
            clip_bytes=clip_bytes,
            stored_bytes=clip_bytes if self._store is None else stored_bytes,
            index_row_bytes=sum(worker.index_row_bytes for worker in everywhere),
            arena_bytes=budgets.arena_bytes,
            kept_bytes=kept_bytes,
            index_bytes=budgets.index_bytes,
            index_host_bytes=budgets.index_host_bytes,
            index_coarse_bytes=sum(worker.index_coarse_bytes for worker in everywhere),
        )
        # Asked for alternatives for the first time, vLLM compiles what reads them, for seconds.
        await self.check(boot.blank_check(model, clip))
        await self.close_stream(clip.stream_id)
        return room

    def _arguments(self, family: Family) -> dict[str, Any]:
        """vLLM engine arguments of segments mode."""
        from vllm.config import KVTransferConfig

        assert family.guarded is not None
        settings = self._settings
        memory = settings.memory
        in_context = self._recent_clips + memory.retrieved_clips + settings.max_question_images + 2
        budgets = memory_budgets(self._settings, cpu=is_cpu_build())
        adapter = wire.AdapterSettings(
            scheduler=self._scheduler,
            policy=self._policy,
            mover=self._mover,
            pool_bytes=budgets.arena_bytes,
            shelf_bytes=budgets.shelf_bytes,
            index_bytes=budgets.index_bytes,
            index_host_bytes=budgets.index_host_bytes,
            ring_bytes=budgets.ring_bytes,
            saving_bytes=budgets.saving_bytes,
            write_behind_segments=memory.write_behind_segments,
            fetching_requests=memory.fetching_requests,
            keeps_queries=memory.compaction.method == "vsb",
            heads=self._heads,
        )
        if self._store is not None:
            adapter = replace(adapter, arena_bytes=budgets.arena_bytes, store=self._store)
        return {
            # Loaded KV is hashed as if it were a true prefix: every request has a salt of its own,
            # but those that grow one window (see `RecentWindow`).
            "enable_prefix_caching": True,
            "mm_processor_cache_gb": 0,
            "limit_mm_per_prompt": {"video": in_context, "image": 0},
            "hf_overrides": {"architectures": [family.guarded.name]},
            "scheduler_cls": f"{_ENTRY}.scheduler.{_scheduler_class(settings.vllm)}",
            "worker_extension_cls": f"{_ENTRY}.extension.SegmentExtension",
            "kv_transfer_config": KVTransferConfig(
                kv_connector="SegmentConnector",
                kv_connector_module_path=f"{_ENTRY}.connector",
                kv_role="kv_both",
                kv_connector_extra_config=adapter.to_config(),
            ),
        }

    @property
    def _mover(self) -> wire.Mover:
        return mover_of(self._settings.vllm, cpu=is_cpu_build())

    @property
    def _parts(self) -> _Made:
        assert self._made is not None, "the engine has not been started"
        return self._made

    @property
    def _streams(self) -> StreamMemories:
        return self._parts.streams

    @property
    def recaller(self) -> Recaller:
        """Chooses the clips of answers."""
        return self._parts.recaller

    @property
    def _prompts(self) -> SegmentPrompts:
        return self._parts.prompts


def _view(question: Question, recall: Recall, once: Sequence[ShownClip]) -> TimesInView:
    """What an answer can have read of which clips are recalled, and `once` is shown beside."""
    clips = (*recall.placed, *recall.recent)
    shown = [ShownClip.remembered(clip, question.asked_s) for clip in clips]
    return TimesInView.of(question, [*shown, *once])


def _scheduler_class(settings: VllmSection) -> str:
    """vLLM overlaps steps on a GPU, unless it guesses tokens ahead, but not on a CPU; a scheduler
    of the other kind forbids it."""
    overlaps = not (is_cpu_build() or settings.guessed_tokens)
    return "AsyncSegmentScheduler" if overlaps else "SegmentScheduler"
