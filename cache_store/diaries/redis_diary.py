"""`RedisDiary`: the diaries of all streams of a fleet, where the next owner of one finds them.

    <namespace>:diary:<tenant>/<stream>:entries        hash: place -> an entry, JSON
    <namespace>:diary:<tenant>/<stream>:times:<level>  sorted set: place by the entry's beginning
    <namespace>:diary:sizes, :counts                   hashes: stream -> bytes, entries

A place is ``level:start_s``. A write carries the epoch of the stream's owner, and is refused where
Redis knows a newer one. The budgets hold for the fleet. Words are looked for in the texts
themselves, some thousand at a time, so that no module of Redis is needed.
"""

import heapq
import json
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from redis.exceptions import RedisError, ResponseError

from onlooker.cache_store.albums.thinning import Budgets
from onlooker.cache_store.diaries.words import MAX_WORDS, words_of
from onlooker.cache_store.diary import (
    LEVELS,
    DiaryEntry,
    DiaryQuery,
    DiaryStats,
    DiaryUnreachable,
    Level,
    NewDiaryEntry,
)
from onlooker.cache_store.fence import CHECK_EPOCH, FENCED
from onlooker.cache_store.stream_tables import StreamTables, score_of, stream_name

logger = logging.getLogger(__name__)

ENTRY_BYTES = 400
"""Room that an entry takes beside its text: its JSON, and its places in the tables."""

LONGEST_S = {Level.SCENE: 3600.0, Level.QUARTER: 1000.0, Level.HOUR: 3700.0, Level.DAY: 90000.0}
"""No entry of a level lasts longer than this, whose ends may lie on either side of a change of the
clocks."""

LET_GO = 0.05
"""Share of a full diary's stream that goes at once."""

FULL = "FULL"

_PUT = f"""{CHECK_EPOCH}
if redis.call('HEXISTS', KEYS[3], ARGV[2]) == 0 and redis.call('HLEN', KEYS[3]) >= tonumber(ARGV[3])
then
    return redis.error_reply('FULL so many streams have diaries already')
end
for i = 4, #ARGV, 4 do
    local place = ARGV[i]
    local old = redis.call('HSTRLEN', KEYS[2], place)
    redis.call('HSET', KEYS[2], place, ARGV[i + 3])
    redis.call('ZADD', KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2], place)
    local grown = string.len(ARGV[i + 3])
    if old > 0 then grown = grown - old
    else
        grown = grown + {ENTRY_BYTES}
        redis.call('HINCRBY', KEYS[4], ARGV[2], 1)
    end
    redis.call('HINCRBY', KEYS[3], ARGV[2], grown)
end
return 1
"""

_REMOVE = f"""{CHECK_EPOCH}
local gone = 0
for i = 3, #ARGV, 2 do
    local size = redis.call('HSTRLEN', KEYS[2], ARGV[i])
    if size > 0 then
        redis.call('HDEL', KEYS[2], ARGV[i])
        redis.call('ZREM', KEYS[tonumber(ARGV[i + 1])], ARGV[i])
        redis.call('HINCRBY', KEYS[3], ARGV[2], -(size + {ENTRY_BYTES}))
        redis.call('HINCRBY', KEYS[4], ARGV[2], -1)
        gone = gone + 1
    end
end
if redis.call('EXISTS', KEYS[2]) == 0 then
    redis.call('HDEL', KEYS[3], ARGV[2])
    redis.call('HDEL', KEYS[4], ARGV[2])
end
return gone
"""

_DELETE = f"""{CHECK_EPOCH}
redis.call('UNLINK', KEYS[2], KEYS[5], KEYS[6], KEYS[7], KEYS[8])
redis.call('HDEL', KEYS[3], ARGV[2])
redis.call('HDEL', KEYS[4], ARGV[2])
return 1
"""

_FIRST_LEVEL_KEY = 5
_BATCH = 500
"""Entries that one script takes away, or that are read at once."""


