"""`SourceLease`: the right to feed a stream."""

from collections.abc import Callable


class SourceLease:
    """The right to feed one stream, which one source has at a time; its holder releases it.

    Args:
        owner: names the source in errors and status.
        on_release: is called with the lease and why it was released.
    """

    def __init__(self, owner: str, on_release: Callable[["SourceLease", str], None]) -> None:
        self.owner = owner
        self._on_release = on_release

    def release(self, detail: str = "") -> None:
        """Stop feeding; what the decoder holds back is shown to the model. Idempotent."""
        self._on_release(self, detail)
