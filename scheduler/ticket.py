"""What the policy must know of a request, and what it tells of it at the end."""

from dataclasses import dataclass

import msgspec

from onlooker.scheduler.request_class import RequestClass
from onlooker.scheduler.slo import Tier


class Ticket(msgspec.Struct, frozen=True):
    """Class and deadlines of one request.

    Instants are of the monotonic clock, which all processes of one machine share.
    """

    request_class: RequestClass
    arrived_at_s: float
    due_at_s: float
    """When its prefill should have ended: the first token is out, or the frame is seen."""
    tpot_s: float = 1.0
    """Target in seconds for each of the tokens that follow the first."""
    stream: str = ""
    tier: Tier = Tier.STANDARD


@dataclass(frozen=True, slots=True)
class Served:
    """How a request was served."""

    request_class: str
    """The label of the request's class."""
    queue_s: float
    """Seconds from the request's arrival until its first step."""
    slack_s: float
    """Seconds that were left until its deadline when it was started."""
    missed: tuple[str, ...]
    """Labels of the classes whose deadlines it missed."""
    started_at_s: float = 0.0
    """When its first step began. This and the two that follow are instants of the monotonic clock,
    as those of `Ticket`."""
    first_token_at_s: float = 0.0
    """When its prefill had ended."""
    last_token_at_s: float = 0.0
