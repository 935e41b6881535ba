"""Processes that do not hear some signals, from their very first moment.

A terminal sends Ctrl-C to all processes at once, and a service manager SIGTERM to all of a service;
one that others are to end in order must hear neither, also while it still imports what it runs.
"""

import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def starting_deaf(signals: Collection[signal.Signals]) -> Iterator[None]:
    """Processes that this thread starts meanwhile do not hear `signals`, until they lift that by
    themselves. What comes for this thread waits until the block ends."""
    resource_tracker.ensure_running()  # started later, it would lift the mask again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stay_deaf(signals: Collection[signal.Signals]) -> None:
    """Have this process ignore `signals` from now on, and those that came since it was started deaf
    to them. What it starts ignores them, too, until it asks for them, and is not deaf to them then,
    as it would be if they stayed blocked."""
    for number in signals:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
