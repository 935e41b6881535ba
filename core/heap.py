"""The C library's heap, which keeps what was freed in it for later, in pieces that add up."""

import ctypes
import sys
from collections.abc import Callable

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's ``mallopt``."""


def _no_trim(pad: int) -> int:
    return 0


def _malloc_trim() -> Callable[[int], int]:
    if sys.platform != "linux":
        return _no_trim
    found: Callable[[int], int] = getattr(ctypes.CDLL(None), "malloc_trim", _no_trim)
    return found  # musl has none, and gives back by itself


_trim = _malloc_trim()


def keep_freed_memory(num_bytes: int) -> None:
    """Have the C library keep so much of what is freed, instead of giving it back at once and
    taking it again: for a process that needs the same large pieces again and again.
    `give_back_memory` gives it back. Does nothing where the C library cannot."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(_M_MMAP_THRESHOLD, num_bytes)
        mallopt(_M_TRIM_THRESHOLD, num_bytes)


def give_back_memory() -> None:
    """Give the system back what this process has freed. Takes milliseconds, in which other threads
    may have to wait for memory: for quiet moments. Does nothing where the C library does so by
    itself, or cannot."""
    _trim(0)
