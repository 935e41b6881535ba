"""`Summaries`: what a stream's diary says in short: of each quarter of an hour, hour and day.

A summary is written when its period is over, from the level below by the model where it can sum up
texts, else by rule from the sentences (`digest.py`). It is written again where a part of its period
is deleted.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence

from onlooker.cache_store.diary import LEVELS, DiaryEntry, DiaryQuery, Level
from onlooker.core.errors import CapacityError, ClientError, Overloaded, ServiceError
from onlooker.streams.diary.digest import DigestSentences, digest
from onlooker.streams.diary.periods import SUMMED, Period, WallClock
from onlooker.streams.diary.stream_diary import StreamDiary

_log = logging.getLogger("onlooker.streams.diary")

SumUp = Callable[[str], Awaitable[str]]
"""A function that has the model sum up notes, a line each; returns its words."""

LONGEST_S = {Level.QUARTER: 900.0, Level.HOUR: 3600.0, Level.DAY: 25 * 3600.0}
"""No period of a level lasts longer, in seconds."""

MAX_ENTRIES = 20_000
"""Sentences that one summary reads."""

MAX_NOTES_CHARS = 1500
"""Letters of the notes that the model sums up; of more it reads every second, third, ... one."""


class Summaries:
    """Of one stream. Everything runs on the event loop.

    Args:
        sum_up: None where the model cannot sum up texts.
    """

    def __init__(
        self, diary: StreamDiary, clock: WallClock, *, sum_up: SumUp | None = None
    ) -> None:
        self._diary, self.clock, self._sum_up = diary, clock, sum_up
        self._running: dict[Level, Period] = {}
        """The periods that the stream is in."""
        self._offset_s = 0.0
        """What the clock shows at stream time 0, as far as was last known."""
        self._is_begun = False

    async def note(self, at_s: float, wall_s: float) -> None:
        """Note that the stream has come to a time, and write the summaries of what is over."""
        now_s = self.clock.at(at_s, wall_s)
        self._offset_s = now_s - at_s
        over = [level for level in SUMMED if not self._is_within(level, now_s)]
        if not over:
            return
        try:
            for level in over:
                if not self._is_begun:
                    await self._catch_up(level, now_s)
                elif level in self._running:
                    await self._write(self._running[level])
                self._running[level] = self.clock.period(level, now_s)
        except Overloaded as error:
            _log.warning("a summary is left out", extra={"detail": str(error)})
        self._is_begun = True

    def is_over(self, at_s: float, wall_s: float) -> bool:
        """Whether a period that the stream was in is over when it has come to a time."""
        now_s = self.clock.at(at_s, wall_s)
        return any(not self._is_within(level, now_s) for level in self._running)

    async def redo(self, start_s: float, end_s: float) -> None:
        """Write the summaries again whose periods touch a span of stream time, since a part of it
        was deleted. Raises `Overloaded`."""
        for level in SUMMED:
            margin_s = LONGEST_S[level]
            left = await self._found(Level.SCENE, start_s - margin_s, end_s + margin_s)
            periods = {self.clock.period(level, self._shown(one)): one for one in left}
            for period, one in periods.items():
                offset_s = self._offset_of(one)
                touches = period.start_s - offset_s <= end_s and period.end_s - offset_s >= start_s
                if touches and period != self._running.get(level):
                    await self._write(period, offset_s=offset_s)

    # ---- inside

    def _is_within(self, level: Level, now_s: float) -> bool:
        period = self._running.get(level)
        return period is not None and period.start_s <= now_s < period.end_s

    async def _catch_up(self, level: Level, now_s: float) -> None:
        """Write what an earlier server did not come to write: the summary of the period in which
        the last sentence before now lies."""
        query = DiaryQuery(
            start_s=-math.inf,
            end_s=math.inf,
            levels=(Level.SCENE,),
            limit=1,
            newest_first=True,
        )
        for last in await self._diary.find(query):
            period = self.clock.period(level, self._shown(last))
            if not period.start_s <= now_s < period.end_s:
                await self._write(period, offset_s=self._offset_of(last))

    async def _write(self, period: Period, *, offset_s: float | None = None) -> None:
        offset_s = self._offset_s if offset_s is None else offset_s
        start_s = period.start_s - offset_s
        end_s = math.nextafter(period.end_s - offset_s, -math.inf)
        entries = await self._found(Level.SCENE, start_s, end_s)
        for run in self._runs(entries):
            first_s, last_s = run[0].start_s, max(one.end_s for one in run)
            text = await self._text(period, run, first_s, last_s)
            summary = DiaryEntry(
                level=period.level,
                start_s=first_s,
                end_s=last_s,
                wall_s=run[0].wall_s,
                text=text,
            )
            self._diary.add([summary])

    def _runs(self, entries: Sequence[DiaryEntry]) -> list[list[DiaryEntry]]:
        """The entries between which nothing was deleted, together: no summary lies over a deleted
        time, so that all that does can be told to be from before."""
        runs: list[list[DiaryEntry]] = []
        for entry in entries:
            if runs and not self._diary.is_forgotten(runs[-1][-1].end_s, entry.start_s):
                runs[-1].append(entry)
            else:
                runs.append([entry])
        return runs

    async def _text(
        self, period: Period, entries: Sequence[DiaryEntry], start_s: float, end_s: float
    ) -> str:
        if self._sum_up is not None:
            below = LEVELS[LEVELS.index(period.level) - 1]
            notes = entries
            if below is not Level.SCENE:
                notes = await self._found(below, start_s, end_s) or entries
            try:
                if text := await self._sum_up(self._notes(notes)):
                    return text
            except (ServiceError, ClientError, CapacityError) as error:
                _log.info("a summary is made by rule", extra={"detail": error.message})
        return await asyncio.to_thread(lambda: self.digest(DigestSentences(entries)))

    def digest(self, sentences: DigestSentences, *, max_items: int | None = None) -> str:
        """The digest of some sentences, as summaries tell it; of `max_items` things where that is
        given. Called by threads."""
        most = max_items or self._diary.settings.max_summary_items
        return digest(sentences, max_items=most, told=self.told)

    def told(self, entry: DiaryEntry) -> str:
        """The time of an entry for people."""
        return self.clock.told(self._shown(entry))

    def told_at(self, at_s: float, wall_s: float) -> str:
        """A stream time for people, where it was at `wall_s`."""
        return self.clock.told(self.clock.at(at_s, wall_s))

    def _notes(self, notes: Sequence[DiaryEntry]) -> str:
        lines = [f"{self.told(one)} {one.text}" for one in notes]
        num_chars = sum(len(line) + 1 for line in lines)
        step = -(-num_chars // MAX_NOTES_CHARS)
        return "\n".join(lines[::step])[:MAX_NOTES_CHARS]

    async def _found(self, level: Level, start_s: float, end_s: float) -> list[DiaryEntry]:
        query = DiaryQuery(start_s=start_s, end_s=end_s, levels=(level,), limit=MAX_ENTRIES)
        return await self._diary.find_all(query)

    def _shown(self, entry: DiaryEntry) -> float:
        """What the clock showed when an entry begins."""
        return self.clock.at(entry.start_s, entry.wall_s)

    def _offset_of(self, entry: DiaryEntry) -> float:
        return self._shown(entry) - entry.start_s
