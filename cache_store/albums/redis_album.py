"""`RedisAlbum`: the pictures of all streams of a fleet, where the next owner of one finds them.

    <namespace>:album:<tenant>/<stream>:facts    hash: clip -> what is known of its picture, JSON
    <namespace>:album:<tenant>/<stream>:data     hash: clip -> the encoded picture
    <namespace>:album:<tenant>/<stream>:times    sorted set: clip by the time of its first frame
    <namespace>:album:sizes, :counts             hashes: stream -> bytes, pictures

A write carries the epoch of the stream's owner, and is refused where Redis knows a newer one. The
budgets hold for the fleet: whoever adds a picture beyond one thins, one server at a time.
"""

import json
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from redis.exceptions import RedisError, ResponseError

from onlooker.cache_store.album import (
    AlbumPicture,
    AlbumStats,
    AlbumUnreachable,
    NewPicture,
    PictureFacts,
)
from onlooker.cache_store.albums.thinning import Budgets, leaving, next_stretch, stretch_of
from onlooker.cache_store.fence import CHECK_EPOCH, FENCED
from onlooker.cache_store.stream_tables import StreamTables, score_of, stream_name

logger = logging.getLogger(__name__)

PICTURE_BYTES = 700
"""Room that a picture takes beside its own bytes: its facts, and its places in the tables."""

LONGEST_CLIP_S = 3600.0
"""No clip is longer than this from its first frame to its last."""

THIN_S = 5
"""Seconds for which one server alone may thin."""

UNCHECKED = 0.01
"""Share of the least budget that a server adds before it looks again whether one is exceeded."""

FULL = "FULL"

_PUT = f"""{CHECK_EPOCH}
if redis.call('HEXISTS', KEYS[5], ARGV[2]) == 0 and redis.call('HLEN', KEYS[5]) >= tonumber(ARGV[3])
then
    return redis.error_reply('FULL so many streams have pictures already')
end
for i = 4, #ARGV, 4 do
    local clip = ARGV[i]
    local old = redis.call('HSTRLEN', KEYS[3], clip)
    redis.call('HSET', KEYS[2], clip, ARGV[i + 2])
    redis.call('HSET', KEYS[3], clip, ARGV[i + 3])
    redis.call('ZADD', KEYS[4], ARGV[i + 1], clip)
    local grown = string.len(ARGV[i + 3])
    if old > 0 then grown = grown - old
    else
        grown = grown + {PICTURE_BYTES}
        redis.call('HINCRBY', KEYS[6], ARGV[2], 1)
    end
    redis.call('HINCRBY', KEYS[5], ARGV[2], grown)
end
return 1
"""

_REMOVE = f"""{CHECK_EPOCH}
local gone = 0
for i = 3, #ARGV do
    local size = redis.call('HSTRLEN', KEYS[3], ARGV[i])
    if size > 0 then
        redis.call('HDEL', KEYS[2], ARGV[i])
        redis.call('HDEL', KEYS[3], ARGV[i])
        redis.call('ZREM', KEYS[4], ARGV[i])
        redis.call('HINCRBY', KEYS[5], ARGV[2], -(size + {PICTURE_BYTES}))
        redis.call('HINCRBY', KEYS[6], ARGV[2], -1)
        gone = gone + 1
    end
end
if redis.call('EXISTS', KEYS[3]) == 0 then
    redis.call('HDEL', KEYS[5], ARGV[2])
    redis.call('HDEL', KEYS[6], ARGV[2])
end
return gone
"""

_DELETE = f"""{CHECK_EPOCH}
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
redis.call('HDEL', KEYS[5], ARGV[2])
redis.call('HDEL', KEYS[6], ARGV[2])
return 1
"""

_BATCH = 500
"""Pictures that one script takes away."""


