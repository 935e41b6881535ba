"""A deterministic engine without a model: answers from a script, about clips it really looked at.

It keeps of each clip its mean colour and a digest of its pixels, so that tests can tell from an
answer alone which frames could have influenced it.
"""

import hashlib
import math
import re
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onlooker.cache_store.leases import Claim
from onlooker.core.clock import Clock, SystemClock
from onlooker.core.errors import ConfigError, EngineDead, EngineFailed
from onlooker.core.guarantee import Guarantee
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Cover
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.fake_writing import calls_for, held_to
from onlooker.engine.interface import (
    AnswerDelta,
    AnswerEnd,
    AnswerEvent,
    EngineInfo,
    Evidence,
    EvidenceSource,
    FinishReason,
    Forgotten,
    IngestResult,
    Progress,
    Question,
    Remembered,
    Stock,
    Waiting,
)
from onlooker.engine.memory.shown import (
    ShownClip,
    before_until_s,
    cover_s,
    cover_until_s,
    in_turn,
    spans_s,
)
from onlooker.engine.memory.times import Now, named_spans
from onlooker.engine.sampling import TokenChance
from onlooker.scheduler.load import EngineLoad

Script = Sequence[tuple[str, str]]
"""Pairs of (regular expression for the question, reply template); the first that matches is taken.

Templates may name ``{num_clips}``, ``{seen_until_s}``, ``{colour}`` (of the newest clip),
``{colours}`` (of all clips, runs merged), ``{digest}`` (of all pixels seen), ``{question}``,
``{asked_s}``, ``{num_turns}`` (of dialogue), ``{num_images}``, ``{instructions}`` and ``{result}``
(of the last function that was called).
"""

DEFAULT_SCRIPT: Script = (
    (r"(?i)\bcolou?rs\b", "I have seen these colours: {colours}."),
    (r"(?i)\bcolou?r\b", "The newest clip is mostly {colour}."),
    (r"(?i)\bdigest\b", "{num_clips}:{digest}"),
    (r"(?i)\bhow (many|much)\b", "I have seen {num_clips} clips up to {seen_until_s:.2f} s."),
    (
        r"",
        "I have seen {num_clips} clips up to {seen_until_s:.2f} s; the newest is mostly {colour}.",
    ),
)

_PALETTE = {
    "black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128), "red": (220, 40, 40),
    "green": (40, 180, 60), "blue": (50, 80, 220), "yellow": (240, 220, 50),
    "orange": (240, 140, 40), "purple": (150, 60, 180),
}  # fmt: skip


TOKEN_BYTES = 1024
"""Bytes that a token is said to take, so that limits of memory can be tried without a model."""

NOT_SEEN = "I can't tell."
"""The reply to a question about a time that no clip stands for."""


@dataclass(frozen=True, slots=True)
class _SeenClip:
    clip_index: int
    start_s: float
    end_s: float
    until_s: float
    """Where its cover ends."""
    colour: str
    pixels: bytes
    """A digest of its frames."""
    first_half: "_SeenClip | None"
    """The clip as it was when only its first frame had been captured; None where the clip is one
    frame repeated."""

    def covering(self, until_s: float) -> "_SeenClip":
        """The clip with a cover that reaches `until_s` at least."""
        return replace(self, until_s=max(self.until_s, until_s))

    def shown(self, asked_s: float) -> ShownClip:
        """The clip in a context of stream time `asked_s`."""
        until_s = max(self.end_s, min(self.until_s, asked_s))
        return ShownClip(self.start_s, until_s, (self.start_s + self.end_s) / 2)


class ScriptedStore:
    """What survives a `ScriptedEngine`: the clips that had been written before it died."""

    def __init__(self, *, is_writing: bool = True, survives: Guarantee = Guarantee.MACHINE) -> None:
        self.survives = survives
        """What a durable clip survives."""
        self.is_writing = is_writing
        """Whether a clip is durable as soon as it was seen; else `write` makes it so."""
        self.is_kept = True
        """Whether it can be relied on; see `Stock.is_kept`."""
        self._clips: dict[StreamId, dict[int, _SeenClip]] = {}
        self._waiting: dict[StreamId, dict[int, _SeenClip]] = {}

    def put(self, stream_id: StreamId, clip_index: int, clip: "_SeenClip") -> None:
        self._waiting.setdefault(stream_id, {})[clip_index] = clip
        if self.is_writing:
            self.write()

    def write(self, *clip_indices: int) -> None:
        """Make waiting clips durable: those with these indices, or all where none is given."""
        for stream_id, clips in self._waiting.items():
            for index in [i for i in clips if not clip_indices or i in clip_indices]:
                self._clips.setdefault(stream_id, {})[index] = clips.pop(index)

    def cover(self, stream_id: StreamId, cover: Cover) -> None:
        """Note, with the clip that follows it, how long a clip stands for what was there."""
        for clips in (self._clips, self._waiting):
            if (clip := clips.get(stream_id, {}).get(cover.clip_index)) is not None:
                clips[stream_id][cover.clip_index] = clip.covering(cover.until_s)

    def lose_waiting(self) -> None:
        """Lose what is not written yet, as when the engine dies."""
        self._waiting.clear()

    def clips(self, stream_id: StreamId) -> "dict[int, _SeenClip]":
        """The durable clips of a stream, by clip index and in order."""
        return dict(sorted(self._clips.get(stream_id, {}).items()))

    def forget_clips(self, stream_id: StreamId, clip_indices: Collection[int]) -> None:
        for clips in (self._clips.get(stream_id, {}), self._waiting.get(stream_id, {})):
            for index in clip_indices:
                clips.pop(index, None)

    def forget(self, stream_id: StreamId) -> None:
        self._clips.pop(stream_id, None)
        self._waiting.pop(stream_id, None)


