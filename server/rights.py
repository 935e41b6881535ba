"""Who may do what: every action with the scope that it needs, and the one check.

An action is what is done, whichever door it comes through; `doors.py` says which call of which door
is which action.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from onlooker.core.clock import Clock
from onlooker.core.errors import Forbidden, TokenExpired
from onlooker.core.ids import DEFAULT_TENANT
from onlooker.core.scopes import ALL_SCOPES, Scope

MAX_NAP_S = 30.0
"""The longest sleep in one piece of whoever waits for the end of a grant: the end is given in wall
time, and the wall clock may be set meanwhile."""


class Action(StrEnum):
    """What callers do. The values are words for people, in errors and in the documentation."""

    CONNECT = "connect, configure and ping"
    LIST_MODELS = "list models"
    LIST_STREAMS = "list streams"
    INSPECT_STREAM = "inspect a stream"
    SEE_PICTURES = "see a stream's pictures"
    READ_DIARY = "read a stream's diary"
    LISTEN = "listen to a stream"
    LIST_ALERTS = "list alerts"
    LIST_WATCHES = "list watches"
    READ_METRICS = "read metrics"
    LIST_SERVERS = "list servers"
    DRAIN_SERVER = "drain a server"
    READ_USAGE = "read the usage of one's tenant"
    READ_ALL_USAGE = "read the usage of all tenants"
    ASK = "ask"
    CONVERSE = "keep a conversation"
    OPEN_STREAM = "open a stream"
    ATTACH_STREAM = "attach a stream to a connection"
    PUSH_FRAME = "push a frame"
    IMPORT_RECORDING = "import a recording"
    MAKE_WATCH = "make a watch"
    CHANGE_WATCH = "change a watch"
    DELETE_WATCH = "delete a watch"
    HAVE_WEBHOOK = "make, change or delete a watch with a webhook"
    PULL_SOURCE = "pull a source"
    MASK_OWN = "mask a stream that one feeds"
    DESCRIBE_STREAM = "change what a stream is called"
    CHANGE_PRIVACY = "change a stream's masks or retention"
    FORGET_MEMORY = "delete part of a stream's memory"
    CLOSE_STREAM = "close a stream"
    MINT_TOKEN = "make a token"  # noqa: S105 - words, no secret


SCOPE_OF: Mapping[Action, Scope | None] = {
    Action.CONNECT: None,
    Action.LIST_MODELS: None,
    Action.LIST_STREAMS: Scope.READ,
    Action.INSPECT_STREAM: Scope.READ,
    Action.SEE_PICTURES: Scope.READ,
    Action.READ_DIARY: Scope.READ,
    Action.LISTEN: Scope.READ,
    Action.LIST_ALERTS: Scope.READ,
    Action.LIST_WATCHES: Scope.READ,
    Action.READ_METRICS: Scope.READ,
    Action.LIST_SERVERS: Scope.ADMIN,
    Action.DRAIN_SERVER: Scope.ADMIN,
    Action.READ_USAGE: Scope.READ,
    Action.READ_ALL_USAGE: Scope.ADMIN,
    Action.ASK: Scope.ASK,
    Action.CONVERSE: Scope.ASK,
    Action.OPEN_STREAM: Scope.PUSH,
    Action.ATTACH_STREAM: Scope.PUSH,
    Action.PUSH_FRAME: Scope.PUSH,
    Action.IMPORT_RECORDING: Scope.PUSH,
    Action.MAKE_WATCH: Scope.WATCH,
    Action.CHANGE_WATCH: Scope.WATCH,
    Action.DELETE_WATCH: Scope.WATCH,
    Action.HAVE_WEBHOOK: Scope.ADMIN,
    Action.PULL_SOURCE: Scope.ADMIN,
    Action.MASK_OWN: Scope.PUSH,
    Action.DESCRIBE_STREAM: Scope.PUSH,
    Action.CHANGE_PRIVACY: Scope.ADMIN,
    Action.FORGET_MEMORY: Scope.ADMIN,
    Action.CLOSE_STREAM: Scope.ADMIN,
    Action.MINT_TOKEN: Scope.ADMIN,
}
"""The scope that each action needs; None: any key or token will do."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a caller may do, to whose streams, and until when."""

    tenant: str = DEFAULT_TENANT
    """Whose streams the caller sees."""
    scopes: frozenset[Scope] = ALL_SCOPES
    """What the caller's key or token is good for."""
    expires_at: int | None = None
    """When the grant ends, in seconds since the Unix epoch; None for keys, which do not expire."""

    def may(self, action: Action) -> bool:
        """Whether the caller has the scope that `action` needs."""
        scope = SCOPE_OF[action]
        return scope is None or scope in self.scopes

    def require(self, action: Action) -> None:
        """Return if the caller may do `action`.

        Raises:
            Forbidden: names the scope that is missing.
        """
        if not self.may(action):
            raise Forbidden(
                f"to {action} takes the scope '{SCOPE_OF[action]}'; this key or token has "
                f"{scope_names(self.scopes)}"
            )


async def expiry(grant: Grant, clock: Clock) -> TokenExpired:
    """Wait until `grant` ends, and return what its holder is told then. `grant` must have an end.

    Whoever lets a caller stay beyond one call (a connection, an event reader) waits for this.
    """
    assert grant.expires_at is not None
    while (left_s := grant.expires_at - clock.wall_s()) > 0:
        await clock.sleep(min(left_s, MAX_NAP_S))
    return TokenExpired("the token has expired; come again with a new one")


def scope_names(scopes: Iterable[Scope]) -> str:
    """The scopes as text, in the order in which they are defined."""
    given = frozenset(scopes)
    return ", ".join(scope for scope in Scope if scope in given) or "none"
