"""`SegmentPrompts`: which segments a request is made of, for watching and for answering."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onlooker.core.errors import TooLarge
from onlooker.core.media import Clip
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.checks import Check
from onlooker.engine.interface import Question
from onlooker.engine.memory.clip_tokens import ClipTokens
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.memory.notes import Note
from onlooker.engine.memory.once import Once
from onlooker.engine.memory.prompt import PromptBuilder
from onlooker.engine.memory.retelling import Retelling, retold
from onlooker.engine.memory.shown import ShownClip, before_until_s, in_turn
from onlooker.engine.memory.stream_memory import Recall, StreamMemory
from onlooker.engine.memory.thinning import ThinClip, Thinner
from onlooker.engine.memory.timeline import RememberedClip
from onlooker.engine.memory.times import Now
from onlooker.engine.memory.window_opening import WindowOpening
from onlooker.engine.vllm_adapter.gateway.composer import PromptComposer, clip_uuid
from onlooker.engine.vllm_adapter.gateway.preparer import ClipPreparer
from onlooker.engine.vllm_adapter.gateway.runner import VllmRunner

MAX_HEADS = 64
"""System prompts whose tokens are remembered."""

RunForEffect = Callable[[PromptBuilder], Awaitable[object]]
"""A function that runs a request for what it saves."""


@dataclass(frozen=True, slots=True)
class Ingesting:
    """The prompt that computes and saves a clip."""

    builder: PromptBuilder
    tokens: ClipTokens
    """The clip as it is kept."""
    thin: ThinClip | None
    """What is computed of it; None: all, and nothing is to be noted of that."""

    @property
    def is_filled(self) -> bool:
        """Whether it is kept whole by what the clip before it has."""
        return self.thin is not None and self.thin.filling is not None

    def done(self, memory: StreamMemory) -> None:
        """Note that the clip was computed and kept."""
        memory.window.done()
        if self.thin is not None:
            self.thin.note(memory)


@dataclass(frozen=True, slots=True)
class CheckTokens:
    """The words of a check: text before the clips, and token ids of what stands behind them."""

    head: str
    """The prompt's text before the clips."""
    asked: list[int]
    given: list[int]
    """The reply whose perplexity is wanted."""