class ScriptedEngine:
    """An `Engine` for tests and for trying the server out.

    Latencies pass on `clock`, so a test decides with a `ManualClock` when they are over.
    `fail_ingest` and `fail_answer` are asked before each call and make it raise `EngineFailed`,
    `fail_start` makes a start fail. `store` is what survives this engine; None: nothing does.
    """

    def __init__(
        self,
        script: Script = DEFAULT_SCRIPT,
        clock: Clock | None = None,
        *,
        info: EngineInfo | None = None,
        ingest_s: float = 0.0,
        ttft_s: float = 0.0,
        tpot_s: float = 0.0,
        fail_ingest: Callable[[Clip], bool] = lambda clip: False,
        fail_answer: Callable[[Question], bool] = lambda question: False,
        check_s: float = 0.0,
        fail_check: Callable[[Check], bool] = lambda check: False,
        fail_start: Callable[[], bool] = lambda: False,
        store: ScriptedStore | None = None,
    ) -> None:
        self._script = [(re.compile(pattern), template) for pattern, template in script]
        self._clock = clock or SystemClock()
        self._info = info or EngineInfo(
            model="fake",
            mode="fake",
            frame_width=224,
            frame_height=224,
            tokens_per_clip=64,
            max_clips=1 << 20,
            knows="nothing: its answers are scripted, for trying the server without a model",
            writes_json=True,
            calls_functions=True,
            nameplate_prompt="You follow a script.",
        )
        self._ingest_s, self._ttft_s, self._tpot_s = ingest_s, ttft_s, tpot_s
        self._fail_ingest, self._fail_answer = fail_ingest, fail_answer
        self._fail_start = fail_start
        self._store = store
        if store is not None:
            self._info = replace(self._info, survives=store.survives)
        self._check_s, self._fail_check = check_s, fail_check
        self._seen: dict[StreamId, dict[int, _SeenClip]] = {}
        self._is_healthy = True
        self.num_answering = 0
        """Answers under way: 0 once everything that was started has ended."""
        self.checks: list[Check] = []
        """Every check that was asked so far, in order."""

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def start(self, progress: Progress) -> None:
        if self._fail_start():
            raise ConfigError("scripted failure of a start")
        self._seen.clear()
        if self._store is not None:
            self._store.lose_waiting()
        self._is_healthy = True
        progress("the scripted engine is ready")

    async def close(self) -> None:
        self._is_healthy = False

    def healthy(self) -> bool:
        return self._is_healthy

    def die(self) -> None:
        """Make every call raise `EngineDead` until the engine is started again."""
        self._is_healthy = False

    def load(self) -> EngineLoad:
        return EngineLoad()  # this engine does not tell its load

    async def open_stream(self, stream_id: StreamId, claim: Claim | None = None) -> Remembered:
        self._check_alive()
        clips = {} if self._store is None else self._store.clips(stream_id)
        self._seen[stream_id] = clips
        if not clips:
            return Remembered()
        newest = max(clips)
        missing = set(range(min(clips), newest)) - clips.keys()
        return Remembered(newest + 1, clips[newest].end_s, min(clips), frozenset(missing))

    async def close_stream(self, stream_id: StreamId, *, forget: bool = True) -> None:
        self._check_alive()
        self._seen.pop(stream_id, None)
        if forget and self._store is not None:
            self._store.forget(stream_id)

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        await self._clock.sleep(self._ingest_s) if self._ingest_s else None
        self._check_alive()
        if self._fail_ingest(clip):
            raise EngineFailed(f"scripted failure on clip {clip.clip_index}")
        seen = self._seen[clip.stream_id]
        assert clip.clip_index not in seen, "a clip was shown twice"
        seen[clip.clip_index] = look = _look_at(clip)
        before = Cover(clip.clip_index - 1, before_until_s(clip))
        self._cover(clip.stream_id, before)
        if self._store is not None:
            self._store.put(clip.stream_id, clip.clip_index, look)
            self._store.cover(clip.stream_id, before)
        tokens = self._info.tokens_per_clip
        return IngestResult(len(seen) * tokens, (len(seen) - 1) * tokens)

    async def forget(
        self,
        stream_id: StreamId,
        start_s: float,
        end_s: float,
        *,
        is_aged: bool = False,
        max_clips: int | None = None,
    ) -> Forgotten:
        self._check_alive()
        seen = self._seen[stream_id]
        gone = sorted(
            index
            for index, clip in seen.items()
            if clip.start_s <= end_s and (clip.end_s >= start_s or clip.until_s > start_s)
        )
        for index in gone[:max_clips]:
            del seen[index]
        if self._store is not None:
            self._store.forget_clips(stream_id, gone[:max_clips])
        return Forgotten(
            clip_indices=frozenset(gone[:max_clips]),
            has_more=max_clips is not None and len(gone) > max_clips,
        )

    async def take_stock(self, waiting: Waiting) -> Stock:
        self._check_alive()
        clip_bytes = self._info.tokens_per_clip * TOKEN_BYTES
        remembered = {stream_id: len(clips) * clip_bytes for stream_id, clips in self._seen.items()}
        if self._store is None:
            return Stock(remembered=remembered)
        known = {stream_id: self._store.clips(stream_id) for stream_id in waiting}
        durable = {s: [i for i in waiting[s] if i in known[s]] for s in waiting}
        return Stock(durable, remembered=remembered, is_kept=self._store.is_kept)

    async def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        self.num_answering += 1
        try:
            # What is visible is fixed before the first wait: what comes later must not show.
            visible = self._visible(question)
            shown = in_turn([clip.shown(question.asked_s) for clip in visible[-16:]])
            self._check_alive()
            if self._fail_answer(question):
                raise EngineFailed("scripted failure of an answer")
            calls = () if question.made else calls_for(question.text, question.tools)
            pieces = [] if calls else self._pieces(question, visible)
            for index, piece in enumerate(pieces[: question.max_tokens]):
                if latency_s := (self._tpot_s if index else self._ttft_s):
                    await self._clock.sleep(latency_s)
                self._check_alive()
                yield AnswerDelta(piece, _chances(piece, question.sampling.num_alternatives))
            is_cut = len(pieces) > question.max_tokens
            num_context = (len(visible) + len(question.images)) * self._info.tokens_per_clip
            yield AnswerEnd(
                finish_reason=FinishReason.LENGTH if is_cut else FinishReason.STOP,
                num_prompt_tokens=num_context + len(question.text.split()),
                num_cached_tokens=num_context,
                num_output_tokens=min(len(pieces), question.max_tokens),
                clip_spans_s=spans_s(shown),
                evidence=tuple(
                    Evidence(*span, EvidenceSource.RECENT, "device") for span in spans_s(shown)
                ),
                calls=calls,
            )
        finally:
            self.num_answering -= 1

    async def check(self, check: Check) -> CheckResult:
        """Answer from colours. Yes means that the question names the colour of the newest clip and,
        where it says "just", that the clip before had another. Silence means that the newest clip
        has the colour of the one before it. Each score head gives 0.9 where the question names the
        newest clip's colour, else 0.1. A given reply is a surprise (perplexity 4) when it does not
        name the newest clip's colour."""
        by_index = self._seen.get(check.stream_id, {})
        seen = [by_index[index] for index in sorted(by_index)]
        seen = seen[: bisect_right(seen, check.asked_s, key=lambda clip: clip.end_s)]
        self.checks.append(check)
        if self._check_s:
            await self._clock.sleep(self._check_s)
        self._check_alive()
        if self._fail_check(check):
            raise EngineFailed("scripted failure of a check")
        newest = seen[-1].colour if seen else "nothing"
        before = seen[-2].colour if len(seen) > 1 else "nothing"
        tokens = self._info.tokens_per_clip * min(len(seen), check.num_clips)
        result = CheckResult(
            num_prompt_tokens=tokens + len(check.text.split()), num_cached_tokens=tokens
        )
        if check.reads_heads:
            share = 0.9 if re.search(rf"(?i)\b{newest}\b", check.text) else 0.1
            return replace(result, heads=dict.fromkeys(self._info.score_heads, share))
        if check.given is not None:
            return replace(result, perplexity=1.25 if newest in check.given else 4.0)
        is_named = re.search(rf"(?i)\b{newest}\b", check.text) is not None
        if len(check.answers) == 2:
            is_yes = is_named and ("just" not in check.text or newest != before)
        else:
            is_yes = newest == before
        likely, unlikely = math.log(0.95), math.log(0.05)
        logprobs = (likely, unlikely) if is_yes else (unlikely, likely)
        return replace(
            result,
            logprobs=logprobs[: len(check.answers)],
            best=likely,
            best_answer=0 if is_yes else 1 if len(check.answers) == 2 else None,
        )

    def _cover(self, stream_id: StreamId, cover: Cover) -> None:
        seen = self._seen[stream_id]
        if (clip := seen.get(cover.clip_index)) is not None:
            seen[cover.clip_index] = clip.covering(cover.until_s)

    def _visible(self, question: Question) -> list[_SeenClip]:
        for cover in question.covers:
            self._cover(question.stream_id, cover)
        by_index = self._seen.get(question.stream_id, {})
        seen = [by_index[index] for index in sorted(by_index)]
        num_whole = bisect_right(seen, question.asked_s, key=lambda clip: clip.end_s)
        visible = seen[:num_whole]
        cut = seen[num_whole].first_half if num_whole < len(seen) else None
        if cut is not None and cut.end_s <= question.asked_s:
            visible.append(cut.covering(question.asked_s))
        elif question.pending is not None and question.pending.end_s <= question.asked_s:
            pending = _look_at(question.pending)
            until_s = cover_s(question.covers, pending.clip_index, pending.end_s)
            visible.append(pending.covering(until_s))
        if question.newest_clips is not None:
            return visible[-question.newest_clips :]
        spans = named_spans(question.text, Now.of(question))
        if spans:  # a time that is named is answered from what stands for it
            shown = in_turn([clip.shown(question.asked_s) for clip in visible])
            return [
                clip
                for clip, one in zip(visible, shown, strict=True)
                if any(one.stands_for(span) for span in spans)
            ]
        return visible

    def _pieces(self, question: Question, visible: list[_SeenClip]) -> list[str]:
        """The reply, a word each, up to the first of the question's stops."""
        reply = self._reply(question, visible)
        if question.json_schema is not None:
            reply = held_to(reply, question.json_schema)
        for stop in question.sampling.stop:
            reply = reply.partition(stop)[0]
        words = reply.split(" ")
        return [words[0], *(" " + word for word in words[1:])] if reply else []

    def _reply(self, question: Question, visible: list[_SeenClip]) -> str:
        runs = [
            clip.colour
            for before, clip in zip([None, *visible], visible, strict=False)
            if before is None or before.colour != clip.colour
        ]
        for pattern, template in self._script:
            if pattern.search(question.text):
                if not visible and named_spans(question.text, Now.of(question)):
                    return NOT_SEEN
                return template.format(
                    num_clips=len(visible),
                    seen_until_s=visible[-1].end_s if visible else 0.0,
                    colour=visible[-1].colour if visible else "nothing",
                    colours=", ".join(runs) or "none",
                    digest=_digest(visible),
                    question=question.text,
                    asked_s=question.asked_s,
                    num_turns=len(question.dialogue),
                    num_images=len(question.images),
                    instructions=question.instructions,
                    result=question.made[-1].result if question.made else "nothing",
                )
        return "My script has no line for this."

    def _check_alive(self) -> None:
        if not self._is_healthy:
            raise EngineDead("the engine is gone; the server must be restarted")


