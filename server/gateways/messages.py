"""What a porter and its gateways tell each other, over a pipe of their own."""

from dataclasses import dataclass

from onlooker.engine.shared_core import CoreSeat

# ---- from a gateway


@dataclass(frozen=True, slots=True)
class SeatWanted:
    """The gateway wants a seat at the engine core; see `onlooker.engine.shared_core.SharedCore`."""

    dead_life: int | None


@dataclass(frozen=True, slots=True)
class Progressed:
    """What the gateway's start is waiting for."""

    line: str


@dataclass(frozen=True, slots=True)
class BecameReady:
    """The gateway takes work."""

    model: str
    knows: str
    """What the model knows, in plain words."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The gateway did not start, and ends."""

    message: str
    is_config: bool
    """Whether whoever starts the server must change something."""


FromGateway = SeatWanted | Progressed | BecameReady | StartFailed


# ---- to a gateway


@dataclass(frozen=True, slots=True)
class SeatGiven:
    """The answer to `SeatWanted`."""

    seat: CoreSeat


@dataclass(frozen=True, slots=True)
class SeatRefused:
    """The other answer: the engine core does not start."""

    message: str


@dataclass(frozen=True, slots=True)
class CoreDied:
    """The engine core of this life has ended."""

    life: int


ToGateway = SeatGiven | SeatRefused | CoreDied
