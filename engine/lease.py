"""The right to feed a stream; one at a time."""

from collections.abc import Callable


class SourceLease:
    """Held by whoever feeds a stream."""

    def __init__(self, owner: str, release: "Callable[[SourceLease, str], None]") -> None:
        self._release = release
        self.owner = owner

    def release(self, detail: str = "") -> None:
        """Stop feeding; what the decoder holds back is shown to the model. Idempotent."""
        self._release(self, detail)
