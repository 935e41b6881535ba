"""What the policy must know of a request, as plain data that crosses processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.slo import Tier

TICKET_KEY = "onlooker_ticket"
"""Where the ticket stands among a request's ``extra_args``."""

SERVED_KEY = "onlooker_served"
"""Where a finished request's output says how it was served."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Class and deadlines of one request.

    Instants are of the monotonic clock, which all processes of one machine share.
    """

    request_class: RequestClass
    arrived_at_s: float
    due_at_s: float
    """When its prefill should have ended: the first token, or the frame seen."""
    tpot_s: float = 1.0
    """Target of the tokens that follow the first."""
    stream: str = ""
    tier: Tier = Tier.STANDARD

    def to_params(self) -> dict[str, Any]:
        """As ``extra_args`` of a request."""
        return {
            TICKET_KEY: {
                "request_class": int(self.request_class),
                "arrived_at_s": self.arrived_at_s,
                "due_at_s": self.due_at_s,
                "tpot_s": self.tpot_s,
                "stream": self.stream,
                "tier": str(self.tier),
            }
        }

    @classmethod
    def from_params(cls, params: Mapping[str, Any] | None) -> "Ticket | None":
        """Read back what `to_params` wrote; None for a request without a ticket."""
        plain = (params or {}).get(TICKET_KEY)
        if plain is None:
            return None
        return cls(
            request_class=RequestClass(plain["request_class"]),
            arrived_at_s=float(plain["arrived_at_s"]),
            due_at_s=float(plain["due_at_s"]),
            tpot_s=float(plain["tpot_s"]),
            stream=str(plain["stream"]),
            tier=Tier(plain["tier"]),
        )
