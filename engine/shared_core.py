"""One engine core that several gateways of a machine use: what each must know to reach it."""

from dataclasses import dataclass
from typing import Protocol

CORE_IS_UP = ""
"""What the process that runs a core says of its start when the core takes work; anything else is
why it does not."""


@dataclass(frozen=True, slots=True)
class CoreSeat:
    """The place of one gateway at an engine core. A seat is taken once: what comes for a gateway
    that has died is never read by another one."""

    life: int
    """Which start of the core it belongs to, counted from 1."""
    index: int
    """Which of the core's seats it is, counted from 0."""
    count: int
    """Seats that the core has."""
    input_address: str
    """Where the core takes what this gateway sends, as ZeroMQ writes addresses."""
    output_address: str
    """Where it sends what is for this gateway."""


class SharedCore(Protocol):
    """The engine core as a gateway finds it that did not start it. All on the event loop."""

    @property
    def gateway(self) -> int:
        """Which of the gateways this is, counted from 0."""
        ...

    @property
    def num_gateways(self) -> int:
        """Gateways that share the core's memory and time."""
        ...

    async def seat(self, *, dead_life: int | None = None) -> CoreSeat:
        """Wait until the core runs, and take a seat. `dead_life`: this gateway has seen the core
        die in that life, so that it wants one of a later life.

        Raises:
            ConfigError: the core does not start; says why.
        """
        ...

    async def gone(self, life: int) -> None:
        """Return when the core of this life has died."""
        ...
