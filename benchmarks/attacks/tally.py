"""`AttackTally`: what a server answered to one attack."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SERVER_FAULT = "server_error"
"""The `type` of an `error` event that says that the fault is the server's."""
TRY_LATER = 503
OUR_FAULT = 1011
"""The close code of a connection that an internal error ended."""


@dataclass(slots=True)
class AttackTally:
    """Counts answers by what they mean; each count has the answer's own words as its key."""

    held: Counter[str] = field(default_factory=Counter)
    """Answers as they should be: the attack was refused, or did no harm."""
    gave_way: Counter[str] = field(default_factory=Counter)
    """Answers that should not have been: the server did what the attack wanted."""
    noted: Counter[str] = field(default_factory=Counter)
    """Answers that are right either way, such as a fuzzer's message that happens to be valid."""
    faults: Counter[str] = field(default_factory=Counter)
    """Internal errors: 5xx but 503, `error` events of type `server_error`, close code 1011."""

    @property
    def is_refused(self) -> bool:
        """Whether the server held, at least once, and never gave way."""
        return bool(+self.held) and not +self.gave_way

    def status(self, status: int, *, wanted: bool) -> None:
        """Count an HTTP answer. `wanted` says whether this status is one that it should be."""
        if status >= 500 and status != TRY_LATER:
            self.faults[f"status {status}"] += 1
        (self.held if wanted else self.gave_way)[f"status {status}"] += 1

    def refusal(self, status: int) -> None:
        """Count the HTTP answer to what must be refused: 4xx or 503, and nothing else."""
        self.status(status, wanted=400 <= status < 500 or status == TRY_LATER)

    def error(self, event: Mapping[str, Any]) -> None:
        """Count the `error` event that answered what must be refused."""
        self.fault_of(event)
        self.held[f"error {event['error']['code']}"] += 1

    def fault_of(self, event: Mapping[str, Any]) -> None:
        """Count `event` among the faults if it tells of one."""
        if event.get("type") == "error" and event["error"]["type"] == SERVER_FAULT:
            self.faults[f"error {event['error']['code']}"] += 1
        if event.get("type") == "session.closing" and event["reason"] == "internal_error":
            self.faults["session.closing internal_error"] += 1

    def close(self, code: int | None) -> None:
        """Note with which code the server closed a connection."""
        if code == OUR_FAULT:
            self.faults["close 1011"] += 1
        self.noted[f"close {code}"] += 1

    def as_dict(self) -> dict[str, dict[str, int]]:
        """All counts above zero, as they travel from the attacking process."""
        return {
            name: dict(+counts)
            for name, counts in (
                ("held", self.held),
                ("gave_way", self.gave_way),
                ("noted", self.noted),
                ("faults", self.faults),
            )
        }

    @classmethod
    def of(cls, counts: Mapping[str, Mapping[str, int]]) -> "AttackTally":
        """The tally that `as_dict` wrote."""
        return cls(**{name: Counter(found) for name, found in counts.items()})
