"""Notices when a Redis may have lost what was stored in it.

    <namespace>:marker     string: made up anew whenever it is missing; it never expires

The marker is gone when a server came back empty, was flushed, or is another one. What Redis tells
of itself says the rest: another ``run_id`` means a restart or a fail-over, after which the last
writes may be missing; ``evicted_keys`` that have grown mean that some records were thrown out.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onlooker.cache_store.tiers.redis_link import Command, RedisLink, Reply

logger = logging.getLogger(__name__)

Send = Callable[[Sequence[Command]], list[Reply] | None]

_CLOSE_S = 1.0
_INFO_SECTIONS = ("server", "stats", "memory")


@dataclass(frozen=True, slots=True)
class RedisSight:
    """What was seen of a server at one moment. None and False stand for what it does not tell."""

    marker: str
    run_id: str | None = None
    evicted_keys: int | None = None
    may_evict: bool = False
    """Whether it throws records out when it is full, as a cache does."""

    def doubts_after(self, before: "RedisSight") -> str | None:
        """Why records that were there at `before` may be missing now; None where none is."""
        if self.marker != before.marker:
            return "it came back empty, was flushed, or is another server"
        if self.run_id != before.run_id:
            return "it was started again, or another server took over"
        if not self.may_evict and before.may_evict:
            return "it was set to evict until now"
        if not self.may_evict and self.evicted_keys != before.evicted_keys:
            return "it has evicted keys"
        return None


class RedisWatch:
    """Looks at a server regularly, in a thread of its own, and at each write. Thread-safe.

    Args:
        expires: whether records have a time to live, and so may be evicted by the policies named
            ``volatile``.
        interval_s: how often it looks by itself.
    """

    def __init__(
        self, link: RedisLink, *, namespace: str, expires: bool, interval_s: float
    ) -> None:
        self._link = link
        self._name = f"{namespace}:marker"
        self._expires = expires
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._seen: RedisSight | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._on_doubt: Callable[[str], None] = lambda reason: None
        self._on_may_evict: Callable[[bool], None] = lambda may_evict: None

    def start(
        self, *, on_doubt: Callable[[str], None], on_may_evict: Callable[[bool], None]
    ) -> None:
        """Begin to look. `on_doubt` is called with the reason when records may be missing, in the
        thread that noticed it; `on_may_evict` when the server begins, or ends, to be one that
        evicts."""
        self._on_doubt, self._on_may_evict = on_doubt, on_may_evict
        self._thread = threading.Thread(target=self._run, name="redis-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking; a look at a server that hangs is left to end by itself."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    @property
    def asking(self) -> Command:
        """The command whose reply `heard` takes; it can go with the commands of a write."""
        return ("GET", self._name)

    def ensure_looked(self) -> None:
        """Look, unless that was done before. Whoever is about to write calls this: what is lost
        after the write can then be told."""
        if self._seen is None:
            self.look()

    def heard(self, reply: Reply) -> None:
        """Compare the marker that came with a write."""
        seen = self._seen
        if not isinstance(reply, Exception) and seen is not None and _text(reply) != seen.marker:
            self.look()

    def look(self, *, is_patient: bool = False) -> None:
        """Compare the server with what it was. Does nothing while it cannot be reached. Who
        `is_patient` asks one too that is left alone, and may have to wait for it."""
        with self._lock:
            now = self._sight(self._link.look if is_patient else self._link.send)
            if now is None:
                return
            before, self._seen = self._seen, now
        if before is None or now.may_evict != before.may_evict:
            self._on_may_evict(now.may_evict)
        reason = None if before is None else now.doubts_after(before)
        if reason is not None:
            logger.warning("Redis may have lost segments", extra={"reason": reason})
            # Whoever looks now what is missing must not ask the server that was there before.
            self._link.reconnect()
            self._on_doubt(reason)

    def _run(self) -> None:
        while True:
            try:
                self.look(is_patient=True)
            except Exception:  # a fault of a listener must not end all looking
                logger.exception("looking at Redis failed")
            if self._closing.wait(self._interval_s):
                return

    def _sight(self, send: Send) -> RedisSight | None:
        replies = send([self.asking, *(("INFO", section) for section in _INFO_SECTIONS)])
        if replies is None or isinstance(replies[0], Exception):
            return None
        marker = _text(replies[0]) or self._make_marker(send)
        if marker is None:
            return None
        info: dict[str, object] = {}
        for reply in replies[1:]:
            if isinstance(reply, dict):
                info.update(reply)
        return RedisSight(
            marker,
            run_id=None if "run_id" not in info else str(info["run_id"]),
            evicted_keys=_number(info.get("evicted_keys")),
            may_evict=bool(_number(info.get("maxmemory")))
            and self._policy_evicts(str(info.get("maxmemory_policy", "noeviction"))),
        )

    def _policy_evicts(self, policy: str) -> bool:
        return policy.startswith("allkeys") or (self._expires and policy.startswith("volatile"))

    def _make_marker(self, send: Send) -> str | None:
        """The marker that stands there after a new one was made, perhaps by another server of
        ours."""
        made = ("SET", self._name, secrets.token_hex(16), "NX")
        replies = send([made, self.asking])
        if replies is None or isinstance(replies[1], Exception):
            return None
        # A server that takes no writes, and has no marker, has not what we wrote either.
        return _text(replies[1]) or "none"


def _text(reply: Reply) -> str | None:
    return None if reply is None else bytes(reply).decode("utf-8", "replace")


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
