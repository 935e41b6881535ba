"""What is survived by a frame or a segment that was taken in."""

from collections.abc import Iterable
from enum import StrEnum


class Guarantee(StrEnum):
    """From nothing to most."""

    NONE = "none"
    """Nothing."""
    PROCESS = "process"
    """The death of the process; that of the machine when its system has written it out."""
    SECOND = "second"
    """The death of the process; that of the machine after about a second."""
    MACHINE = "machine"
    """The death of the machine: it is on the medium."""


_ORDER = tuple(Guarantee)


def weakest(guarantees: Iterable[Guarantee]) -> Guarantee:
    """The least of them; NONE of none."""
    return min(guarantees, key=_ORDER.index, default=Guarantee.NONE)
