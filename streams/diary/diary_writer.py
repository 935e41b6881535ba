"""`DiaryWriter`: has the model write a stream's diary while it watches, in the background.

A clip that has nothing new costs the comparison of two small pictures. What begins a scene, or
changes something, is worth a sentence: a request of the lowest class about a few clips, of which
nothing is remembered. A sentence costs an engine step for each of its tokens, so some are written
together and share their steps: a clip is asked about as it was, however much later that is. Who
reads the diary has those written first that are due.

Live, ingest never waits for a sentence: where the server lags or its load has lowered the stream's
quality, it is left out and counted, and the next one says what is there by then. On the virtual
clock all are waited for, so that the same video has the same diary.
"""

import asyncio
import contextlib
import logging
import math
import re
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from onlooker.cache_store.diaries.words import words_of
from onlooker.cache_store.diary import DiaryEntry, Level
from onlooker.core.clock import Clock
from onlooker.core.errors import CapacityError, ClientError, ServiceError
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip
from onlooker.core.waiting import within
from onlooker.engine.care import Care
from onlooker.engine.interface import AnswerDelta, Question
from onlooker.engine.sampling import GREEDY, Sampling
from onlooker.engine.supervisor import EngineSupervisor
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.ticket import Ticket
from onlooker.streams.diary.periods import WallClock
from onlooker.streams.diary.scene_gate import News, Novelty, SceneGate, unnamed
from onlooker.streams.diary.stream_diary import StreamDiary
from onlooker.streams.diary.summaries import Summaries
from onlooker.watches.triggers.sight import colors_in

_log = logging.getLogger("onlooker.streams.diary")

BACKLOG = 8
"""Clips of a live stream that wait to be looked at."""

SETTLE_S = 0.3
"""How long a reader waits for the sentences that are due about a live stream."""

CLOSE_S = 2.0
"""How long the end of a stream waits for them."""

MINUTE_S = 60.0

DUE_S = 60.0
"""Nobody waits for a sentence: this is what the scheduler is told."""

REPEAT_S = 10.0
"""The same sentence within so much stream time says nothing new, unless another was about the same
thing in between."""

SUMMARY_FACTOR = 4
"""How many times as long as a sentence a summary may be."""

SAME_THING = 2
"""Words that two sentences about the same thing have in common, at least."""

_WITH_CHANCES = Sampling(num_alternatives=0)

_BABBLE = re.compile(r"\b(\w+)(?:\W+\1\b){2,}", re.IGNORECASE)
"""A word three times in a row: a model that has lost the thread."""


@dataclass(frozen=True, slots=True)
class _Seen:
    clip: Clip
    wall_s: float


@dataclass(frozen=True, slots=True, eq=False)
class _Due:
    """A sentence that is to be written."""

    seen: _Seen
    is_scene: bool
    """Whether it says what is to be seen, rather than what has changed."""
    colors: frozenset[str] = frozenset()
    """The colours that the picture has more of than before."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What the model said."""

    text: str
    chance: float
    """Probability of its least likely token; 1 where that was not asked for."""