def _look_at(clip: Clip) -> _SeenClip:
    first, second = clip.frames
    half = None
    if first is not second:
        half = _look_at(Clip(clip.stream_id, clip.clip_index, (first, first)))
    mean = np.mean([frame.pixels[::4, ::4].mean(axis=(0, 1)) for frame in clip.frames], axis=0)
    colour = min(_PALETTE, key=lambda name: float(np.sum((mean - _PALETTE[name]) ** 2)))
    digest = hashlib.blake2b(digest_size=8)
    for frame in clip.frames:
        digest.update(repr(frame.capture_s).encode())
        digest.update(np.ascontiguousarray(frame.pixels).data)
    until_s = cover_until_s(clip)
    return _SeenClip(
        clip.clip_index, clip.start_s, clip.end_s, until_s, colour, digest.digest(), half
    )


def _chances(piece: str, num_alternatives: int | None) -> tuple[TokenChance, ...]:
    """A word as a token that was as likely as not, where probabilities are asked for."""
    if num_alternatives is None:
        return ()
    logprob = math.log(0.5)
    return (TokenChance(piece, logprob, ((piece, logprob),)[:num_alternatives]),)


def _digest(clips: Sequence[_SeenClip]) -> str:
    if not clips:
        return ""
    return hashlib.blake2b(b"".join(clip.pixels for clip in clips), digest_size=8).hexdigest()
