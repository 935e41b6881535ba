"""What runs on a server for one peer and can be asked to end."""

from typing import Protocol


class Drainable(Protocol):
    """A connection, or a call that is passed on."""

    def drain(self) -> None:
        """Take nothing new, and end when what runs has ended."""
        ...

    def end_now(self) -> None:
        """End soon, whatever runs."""
        ...