class RedisAlbum:
    """See `Album`.

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
            what="album",
            timeout_s=timeout_s,
            unreachable=AlbumUnreachable,
        )
        self._budgets = budgets
        self._counts = Counter[str]()
        self._grown = 0
        """Bytes that were added since the budgets were looked at."""

    def add(self, pictures: Sequence[NewPicture]) -> None:
        streams: dict[str, list[NewPicture]] = {}
        for one in pictures:
            streams.setdefault(one.stream, []).append(one)
        for stream, its_pictures in streams.items():
            self._put(stream, its_pictures)
        self._grown += sum(one.picture.facts.num_bytes + PICTURE_BYTES for one in pictures)
        if self._grown < UNCHECKED * self._budgets.least_bytes:
            return
        self._grown = 0
        try:
            self._thin()
        except AlbumUnreachable as error:
            logger.warning("the album is not thinned", extra={"error": str(error)})

    def facts(
        self, stream: str, start_s: float, end_s: float, *, limit: int, newest_first: bool = False
    ) -> list[PictureFacts]:
        name = stream_name(stream)
        key = self._tables.key(name, "times")
        with self._tables.reached():
            span = (score_of(start_s), score_of(end_s))
            if newest_first:
                clips = self._tables.client.zrevrangebyscore(
                    key, span[1], span[0], start=0, num=limit
                )
            else:
                clips = self._tables.client.zrangebyscore(key, *span, start=0, num=limit)
            return self._facts_of(name, _all(clips))

    def read(self, stream: str, clip_indices: Sequence[int]) -> list[AlbumPicture]:
        name, pictures = stream_name(stream), []
        with self._tables.reached():
            for clip_index in clip_indices:
                facts = self._facts_of(name, [clip_index])
                data = self._tables.client.hget(self._tables.key(name, "data"), str(clip_index))
                if facts and isinstance(data, bytes):
                    pictures.append(AlbumPicture(facts=facts[0], data=data))
        return pictures

    def forget(
        self,
        stream: str,
        start_s: float,
        end_s: float,
        clip_indices: Collection[int] = (),
        *,
        epoch: int | None = None,
    ) -> int:
        name = stream_name(stream)
        with self._tables.reached():
            since = score_of(start_s - LONGEST_CLIP_S)
            near = _all(
                self._tables.client.zrangebyscore(
                    self._tables.key(name, "times"), since, score_of(end_s)
                )
            )
            touching = [
                one.clip_index for one in self._facts_of(name, near) if one.end_s >= start_s
            ]
            return self._remove(name, {*touching, *clip_indices}, epoch)

    def delete(self, stream: str, *, epoch: int | None = None) -> None:
        with self._tables.reached():
            self._eval(_DELETE, stream_name(stream), epoch)

    def sweep(self, before_wall_s: float) -> None:
        with self._tables.reached():
            for name in self._tables.sizes():
                epoch = self._tables.newest_epoch(name)
                old = []
                clips = _all(self._tables.client.zrange(self._tables.key(name, "times"), 0, -1))
                for start in range(0, len(clips), _BATCH):  # the oldest come first
                    facts = self._facts_of(name, clips[start : start + _BATCH])
                    aged = [one.clip_index for one in facts if one.wall_s < before_wall_s]
                    old += aged
                    if len(aged) < len(facts):
                        break
                self._counts["aged"] += self._remove(name, old, epoch)

    def stats(self) -> AlbumStats:
        self._tables.take_stock()
        return AlbumStats.of(
            self._counts,
            num_pictures=self._tables.num_rows,
            num_bytes=self._tables.num_bytes,
            num_streams=self._tables.num_streams,
        )

    def close(self) -> None:
        self._tables.close()

    # ---- changes

    def _put(self, stream: str, pictures: Sequence[NewPicture]) -> None:
        arguments: list[str | bytes] = [str(self._budgets.max_streams)]
        for one in pictures:
            facts = one.picture.facts
            told = json.dumps(asdict(facts), separators=(",", ":"))
            arguments += [str(facts.clip_index), repr(facts.start_s), told, one.picture.data]
        try:
            self._eval(_PUT, stream_name(stream), pictures[-1].epoch, *arguments)
        except ResponseError as error:
            is_refusal = FENCED in str(error) or FULL in str(error)
            self._count_lost("refused" if is_refusal else "errors", len(pictures), error)
        except (RedisError, OSError) as error:
            self._count_lost("errors", len(pictures), error)
        else:
            self._counts["added"] += len(pictures)

    def _count_lost(self, name: str, count: int, error: Exception) -> None:
        self._counts[name] += count
        logger.warning("pictures cannot be kept", extra={"error": str(error)})

    def _thin(self) -> None:
        """Take pictures away until every budget is kept, unless another server does."""
        with self._tables.reached():
            if self._budgets.exceeded_by(self._tables.sizes()) is None:
                return
            lock = f"{self._tables.prefix}:thinning"
            if not self._tables.client.set(lock, "1", nx=True, ex=THIN_S):
                return
            try:
                while (name := self._budgets.exceeded_by(self._tables.sizes())) is not None:
                    if not self._thin_one(name):
                        break
            finally:
                self._tables.client.delete(lock)

    def _thin_one(self, name: str) -> int:
        found = self._tables.client.zrange(self._tables.key(name, "times"), 0, -1, withscores=True)
        stretches = {int(clip): stretch_of(start_s) for clip, start_s in _pairs(found)}
        if not stretches:
            return 0
        chosen = next_stretch(Counter(stretches.values()))
        within = [clip for clip, stretch in stretches.items() if stretch == chosen]
        pictures = [(one.clip_index, one.change) for one in self._facts_of(name, within)]
        num_gone = self._remove(name, leaving(pictures), self._tables.newest_epoch(name))
        self._counts["thinned"] += num_gone
        return num_gone

    def _remove(self, name: str, clip_indices: Collection[int], epoch: int | None) -> int:
        indices, num_gone = [str(one) for one in clip_indices], 0
        for start in range(0, len(indices), _BATCH):
            num_gone += int(self._eval(_REMOVE, name, epoch, *indices[start : start + _BATCH]))
        return num_gone

    def _eval(self, script: str, name: str, epoch: int | None, *arguments: str | bytes) -> Any:
        keys = (
            self._tables.key(name, "facts"),
            self._tables.key(name, "data"),
            self._tables.key(name, "times"),
            self._tables.sizes_key,
            self._tables.counts_key,
        )
        return self._tables.run(script, keys, name, epoch, *arguments)

    # ---- reading

    def _facts_of(self, name: str, clips: Sequence[int]) -> list[PictureFacts]:
        if not clips:
            return []
        wanted = [str(clip) for clip in clips]
        found = _every(self._tables.client.hmget(self._tables.key(name, "facts"), wanted))
        return [PictureFacts(**json.loads(told)) for told in found if told is not None]


def _all(found: Any) -> list[int]:
    return [int(one) for one in found]


def _every(found: Any) -> list[bytes | None]:
    return list(found)


def _pairs(found: Any) -> list[tuple[bytes, float]]:
    return list(found)
