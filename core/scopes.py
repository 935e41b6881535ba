"""What a key or a token may be good for, in five words that clients and servers share."""

from enum import StrEnum


class Scope(StrEnum):
    """One kind of right. None of them includes another."""

    READ = "read"
    """Listing and inspecting, listening to streams, and their alerts."""
    ASK = "ask"
    """Asking about streams and pictures, which costs the model's time."""
    PUSH = "push"
    """Opening streams and feeding them."""
    WATCH = "watch"
    """Leaving, changing and deleting watches."""
    ADMIN = "admin"
    """What reaches beyond a stream or cannot be undone: closing streams, having the server call
    other hosts (pulled sources, webhooks), and making tokens."""


ALL_SCOPES = frozenset(Scope)
"""What a key has that names no scopes."""

TOKEN_SCOPES = ALL_SCOPES - {Scope.ADMIN}
"""What a short-lived token may have. Were there tokens that make tokens, they would not be
short-lived."""

DEFAULT_TOKEN_SCOPES = frozenset({Scope.READ, Scope.ASK})
"""What a short-lived token has when its maker asks for nothing else."""
