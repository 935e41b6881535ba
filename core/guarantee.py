"""What a frame or a segment survives once it was taken in."""

from collections.abc import Iterable
from enum import StrEnum


class Guarantee(StrEnum):
    """How much a frame or a segment survives, from nothing to the most."""

    NONE = "none"
    """It survives no crash."""
    PROCESS = "process"
    """It survives the death of the process, and that of the machine once the operating system has
    written it out."""
    SECOND = "second"
    """It survives the death of the process, and that of the machine after about a second."""
    MACHINE = "machine"
    """It survives the death of the machine, since it is on the medium."""
    SERVER = "server"
    """It survives the loss of the whole server, its machine and disk included, since it is in the
    Redis of the fleet. What Redis itself loses is lost."""
    REPLICATED = "replicated"
    """It survives the loss of the whole server and of that Redis too, since as many replicas as
    were asked for have it."""


_ORDER = tuple(Guarantee)


def weakest(guarantees: Iterable[Guarantee]) -> Guarantee:
    """The weakest guarantee; NONE if `guarantees` is empty."""
    return min(guarantees, key=_ORDER.index, default=Guarantee.NONE)
