"""Round trips to Redis: pipelined, with time limits and a circuit breaker, never raising."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from onlooker.cache_store.breaker import CircuitBreaker
from onlooker.cache_store.redis_client import RenewingPool
from onlooker.cache_store.tiers.redis_parser import DirectParser
from onlooker.cache_store.tiers.redis_replies import Reaction, Trouble, TroubleLog, trouble_of
from onlooker.core.clock import Clock

logger = logging.getLogger(__name__)

Command = tuple[object, ...]
Reply = Any
"""What redis-py makes of a reply: bytes or memoryview, int, None, dict, or an exception."""


class RedisLink:
    """A pool of connections. Thread-safe; connects when first used.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        timeout_s: limit for each wait on the socket.
        connect_timeout_s: limit for making a connection.
        slow_s: a round trip that takes longer counts as a failure with the breaker.
        breaker: keeps everything from a Redis that does not do its work.
        adding: keeps only what adds records from a Redis that refuses it, one that is full for
            example.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        connect_timeout_s: float,
        slow_s: float,
        max_connections: int,
        breaker: CircuitBreaker,
        adding: CircuitBreaker,
        clock: Clock,
    ) -> None:
        self._adding = adding
        self._held_by: Trouble | None = None
        self._log = TroubleLog(clock)
        self._slow_s = slow_s
        self._breaker = breaker
        self._clock = clock
        pool = RenewingPool.from_url(
            url,
            clock=clock,
            max_connections=max_connections,
            socket_timeout=timeout_s,
            socket_connect_timeout=connect_timeout_s,
            protocol=2,
            parser_class=DirectParser,
            decode_responses=False,
            # There is one retry, and only for a connection that broke while it lay idle: a server
            # that does not answer in time is not asked a second time.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        self._client = redis.Redis(connection_pool=pool)

    @property
    def breaker(self) -> CircuitBreaker:
        return self._breaker

    @property
    def num_troubles(self) -> int:
        """Replies so far by which the server refused to do its work."""
        return self._log.total

    @property
    def may_add(self) -> bool:
        """Whether what is added now is likely to be taken. Changes nothing, as `held_off` does."""
        return not (self._breaker.is_open() or self._adding.is_open())

    def held_off(self) -> Trouble | None:
        """Why nothing may be added right now; None where it may. Who gets None must `add`."""
        return None if self._adding.try_enter() else self._held_by

    def add(self, commands: Sequence[Command]) -> list[Reply] | None:
        """As `send`, for commands that add records; see `held_off`."""
        replies = self.send(commands)
        if replies is None:
            return None
        held_by = [
            trouble
            for trouble in map(trouble_of, replies)
            if trouble is not None
            and trouble.reaction in (Reaction.STOP_ADDING, Reaction.RECONNECT)
        ]
        if held_by:
            self._held_by = held_by[0]
            self._adding.failed()
        else:
            self._adding.succeeded()
        return replies

    def send(self, commands: Sequence[Command]) -> list[Reply] | None:
        """One round trip of several commands; None when the server cannot be reached in time.

        A command that the server refuses has an exception as its reply; the others go on. Replies
        that say that the server does not do its work (see `redis_replies`) count as failures.
        """
        return self._guarded(lambda: self._run(commands))

    def look(self, commands: Sequence[Command]) -> list[Reply] | None:
        """As `send`, for who only looks and can wait: a Redis that is left alone, as it did not
        answer or was slow, is asked all the same, and what comes of that changes nothing for the
        others. None too where it does not do its work."""
        if not self._breaker.is_open():
            return self.send(commands)
        if self._breaker.has_given_up:
            return None
        try:
            replies = self._run(commands)
        except (redis.RedisError, OSError):
            return None
        return None if any(map(trouble_of, replies)) else replies

    def deadline_s(self, timeout_s: float) -> float:
        """The instant after which an operation of several round trips is given up."""
        return self._clock.now_s() + timeout_s

    def is_over(self, until_s: float) -> bool:
        """Whether an operation that began by `deadline_s` is to be given up."""
        return self._clock.now_s() >= until_s

    def scan_names(self, pattern: str, *, count: int, until_s: float) -> list[str] | None:
        """All names of keys that match, each once; None when the server cannot be reached in time,
        or not all are known by `until_s`. Each round trip looks at about `count` keys."""
        names: set[str] = set()
        cursor = 0
        while True:
            replies = self.send([("SCAN", cursor, "MATCH", pattern, "COUNT", count)])
            if replies is None or isinstance(replies[0], Exception):
                return None
            cursor, found = int(replies[0][0]), replies[0][1]
            names.update(bytes(name).decode("utf-8", "replace") for name in found)
            if cursor == 0:
                return sorted(names)
            if self.is_over(until_s):
                return None

    def scan_set(self, name: str, *, count: int, until_s: float) -> set[str] | None:
        """The members of a set, about `count` a round trip; None when the server cannot be reached
        in time, or not all are known by `until_s`. The set is empty also where the key is of
        another type."""
        members: set[str] = set()
        cursor = 0
        while True:
            replies = self.send([("SSCAN", name, cursor, "COUNT", count)])
            if replies is None:
                return None
            if isinstance(replies[0], Exception):
                return set()
            cursor, found = int(replies[0][0]), replies[0][1]
            members.update(bytes(member).decode("utf-8", "replace") for member in found)
            if cursor == 0:
                return members
            if self.is_over(until_s):
                return None

    def reconnect(self) -> None:
        """Have every round trip that begins from now on use a connection that is made anew: those
        that stand may lead to a server that is not the one any more that the address leads to. A
        demoted primary refuses writes, but still answers whoever only reads."""
        pool = self._client.connection_pool
        pool.update_active_connections_for_reconnect()
        pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """Close all connections."""
        self._client.connection_pool.disconnect()

    def _run(self, commands: Sequence[Command]) -> list[Reply]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py
        return list(pipeline.execute(raise_on_error=False))

    def _guarded(self, run: Callable[[], list[Reply]]) -> list[Reply] | None:
        if not self._breaker.try_enter():
            return None
        started_s = self._clock.now_s()
        try:
            result = run()
        except (redis.RedisError, OSError) as error:
            if not self._react([error]):
                self._breaker.failed()
                if self._breaker.is_open():
                    logger.warning("Redis is left alone for a while", extra={"error": str(error)})
            return None
        if not self._react(result):
            if self._clock.now_s() - started_s > self._slow_s:
                self._breaker.failed()
            else:
                self._breaker.succeeded()
        return result

    def _react(self, replies: Sequence[Reply]) -> bool:
        """Do what replies call for; returns whether the breaker was told."""
        troubles = [found for found in map(trouble_of, replies) if found is not None]
        if not troubles:
            return False
        self._log.note(troubles)
        reactions = {trouble.reaction for trouble in troubles}
        if Reaction.RECONNECT in reactions:
            self.reconnect()
        if Reaction.BACK_OFF_LONG in reactions:
            self._breaker.gave_up()
        elif Reaction.BACK_OFF in reactions:
            self._breaker.failed()
        else:
            return False
        return True