class RedisDiary:
    """See `Diary`.

    Args:
        budgets: over all servers.
        timeout_s: limit for each call.
    """

    def __init__(
        self, redis_url: str, *, namespace: str, budgets: Budgets, timeout_s: float
    ) -> None:
        self._tables = StreamTables(
            redis_url,
            namespace=namespace,
            what="diary",
            timeout_s=timeout_s,
            unreachable=DiaryUnreachable,
        )
        self._budgets = budgets
        self._counts = Counter[str]()

    def add(self, entries: Sequence[NewDiaryEntry]) -> None:
        streams: dict[str, list[NewDiaryEntry]] = {}
        for one in entries:
            streams.setdefault(one.stream, []).append(one)
        for stream, its_entries in streams.items():
            self._put(stream, its_entries)
        try:
            self._let_go()
        except DiaryUnreachable as error:
            logger.warning("old entries of a diary stay", extra={"error": str(error)})

    def find(self, stream: str, query: DiaryQuery) -> list[DiaryEntry]:
        stems = set(words_of(query.words)[:MAX_WORDS])
        if query.words.strip() and not stems:
            return []
        name = stream_name(stream)
        with self._tables.reached():
            by_level = [self._level(name, level, query, stems) for level in query.levels]
        merged = heapq.merge(*by_level, key=_order, reverse=query.newest_first)
        return list(merged)[: query.limit]

    def forget(self, stream: str, start_s: float, end_s: float, *, epoch: int | None = None) -> int:
        name, gone = stream_name(stream), list[DiaryEntry]()
        with self._tables.reached():
            for level in LEVELS:
                since_s = start_s - LONGEST_S[level]
                for found in self._pages(name, level, since_s, end_s):
                    gone += [one for one in found if one.end_s >= start_s]
            return self._remove(name, gone, epoch)

    def delete(self, stream: str, *, epoch: int | None = None) -> None:
        with self._tables.reached():
            self._eval(_DELETE, stream_name(stream), epoch)

    def sweep(self, before_wall_s: float) -> None:
        with self._tables.reached():
            for name in self._tables.sizes():
                old = list[DiaryEntry]()
                for level in LEVELS:
                    for found in self._pages(name, level, -math.inf, math.inf):  # oldest first
                        aged = [one for one in found if one.wall_s < before_wall_s]
                        old += aged
                        if len(aged) < len(found):
                            break
                self._counts["aged"] += self._remove(name, old, self._tables.newest_epoch(name))

    def stats(self) -> DiaryStats:
        self._tables.take_stock()
        return DiaryStats.of(
            self._counts,
            num_entries=self._tables.num_rows,
            num_bytes=self._tables.num_bytes,
            num_streams=self._tables.num_streams,
        )

    def close(self) -> None:
        self._tables.close()

    # ---- changes

    def _put(self, stream: str, entries: Sequence[NewDiaryEntry]) -> None:
        arguments: list[str | bytes] = [str(self._budgets.max_streams)]
        for one in entries:
            told = json.dumps(asdict(one.entry), separators=(",", ":"))
            arguments += [*_placed(one.entry), repr(one.entry.start_s), told]
        try:
            self._eval(_PUT, stream_name(stream), entries[-1].epoch, *arguments)
        except ResponseError as error:
            is_refusal = FENCED in str(error) or FULL in str(error)
            self._count_lost("refused" if is_refusal else "errors", len(entries), error)
        except (RedisError, OSError) as error:
            self._count_lost("errors", len(entries), error)
        else:
            self._counts["added"] += len(entries)

    def _count_lost(self, name: str, count: int, error: Exception) -> None:
        self._counts[name] += count
        logger.warning("a diary cannot be written", extra={"error": str(error)})

    def _let_go(self) -> None:
        """Let the oldest entries go, sentences before summaries, until every budget is kept."""
        with self._tables.reached():
            while (name := self._budgets.exceeded_by(self._tables.sizes())) is not None:
                count: Any = self._tables.client.hlen(self._tables.key(name, "entries"))
                oldest = self._oldest(name, max(1, int(int(count) * LET_GO)))
                num_gone = self._remove(name, oldest, self._tables.newest_epoch(name))
                self._counts["thinned"] += num_gone
                if not num_gone:
                    return

    def _oldest(self, name: str, count: int) -> list[DiaryEntry]:
        found = list[DiaryEntry]()
        for level in LEVELS:
            for page in self._pages(name, level, -math.inf, math.inf):
                found += page[: count - len(found)]
                if len(found) >= count:
                    return found
        return found

    def _remove(self, name: str, entries: Sequence[DiaryEntry], epoch: int | None) -> int:
        num_gone = 0
        for start in range(0, len(entries), _BATCH):
            places = [text for one in entries[start : start + _BATCH] for text in _placed(one)]
            num_gone += int(self._eval(_REMOVE, name, epoch, *places))
        return num_gone

    def _eval(self, script: str, name: str, epoch: int | None, *arguments: str | bytes) -> Any:
        keys = (
            self._tables.key(name, "entries"),
            self._tables.sizes_key,
            self._tables.counts_key,
            *(self._tables.key(name, f"times:{level}") for level in LEVELS),
        )
        return self._tables.run(script, keys, name, epoch, *arguments)

    # ---- reading

    def _level(
        self, name: str, level: Level, query: DiaryQuery, stems: set[str]
    ) -> list[DiaryEntry]:
        found = list[DiaryEntry]()
        for page in self._pages(
            name, level, query.start_s, query.end_s, newest_first=query.newest_first
        ):
            found += [one for one in page if stems.issubset(words_of(one.text))]
            if len(found) >= query.limit:
                break
        return found[: query.limit]

    def _pages(
        self,
        name: str,
        level: Level,
        start_s: float,
        end_s: float,
        *,
        newest_first: bool = False,
    ) -> Iterator[list[DiaryEntry]]:
        """The entries of a level that begin in a span, some hundred at a time."""
        key, span = self._tables.key(name, f"times:{level}"), (score_of(start_s), score_of(end_s))
        places: Any
        if newest_first:
            places = self._tables.client.zrevrangebyscore(key, span[1], span[0])
        else:
            places = self._tables.client.zrangebyscore(key, *span)
        for start in range(0, len(places), _BATCH):
            page: Any = self._tables.client.hmget(
                self._tables.key(name, "entries"), places[start : start + _BATCH]
            )
            yield [_read(one) for one in page if one is not None]


def _placed(entry: DiaryEntry) -> tuple[str, str]:
    """An entry's place, and the number of the key of its level in the scripts."""
    return f"{entry.level}:{entry.start_s!r}", str(_FIRST_LEVEL_KEY + LEVELS.index(entry.level))


def _read(told: bytes) -> DiaryEntry:
    fields = json.loads(told)
    return DiaryEntry(**{**fields, "level": Level(fields["level"])})


def _order(entry: DiaryEntry) -> tuple[float, int]:
    return entry.start_s, LEVELS.index(entry.level)