class DiaryWriter:
    """Of one stream. Everything runs on the event loop, but for the comparison of pictures.

    Args:
        pool: threads on which pictures are compared.
        is_strained: whether the stream is served with less than full quality now, for the load.
    """

    def __init__(
        self,
        stream_id: StreamId,
        diary: StreamDiary,
        *,
        engine: EngineSupervisor,
        clock: Clock,
        pool: Executor,
        is_strained: Callable[[], bool],
        wall: WallClock,
        is_live: bool,
    ) -> None:
        self._stream_id, self._diary = stream_id, diary
        self._engine, self._clock, self._pool = engine, clock, pool
        self._is_strained = is_strained
        self._is_live = is_live
        can_sum_up = engine.info.wording.summary is not None
        self.summaries = Summaries(diary, wall, sum_up=self._sum_up if can_sum_up else None)
        """What keeps the summaries of the stream's quarters, hours and days."""
        self._keeper = diary.keeper
        self._gate = SceneGate()
        self._arrived: deque[_Seen] = deque()
        self._arrival = asyncio.Event()
        self._has_gap = False
        """Whether something may have been missed since the last sentence."""
        self._due: list[_Due] = []
        self._due_at_s = math.inf
        """Clock time at which the sentences about a live stream are written that are due."""
        self._writing = asyncio.Lock()
        self._settled = asyncio.Event()
        """Set while no sentence is due."""
        self._settled.set()
        self._noted_s: deque[float] = deque(maxlen=diary.settings.max_per_minute)
        """Stream times of the newest clips that were found worth a sentence."""
        self._recent: deque[DiaryEntry] = deque(maxlen=16)

    @property
    def num_due(self) -> int:
        """Sentences that are yet to be written."""
        return len(self._due)

    def on_clip(self, clip: Clip, wall_s: float) -> None:
        """Take a clip of a live stream that the model has seen. Never waits."""
        self._arrived.append(_Seen(clip, wall_s))
        if len(self._arrived) > BACKLOG:
            self._arrived.popleft()
            self._has_gap = True
            self._keeper.count("passed_over")
        self._arrival.set()

    async def see(self, clip: Clip, wall_s: float) -> None:
        """Take a clip of a stream on the virtual clock, and return when all is written about it."""
        await self._look(_Seen(clip, wall_s))

    async def run(self) -> None:
        """Look at the clips of a live stream and write about them, until cancelled."""
        while True:
            await self._wait()
            if self._arrived:
                await self._look(self._arrived.popleft())
            elif self._clock.now_s() >= self._due_at_s:
                await self._write()

    async def settle(self) -> None:
        """Have the sentences written that are due, for who reads the diary: all of a stream on the
        virtual clock; of a live one those that are ready within `SETTLE_S`."""
        if not self._is_live:
            await self._write()
        elif self._due:
            self._due_at_s = self._clock.now_s()
            self._arrival.set()
            with contextlib.suppress(TimeoutError):
                await within(self._clock, SETTLE_S, self._settled.wait())

    async def close(self) -> None:
        """Write what is due about a stream that ends and is kept; waits at most `CLOSE_S`."""
        with contextlib.suppress(TimeoutError):
            await within(self._clock, CLOSE_S, self._write())

    def forget(self, start_s: float, end_s: float) -> None:
        """Let go of all that tells of a span of stream time and is not written yet."""
        kept = [one for one in self._arrived if not _touches(one.clip, start_s, end_s)]
        self._has_gap = self._has_gap or len(kept) < len(self._arrived)
        self._arrived.clear()
        self._arrived.extend(kept)
        self._drop([one for one in self._due if _touches(one.seen.clip, start_s, end_s)])
        self._recent.clear()

    # ---- inside

    async def _wait(self) -> None:
        """Return when there is a clip to look at, or a sentence to write."""
        while not self._arrived and (left_s := self._due_at_s - self._clock.now_s()) > 0:
            self._arrival.clear()
            if not self._due:
                await self._arrival.wait()
                continue
            with contextlib.suppress(TimeoutError):
                await within(self._clock, left_s, self._arrival.wait())

    async def _look(self, seen: _Seen) -> None:
        clip = seen.clip
        measured = partial(self._gate.measure, clip)
        news = await asyncio.get_running_loop().run_in_executor(self._pool, measured)
        if news.novelty is not Novelty.NOTHING or self._has_gap:
            self._note_due(seen, news)
        is_over = self.summaries.is_over(clip.start_s, seen.wall_s)
        if is_over or len(self._due) >= self._diary.settings.max_together:
            await self._write()
        await self.summaries.note(clip.start_s, seen.wall_s)

    def _note_due(self, seen: _Seen, news: News) -> None:
        if self._must_leave_out(seen.clip):
            self._has_gap = True
            self._keeper.count("skipped")
            return
        if self._is_live and not self._due:
            # All streams write at the same moments, so that they share steps, too.
            gather_s, now_s = self._diary.settings.gather_s, self._clock.now_s()
            beat_s = math.floor(now_s / gather_s + 1) * gather_s if gather_s else now_s
            self._due_at_s = beat_s
        is_scene = news.novelty is Novelty.SCENE or self._has_gap
        self._due.append(_Due(seen, is_scene, news.colors))
        self._settled.clear()
        self._has_gap = False
        self._noted_s.append(seen.clip.start_s)

    def _must_leave_out(self, clip: Clip) -> bool:
        """Whether no sentence is wanted yet, or the server has no time for one."""
        settings, noted_s = self._diary.settings, self._noted_s
        is_full = len(noted_s) == noted_s.maxlen and clip.start_s - noted_s[0] < MINUTE_S
        if is_full or not self._is_live:
            return is_full
        is_early = bool(noted_s) and clip.start_s - noted_s[-1] < settings.min_gap_s
        return is_early or self._is_strained()

    async def _write(self) -> None:
        """Write the sentences that are due, together; what is cancelled stays due."""
        async with self._writing:
            batch = list(self._due)
            if batch and self._is_live and self._is_strained():
                self._has_gap = True
                for _ in batch:
                    self._keeper.count("skipped")
            else:
                texts = await asyncio.gather(*(self._written(one) for one in batch))
                for one, text in zip(batch, texts, strict=True):
                    if text is not None and one in self._due:
                        self._note(one.seen, text, is_scene=one.is_scene)
            self._drop(batch)

    def _drop(self, gone: list[_Due]) -> None:
        self._due = [one for one in self._due if one not in gone]
        if not self._due:
            self._due_at_s = math.inf
            self._settled.set()

    async def _written(self, due: _Due) -> str | None:
        """A sentence; None where it could not be written."""
        async with self._keeper.room:
            try:
                return await self._sentence(due)
            except (ServiceError, ClientError, CapacityError) as error:
                self._has_gap = True
                self._keeper.count("failed")
                _log.debug("a sentence was not written", extra={"detail": error.message})
                return None

    async def _sentence(self, due: _Due) -> str:
        """What the model says; empty where it has nothing to say. Where it is not sure of what has
        changed, that lacks what the picture shows, or is the whole scene, it says what is to be
        seen."""
        wording, at_s = self._engine.info.wording, due.seen.clip.end_s
        said: _Said | None = None
        if not due.is_scene:
            said = await self._asked(wording.commentary, at_s, num_clips=wording.num_clips)
            is_silent = wording.is_pause(said.text) or any(
                said.text.startswith(start) for start in wording.silence
            )
            if wording.names_colors and due.colors.difference(colors_in(said.text)):
                said = None
            elif is_silent:
                return ""
            elif re.match(wording.new_scene, said.text, re.IGNORECASE):
                said = None
            elif said.chance >= wording.sure_commentary:
                return said.text
        seen = await self._asked(wording.scene, at_s, num_clips=wording.num_scene_clips)
        if said is not None and seen.chance < said.chance:
            return said.text
        lacking = due.colors.difference(colors_in(seen.text)) if wording.names_colors else ()
        return ". ".join([seen.text, *(unnamed(color) for color in sorted(lacking))])

    async def _sum_up(self, notes: str) -> str:
        wording, settings = self._engine.info.wording, self._diary.settings
        assert wording.summary is not None, "the caller has looked"
        asked = wording.summary.replace("{notes}", notes)
        async with self._keeper.room:
            said = await self._asked(
                asked, 0.0, num_clips=0, max_tokens=SUMMARY_FACTOR * settings.max_tokens
            )
        return said.text

    async def _asked(
        self, text: str, at_s: float, *, num_clips: int, max_tokens: int | None = None
    ) -> _Said:
        now_s = self._clock.now_s()
        ticket = Ticket(RequestClass.BACKGROUND, now_s, now_s + DUE_S, stream=self._stream_id)
        is_doubted = self._engine.info.wording.sure_commentary > 0
        question = Question(
            text=text,
            stream_id=self._stream_id,
            asked_s=at_s,
            max_tokens=max_tokens or self._diary.settings.max_tokens,
            sampling=_WITH_CHANCES if is_doubted else GREEDY,
            newest_clips=num_clips,
            care=Care(ticket),
        )
        events = self._engine.answer(question)
        said = [event async for event in events if isinstance(event, AnswerDelta)]
        least = min((one.logprob for piece in said for one in piece.chances), default=0.0)
        words = " ".join("".join(piece.text for piece in said).split())
        return _Said(words, math.exp(min(0.0, least)))

    def _note(self, seen: _Seen, text: str, *, is_scene: bool) -> None:
        clip = seen.clip
        entry = DiaryEntry(
            level=Level.SCENE,
            start_s=clip.start_s,
            end_s=clip.end_s,
            wall_s=seen.wall_s,
            text=text,
        )
        if not text or _BABBLE.search(text):
            self._keeper.count("silent")
        elif self._is_repeat(entry, is_scene=is_scene):
            self._keeper.count("repeated")
        else:
            self._keeper.count("written")
            self._recent.append(entry)
            self._diary.add([entry])

    def _is_repeat(self, entry: DiaryEntry, *, is_scene: bool) -> bool:
        if is_scene:  # another picture may well look like an earlier one
            return bool(self._recent) and self._recent[-1].text == entry.text
        words = set(words_of(entry.text))
        for earlier in reversed(self._recent):
            if entry.start_s - earlier.start_s > REPEAT_S:
                return False
            if earlier.text == entry.text:
                return True
            if len(words.intersection(words_of(earlier.text))) >= SAME_THING:
                return False
        return False


def _touches(clip: Clip, start_s: float, end_s: float) -> bool:
    return clip.start_s <= end_s and clip.end_s >= start_s
