"""The C library's heap, which keeps what was freed in it for later, in pieces that add up."""

import ctypes
import sys
from collections.abc import Callable


def _no_trim(pad: int) -> int:
    return 0


def _malloc_trim() -> Callable[[int], int]:
    if sys.platform != "linux":
        return _no_trim
    found: Callable[[int], int] = getattr(ctypes.CDLL(None), "malloc_trim", _no_trim)
    return found  # musl has none, and gives back by itself


_trim = _malloc_trim()


def give_back_memory() -> None:
    """Give the system back what this process has freed. Takes milliseconds, in which other threads
    may have to wait for memory: for quiet moments. Does nothing where the C library does so by
    itself, or cannot."""
    _trim(0)
