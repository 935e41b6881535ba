"""Stack traces in a server's log, where one failure is often told by several loggers."""

from collections.abc import Iterable
from itertools import islice

HEAD = "Traceback (most recent call last)"
CHAINED = ("The above exception was the direct cause", "During handling of the above exception")


MAX_TOLD = 10
"""Failures that are told in full."""


def failures(lines: Iterable[str], *, expected: str | None = None) -> list[str]:
    """The first lines that tell of a failure in our own form, each with its stack trace; without
    those that say `expected`."""
    found = (
        line.strip()
        for line in lines
        if line.startswith("{") and HEAD in line and (expected is None or expected not in line)
    )
    return list(islice(found, MAX_TOLD))


def num_failures(lines: Iterable[str]) -> int:
    """How many failures the log tells of.

    Ours writes a failure as one line of JSON, uvicorn the same once more as plain text, in which a
    chain of exceptions has a stack trace for each. What only one of the two tells counts as well.
    """
    records = plain = 0
    for line in lines:
        if line.startswith("{"):
            records += HEAD in line
        elif line.startswith(HEAD):
            plain += 1
        elif line.startswith(CHAINED):
            plain -= 1
    return max(records, plain)
