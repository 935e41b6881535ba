"""What Redis says in place of a reply, and what is to be done about it."""

import logging
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from redis.exceptions import AuthenticationError, RedisError

from onlooker.core.clock import Clock

logger = logging.getLogger(__name__)

TELL_INTERVAL_S = 60.0
"""At most one line in the log for each kind of trouble in this time."""


class Reaction(Enum):
    """What is to be done."""

    RECONNECT = "reconnect"
    """Make connections anew, and so resolve the name again: another server has the role now. Add
    nothing for a while."""
    BACK_OFF = "back off"
    """Leave Redis alone for a while, as if it had not answered."""
    BACK_OFF_LONG = "back off long"
    """Leave Redis alone for the longest time at once: somebody has to change a setting."""
    STOP_ADDING = "stop adding"
    """Read and delete as before, but add nothing for a while."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A reply that says that Redis cannot do its work now."""

    code: str
    """The word with which the error begins, such as ``READONLY``."""
    reaction: Reaction
    advice: str
    """For the operator."""


def _table(*troubles: Trouble) -> dict[str, Trouble]:
    return {trouble.code: trouble for trouble in troubles}


_MOVED = "this is no cluster client: give the address of a single server, or of a proxy"
_ACCESS = "see the user and the password in cache_store.redis.url, and the rights of that user"

TROUBLES = _table(
    Trouble("READONLY", Reaction.RECONNECT, "it is a replica: another server is the primary now"),
    Trouble("MOVED", Reaction.RECONNECT, _MOVED),
    Trouble("ASK", Reaction.RECONNECT, _MOVED),
    Trouble("LOADING", Reaction.BACK_OFF, "it is being started"),
    Trouble("MASTERDOWN", Reaction.BACK_OFF, "it is a replica that has lost its primary"),
    Trouble("CLUSTERDOWN", Reaction.BACK_OFF, _MOVED),
    Trouble("TRYAGAIN", Reaction.BACK_OFF, _MOVED),
    Trouble("BUSY", Reaction.BACK_OFF, "a script of somebody else holds it up"),
    Trouble("OOM", Reaction.STOP_ADDING, "it is full: give it more memory, or a shorter ttl_s"),
    Trouble("MISCONF", Reaction.STOP_ADDING, "it cannot write its own disk"),
    Trouble("NOREPLICAS", Reaction.STOP_ADDING, "it has too few replicas to take writes"),
    Trouble("NOAUTH", Reaction.BACK_OFF_LONG, _ACCESS),
    Trouble("WRONGPASS", Reaction.BACK_OFF_LONG, _ACCESS),
    Trouble("NOPERM", Reaction.BACK_OFF_LONG, _ACCESS),
)


def trouble_of(reply: object) -> Trouble | None:
    """What a reply, or an error that was raised, says about the server. None where it is about one
    command alone."""
    if not isinstance(reply, RedisError):
        return None
    code = getattr(reply, "status_code", None) or str(reply).partition(" ")[0]
    if (found := TROUBLES.get(code)) is not None:
        return found
    return TROUBLES["WRONGPASS"] if isinstance(reply, AuthenticationError) else None


class TroubleLog:
    """Counts troubles and tells of each kind now and then. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._told_s: dict[str, float] = {}
        self._untold: Counter[str] = Counter()
        self._total = 0

    @property
    def total(self) -> int:
        """Replies so far that were troubles."""
        return self._total

    def note(self, troubles: Iterable[Trouble]) -> None:
        """Count what came in one round trip."""
        counts = Counter(troubles)
        now_s = self._clock.now_s()
        tell = []
        with self._lock:
            for trouble, count in counts.items():
                code = trouble.code
                self._total += count
                self._untold[code] += count
                told_s = self._told_s.get(code)
                if told_s is None or now_s - told_s >= TELL_INTERVAL_S:
                    self._told_s[code] = now_s
                    tell.append((trouble, self._untold.pop(code)))
        for trouble, count in tell:
            logger.warning(
                "Redis refuses to do its work",
                extra={
                    "code": trouble.code,
                    "replies": count,
                    "reaction": trouble.reaction.value,
                    "advice": trouble.advice,
                },
            )
