"""`DiaryWriter`: has the model write a stream's diary while it watches, in the background.

A clip that has nothing new costs the comparison of two small pictures. What begins a scene, or
changes something, is worth a sentence: a request of the lowest class about the newest clips, of
which nothing is remembered. Live, ingest never waits for it: where there is no room, or the server
lags, the sentence is left out and counted, and the next one says what is there by then. On the
virtual clock every sentence is waited for, so that the same video has the same diary.
"""

import asyncio
import logging
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
from onlooker.engine.care import Care
from onlooker.engine.interface import AnswerDelta, Question
from onlooker.engine.supervisor import EngineSupervisor
from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.ticket import Ticket
from onlooker.streams.diary.periods import WallClock
from onlooker.streams.diary.scene_gate import Novelty, SceneGate
from onlooker.streams.diary.stream_diary import StreamDiary
from onlooker.streams.diary.summaries import Summaries

_log = logging.getLogger("onlooker.streams.diary")

BACKLOG = 8
"""Clips of a live stream that wait to be looked at."""

DUE_S = 60.0
"""Nobody waits for a sentence: this is what the scheduler is told."""

REPEAT_S = 10.0
"""The same sentence within so much stream time says nothing new, unless another was about the same
thing in between."""

SUMMARY_FACTOR = 4
"""How many times as long as a sentence a summary may be."""

SAME_THING = 2
"""Words that two sentences about the same thing have in common, at least."""

_BABBLE = re.compile(r"\b(\w+)(?:\W+\1\b){2,}", re.IGNORECASE)
"""A word three times in a row: a model that has lost the thread."""


@dataclass(frozen=True, slots=True)
class _Seen:
    clip: Clip
    wall_s: float


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
        self._written_s: float | None = None
        self._recent: deque[DiaryEntry] = deque(maxlen=16)

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
        """Look at the clips of a live stream, until cancelled."""
        while True:
            while not self._arrived:
                self._arrival.clear()
                await self._arrival.wait()
            await self._look(self._arrived.popleft())

    def forget(self, start_s: float, end_s: float) -> None:
        """Let go of all that tells of a span of stream time and is not written yet."""
        kept = [
            one for one in self._arrived if one.clip.start_s > end_s or one.clip.end_s < start_s
        ]
        self._has_gap = self._has_gap or len(kept) < len(self._arrived)
        self._arrived.clear()
        self._arrived.extend(kept)
        self._recent.clear()

    # ---- inside

    async def _look(self, seen: _Seen) -> None:
        clip = seen.clip
        measured = partial(self._gate.measure, clip)
        novelty = await asyncio.get_running_loop().run_in_executor(self._pool, measured)
        if novelty is not Novelty.NOTHING or self._has_gap:
            await self._write(seen, novelty)
        await self.summaries.note(clip.start_s, seen.wall_s)

    async def _write(self, seen: _Seen, novelty: Novelty) -> None:
        room = self._keeper.room
        if self._is_live and self._must_leave_out(seen.clip):
            self._has_gap = True
            self._keeper.count("skipped")
            return
        is_scene = novelty is Novelty.SCENE or self._has_gap
        async with room:
            try:
                text = await self._sentence(seen.clip, is_scene=is_scene)
            except (ServiceError, ClientError, CapacityError) as error:
                self._has_gap = True
                self._keeper.count("failed")
                _log.debug("a sentence was not written", extra={"detail": error.message})
                return
        self._has_gap = False
        self._note(seen, text, is_scene=is_scene)

    def _must_leave_out(self, clip: Clip) -> bool:
        """Whether a live stream has no room for a sentence now, or none is wanted yet."""
        gap_s = self._diary.settings.min_gap_s
        is_early = self._written_s is not None and clip.start_s - self._written_s < gap_s
        return is_early or bool(self._arrived) or self._is_strained() or self._keeper.room.locked()

    async def _sentence(self, clip: Clip, *, is_scene: bool) -> str:
        """What the model says; empty where it has nothing to say."""
        wording = self._engine.info.wording
        at_s = clip.end_s
        if is_scene:
            return await self._asked(wording.scene, at_s, num_clips=wording.num_scene_clips)
        text = await self._asked(wording.commentary, at_s, num_clips=wording.num_clips)
        is_silent = any(text.startswith(start) for start in wording.silence)
        return "" if is_silent else text

    async def _sum_up(self, notes: str) -> str:
        wording, settings = self._engine.info.wording, self._diary.settings
        assert wording.summary is not None, "the caller has looked"
        asked = wording.summary.replace("{notes}", notes)
        async with self._keeper.room:
            return await self._asked(
                asked, 0.0, num_clips=0, max_tokens=SUMMARY_FACTOR * settings.max_tokens
            )

    async def _asked(
        self, text: str, at_s: float, *, num_clips: int, max_tokens: int | None = None
    ) -> str:
        now_s = self._clock.now_s()
        ticket = Ticket(RequestClass.BACKGROUND, now_s, now_s + DUE_S, stream=self._stream_id)
        question = Question(
            text=text,
            stream_id=self._stream_id,
            asked_s=at_s,
            max_tokens=max_tokens or self._diary.settings.max_tokens,
            newest_clips=num_clips,
            care=Care(ticket),
        )
        events = self._engine.answer(question)
        pieces = [event.text async for event in events if isinstance(event, AnswerDelta)]
        return " ".join("".join(pieces).split())

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
            self._written_s = clip.start_s
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
