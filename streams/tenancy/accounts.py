"""`Accounts`: the accounts of all tenants of one server, and what is told of them."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from onlooker.cache_store.tenant_counts import CountsUnreachable, UsageBatch
from onlooker.core.clock import Clock
from onlooker.core.ids import StreamId, new_id, split_stream_id
from onlooker.core.metrics import Metrics
from onlooker.streams.tenancy.account import Account
from onlooker.streams.tenancy.fleet_link import FleetLink
from onlooker.streams.tenancy.limits import Limit, TenantLimits, TenantsSection
from onlooker.streams.tenancy.usage import TenantStanding, TenantTotals, sum_of

_log = logging.getLogger("onlooker.streams.tenancy")

OTHER = "other"
"""The label of all tenants that have none of their own."""


@dataclass(frozen=True, slots=True)
class TenantReport:
    """One tenant: what it has on all servers, and its totals."""

    tenant: str
    since_wall_s: float
    """When the totals began, in seconds since the Unix epoch."""
    standing: TenantStanding
    totals: TenantTotals
    refused: Mapping[str, int]
    """What was refused, by the limit."""
    limits: TenantLimits


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What tenants have and did."""

    tenants: list[TenantReport]
    servers: list[str]
    """The servers that were counted."""
    is_whole: bool
    """Whether it is all: else Redis is away, and totals are of this server since it was started."""


@dataclass(slots=True)
class _Told:
    """What of one tenant's totals was told before."""

    to_metrics: Counter[str] = field(default_factory=Counter)
    to_redis: Counter[str] = field(default_factory=Counter)