class SegmentPrompts:
    """Plans prompts; computes the segment of a system prompt where it is not stored yet.

    Args:
        step_tokens: the most tokens of one request that one engine step takes in, whatever else
            runs.
    """

    def __init__(
        self,
        runner: VllmRunner,
        composer: PromptComposer,
        clips: ClipPreparer,
        thinner: Thinner,
        *,
        settings: MemorySection,
        recent_clips: int,
        stride_clips: int | None,
        step_tokens: int,
        run_for_effect: RunForEffect,
        retelling: Retelling,
    ) -> None:
        self._runner = runner
        self._composer = composer
        self._clips = clips
        self._thinner = thinner
        self._settings = settings
        self._recent_clips = recent_clips
        self._stride_clips = stride_clips
        self._step_tokens = step_tokens
        self._run_for_effect = run_for_effect
        self._retelling = retelling
        self._heads: dict[str, list[int]] = {}

    async def ingesting(self, memory: StreamMemory, clip: Clip, care: Care = NO_CARE) -> Ingesting:
        """The prompt that computes and saves `clip`."""
        head, tokens, pixels = await self._prepared(memory, clip)
        sink = await self._sink(memory, head)
        max_clips = care.of(self._recent_clips)
        stride_clips = self._stride_clips or max(1, max_clips // 4)
        context, salt = memory.before(clip.start_s, max_clips, min(stride_clips, max_clips))
        # A clip that comes late has a context that no other shares.
        opening = WindowOpening() if salt is None else memory.opening
        builder = opening.prompt(sink, [earlier.tokens for earlier in context], salt)
        thin = None if salt is None else await self._thinner.thin(memory, clip, tokens, care)
        span_s, until_s = (clip.start_s, clip.end_s), before_until_s(clip)
        shown, filling = (tokens, None) if thin is None else (thin.tokens, thin.filling)
        kept = builder.save_clip(shown, pixels, span_s, until_s, filling, epoch=memory.epoch)
        return Ingesting(builder, kept, thin)

    async def probing(
        self,
        memory: StreamMemory,
        question: Question,
        recall: Recall,
        *,
        traces: bool = False,
        reads: Sequence[str] = (),
    ) -> PromptBuilder:
        """The prompt that asks which of the candidates the answer wants, or, with `traces`, for
        everything that can be said of them. `reads`: see `Probe`."""
        builder, tail = await self._opened(memory, question)
        for clip in recall.recent:
            builder.load_clip(clip.tokens)
        builder.probe(
            recall.candidates.keys,
            recall.num_slots,
            [clip.tokens.key for clip in recall.recent],
            traces=traces,
            reads=reads,
        )
        builder.question(tail)
        self._check_step(builder)
        return builder

    async def asking(
        self,
        memory: StreamMemory,
        question: Question,
        recall: Recall,
        once: Sequence[Once],
        newest: Clip | None = None,
    ) -> PromptBuilder:
        """The prompt of an answer.

        Args:
            once: what is computed for this answer only.
            newest: the stream's newest clip with its pixels. Where it was computed without some of
                its places and is shown last, it is computed whole for this answer.
        """
        shown = [ShownClip.remembered(clip, question.asked_s) for clip in recall.placed]
        shown += [ShownClip.remembered(clip, question.asked_s) for clip in recall.recent]
        shown += [one.shown for one in once]
        if not recall.num_slots:
            now = Now.of(question, self._settings.zone)
            text = retold(question.text, now, in_turn(shown), self._retelling)
            question = replace(question, text=text)
        builder, tail = await self._opened(memory, question)
        whole = self._to_make_whole(recall, newest)
        stored = [clip for clip in recall.placed if clip is not whole]
        recent = [clip for clip in recall.recent if clip is not whole]
        for clip in stored:
            builder.load_clip(clip.tokens)
        if recall.num_slots:
            shapes = [clip.tokens for clip in recall.candidates[: recall.num_slots]]
            builder.retrieve(recall.candidates.keys, shapes)
        for clip in recent:
            builder.load_clip(clip.tokens)
        again = [newest] if whole is not None and newest is not None else []
        for picture in (*again, *(one.clip for one in once), *question.images):
            _, tokens, pixels = await self._prepared(memory, picture, once=question.response_id)
            builder.picture(tokens, pixels)
        builder.question(tail)
        if recall.num_slots:
            self._check_step(builder)
        return builder

    def _to_make_whole(self, recall: Recall, newest: Clip | None) -> RememberedClip | None:
        """The clip that an answer shows last, where it was not computed whole and is to be."""
        last = (recall.recent or recall.placed)[-1:]
        if newest is None or not last or not self._settings.token_drop.newest_whole:
            return None
        is_thin = last[0].tokens.shown_ratio < 1
        return last[0] if is_thin and last[0].clip_index == newest.clip_index else None

    async def noting(
        self, memory: StreamMemory, text: str, asked_s: float
    ) -> tuple[PromptBuilder, Note]:
        """The prompt that computes a note of `text`, asked at `asked_s`, and the note."""
        limit = self._settings.notes_tokens
        token_ids = self._token_ids(self._composer.neutral(text))[:limit]
        note = memory.notes.next_note(token_ids, asked_s)
        builder = PromptBuilder()
        builder.load_text(*await self._sink(memory, self._composer.watched_parts[0]))
        for earlier in memory.notes.within(limit):
            builder.load_text(earlier.key, earlier.token_ids)
        builder.save_text(note.key, note.token_ids, note.meta(), epoch=memory.epoch)
        builder.question(note.token_ids[-1:])
        return builder, note

    async def _opened(
        self, memory: StreamMemory, question: Question
    ) -> tuple[PromptBuilder, list[int]]:
        """A prompt with what stands before the clips, and the tokens of the question."""
        has_notes = self._settings.notes == "notes"
        head, _, tail = self._composer.parts(
            question.text,
            () if has_notes else question.dialogue,
            question.instructions,
            tools=question.tools,
            made=question.made,
        )
        asked = self._token_ids(tail)
        if len(asked) > self._settings.question_tokens:
            raise TooLarge(
                f"question and dialogue are {len(asked)} tokens long, over the limit of "
                f"{self._settings.question_tokens} (engine.memory.question_tokens): "
                "ask more briefly",
                param="question",
            )
        builder = PromptBuilder()
        builder.load_text(*await self._sink(memory, head))
        if has_notes:
            for note in memory.notes.within(self._settings.notes_tokens):
                builder.load_text(note.key, note.token_ids)
        return builder, asked

    def _check_step(self, builder: PromptBuilder) -> None:
        """Refuse a question that is to choose clips and does not fit one step: it chooses by all of
        its tokens at once."""
        num_tokens = builder.num_computed_tokens
        if num_tokens > self._step_tokens:
            raise TooLarge(
                f"question, dialogue and pictures are {num_tokens} tokens long; a question that "
                f"brings old clips back has {self._step_tokens} at most, since it must fit one "
                "engine step (engine.vllm.max_num_batched_tokens): ask more briefly",
                param="question",
            )

    def words(self, check: Check) -> CheckTokens:
        """What a check says, as tokens."""
        head, _, tail = self._composer.parts(check.text, (), check.instructions)
        given = "" if check.given is None else self._composer.neutral(check.given)
        return CheckTokens(head, self._token_ids(tail), self._token_ids(given))

    async def checking(
        self,
        memory: StreamMemory,
        check: Check,
        tokens: CheckTokens,
        clips: Sequence[RememberedClip] | None = None,
    ) -> PromptBuilder:
        """The prompt of a check, which saves nothing. `clips`: what it shows; None: the newest."""
        builder = PromptBuilder()
        builder.load_text(*await self._sink(memory, tokens.head))
        if clips is None:
            clips = memory.recent(check.num_clips, until_s=check.asked_s)
        for clip in clips:
            builder.load_clip(clip.tokens)
        builder.question([*tokens.asked, *tokens.given])
        return builder

    async def _prepared(
        self, memory: StreamMemory, clip: Clip, *, once: str | None = None
    ) -> tuple[str, ClipTokens, Any]:
        """The text before the clips, and `clip` as tokens and as features with pixels.

        `once` names the answer for which it is shown once: its frames may belong to a clip that
        comes later under the same index, which must not be taken for this one.
        """
        head, _ = self._composer.watched_parts
        if once is None:
            key = memory.clip_key(clip.clip_index)
        else:  # a picture has an index below zero, which is no key of a stream
            key = f"once/{once}/{clip_uuid('', clip)}"
        tokens, pixels = await self._clips.prepare(key, clip)
        return head, tokens, pixels

    async def _sink(self, memory: StreamMemory, head: str) -> tuple[str, list[int]]:
        """The stored segment of the system prompt; computed when it is not there yet."""
        token_ids = self._heads.get(head)
        if token_ids is None:
            if len(self._heads) >= MAX_HEADS:
                self._heads.clear()
            token_ids = self._heads[head] = self._token_ids(head)
        if len(token_ids) > self._settings.sink_tokens:
            raise TooLarge(
                f"the instructions, with the tools, are {len(token_ids)} tokens long, over the "
                f"limit of {self._settings.sink_tokens} (engine.memory.sink_tokens): shorten them",
                param="instructions",
            )
        key = memory.sink_key(head)
        if key not in memory.sinks:
            builder = PromptBuilder()
            builder.save_text(key, token_ids, epoch=memory.epoch)
            builder.question(token_ids[-1:])
            await self._run_for_effect(builder)
            memory.sinks.add(key)
        return key, token_ids

    def _token_ids(self, text: str) -> list[int]:
        return list(self._runner.tokenizer.encode(text, add_special_tokens=False))
