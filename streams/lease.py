"""`SourceLease`: the right to feed a stream."""

from collections.abc import Callable


class SourceLease:
    """One at a time; its holder releases it.

    Args:
        owner: names the source in errors and status.
        on_release: is told the lease and why.
    """

    def __init__(self, owner: str, on_release: Callable[["SourceLease", str], None]) -> None:
        self.owner = owner
        self._on_release = on_release

    def release(self, detail: str = "") -> None:
        """Stop feeding; what the decoder holds back is shown to the model. Idempotent."""
        self._on_release(self, detail)