class Accounts:
    """All on the event loop. Tenants are those of the keys, and so few.

    Args:
        every_s: how often servers tell each other of tenants, and metrics are brought up to date.
        link: what is shared with other servers; None where there are none.
    """

    def __init__(
        self,
        settings: TenantsSection,
        *,
        clock: Clock,
        metrics: Metrics,
        every_s: float,
        name: str = "",
        link: FleetLink | None = None,
    ) -> None:
        self._settings, self._clock, self._metrics = settings, clock, metrics
        self._every_s, self._name, self._link = every_s, name, link
        self._accounts: dict[str, Account] = {}
        self._told: dict[str, _Told] = {}
        self._labels: dict[str, str] = {
            tenant: tenant for tenant in list(settings.named)[: settings.max_labelled]
        }
        self._batch: UsageBatch | None = None
        """What is being added to the totals in Redis, until it is known to be."""
        self._since_wall_s = clock.wall_s()

    def of(self, tenant: str) -> Account:
        """The account of a tenant."""
        account = self._accounts.get(tenant)
        if account is None:
            account = self._accounts[tenant] = self._made(tenant)
            self._told[tenant] = _Told()
        return account

    def of_stream(self, stream_id: StreamId) -> Account:
        """The account of a stream's tenant."""
        return self.of(split_stream_id(stream_id)[0])

    def note_remembered(self, remembered: Mapping[StreamId, int]) -> None:
        """Note how many bytes are remembered of each open stream."""
        for account in self._accounts.values():
            account.remembered = {}
        for stream_id, num_bytes in remembered.items():
            tenant, name = split_stream_id(stream_id)
            self.of(tenant).remembered[name] = num_bytes

    async def run(self) -> None:
        """Exchange with the other servers, and bring metrics up to date, until cancelled."""
        while True:
            try:
                await self.settle()
            except Exception:  # limits must not stand still for a fault of what tells of them
                _log.exception("what tenants have and did could not be told")
            await self._clock.sleep(self._every_s)

    async def settle(self) -> None:
        """Do once what `run` does again and again."""
        for account in self._accounts.values():
            account.measure()
        if self._link is not None:
            await self._exchange(self._link)
        for account in self._accounts.values():
            account.take_shares()
        self._tell_metrics()

    async def report(self, tenant: str | None = None) -> UsageReport:
        """What a tenant has and did on all servers together; None: every tenant that has or did
        anything."""
        link = self._link
        known = {tenant} if tenant is not None else set(self._accounts)
        if link is None:
            return UsageReport([self._own(name) for name in sorted(known)], [self._name], True)
        if tenant is None:
            known |= link.tenants()
        if link.is_reached:
            try:
                if tenant is None:
                    known |= set(await link.counts.tenants())
                names = sorted(known)
                totals = await link.counts.totals(names)
            except CountsUnreachable as error:
                link.lose(error)
            else:
                found = [
                    self._of_fleet(link, name, one) for name, one in zip(names, totals, strict=True)
                ]
                return UsageReport(found, link.servers, True)
        return UsageReport([self._own(name) for name in sorted(known)], [self._name], False)

    async def close(self) -> None:
        """Add what is left to the totals, and let go of the other servers."""
        if self._link is not None:
            await self._exchange(self._link)
            await self._link.close()

    # ---- inside

    async def _exchange(self, link: FleetLink) -> None:
        own = {name: one.standing() for name, one in self._accounts.items()}
        held = {key: names for one in self._accounts.values() for key, names in one.held().items()}
        self._batch = self._batch or self._next_batch()
        if await link.exchange(own, held, self._batch):
            self._batch = None

    def _next_batch(self) -> UsageBatch | None:
        """What was done since the last batch."""
        gained = {
            name: counts
            for name, account in self._accounts.items()
            if (counts := _gained(account, self._told[name].to_redis))
        }
        return UsageBatch(new_id("batch"), gained) if gained else None

    def _made(self, tenant: str) -> Account:
        return Account(tenant, self._settings.of(tenant), clock=self._clock, link=self._link)

    def _own(self, tenant: str) -> TenantReport:
        # Anybody's name may be asked for: only who does something has an account that stays.
        account = self._accounts.get(tenant) or self._made(tenant)
        refused = {limit.value: account.refused[limit] for limit in Limit}
        return TenantReport(
            tenant,
            self._since_wall_s,
            account.standing(),
            account.totals,
            refused,
            account.limits,
        )

    def _of_fleet(self, link: FleetLink, tenant: str, totals: Mapping[str, int]) -> TenantReport:
        account = self._accounts.get(tenant)
        standing = sum_of(
            [*link.others(tenant), *([] if account is None else [account.standing()])]
        )
        return TenantReport(
            tenant,
            float(totals.get("since", self._clock.wall_s())),
            standing,
            TenantTotals(**{name: totals.get(name, 0) for name in TenantTotals.__slots__}),
            {limit.value: totals.get(_refused(limit), 0) for limit in Limit},
            self._settings.of(tenant),
        )

    def _tell_metrics(self) -> None:
        standings: dict[str, TenantStanding] = {}
        for name, account in self._accounts.items():
            label = self._label(name)
            standings[label] = sum_of([account.standing(), standings.get(label, TenantStanding())])
            self._count(label, _gained(account, self._told[name].to_metrics))
        for label, standing in standings.items():
            self._metrics.tenant_streams.labels(label).set(standing.streams)
            self._metrics.tenant_watches.labels(label).set(standing.watches)
            self._metrics.tenant_memory_bytes.labels(label).set(standing.memory_bytes)

    def _count(self, label: str, gained: Mapping[str, int]) -> None:
        metrics = self._metrics
        for name, amount in gained.items():
            if name.startswith("frames_"):
                metrics.tenant_frames.labels(label, name.removeprefix("frames_")).inc(amount)
            elif name.endswith("_tokens"):
                metrics.tenant_tokens.labels(label, name.removesuffix("_tokens")).inc(amount)
            elif name.startswith("refused_"):
                metrics.tenant_refused.labels(label, name.removeprefix("refused_")).inc(amount)
            elif name == "questions":
                metrics.tenant_questions.labels(label).inc(amount)
            else:
                metrics.tenant_alerts.labels(label).inc(amount)

    def _label(self, tenant: str) -> str:
        if tenant not in self._labels and len(self._labels) < self._settings.max_labelled:
            self._labels[tenant] = tenant
        return self._labels.get(tenant, OTHER)


def _refused(limit: Limit) -> str:
    return f"refused_{limit.value}"


def _gained(account: Account, told: Counter[str]) -> dict[str, int]:
    """By how much a tenant's totals have grown since they were told; now they are."""
    totals: dict[str, int] = asdict(account.totals)
    totals |= {_refused(limit): account.refused[limit] for limit in Limit}
    gained = {name: total - told[name] for name, total in totals.items() if total != told[name]}
    told.update(gained)
    return gained
