"""`Tenure`: for how long a server may take a stream for its own, by its own clock."""

from dataclasses import dataclass

from onlooker.cache_store.leases import Claim


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How long leases last and when they are renewed."""

    lease_s: float
    """What a lease lasts in the store, from when the store was asked."""
    drift: float = 0.05
    """How much faster the store's clock may run than this server's, as a share."""

    @property
    def sure_s(self) -> float:
        """For how long a lease is counted on: a quarter is given away, so that work under way ends
        before another server may begin."""
        return 0.75 * self.lease_s * (1 - self.drift)

    @property
    def renew_s(self) -> float:
        """Seconds between two renewals: several fit into the time a lease is counted on."""
        return self.lease_s / 5


@dataclass(slots=True)
class Tenure:
    """One claim and when it was last heard of. All times are of one monotonic clock, in seconds."""

    claim: Claim
    asked_s: float
    """When the store was asked for what it last granted. Not when it answered: the lease may have
    begun as early as this."""

    def holds(self, now_s: float, terms: LeaseTerms) -> bool:
        """Whether the stream is still this server's for certain."""
        return now_s < self.asked_s + terms.sure_s
