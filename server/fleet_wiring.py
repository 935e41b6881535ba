"""Makes what a server of a fleet needs: its name, its leases, and its ways to the others."""

import random
import socket
import ssl

from onlooker.cache_store.leases import RedisLeases
from onlooker.cache_store.notices import NoticeBoard
from onlooker.cache_store.tenant_counts import RedisTenantCounts
from onlooker.core.clock import Clock
from onlooker.core.errors import ConfigError
from onlooker.core.metrics import Metrics
from onlooker.core.tracer import Tracer
from onlooker.server.config import Settings
from onlooker.server.drainable import Drainable
from onlooker.server.fleet.fleet_relay import FleetRelay
from onlooker.server.fleet.herald import Herald
from onlooker.server.fleet.placer import Placer
from onlooker.server.fleet.reach import Reach
from onlooker.streams.fleet_config import FleetSection
from onlooker.streams.ownership import Ownership
from onlooker.streams.tenancy.accounts import Accounts
from onlooker.streams.tenancy.fleet_link import FleetLink
from onlooker.streams.tenure import LeaseTerms

FENCE_S = 90 * 86400.0
"""How long the newest epoch of a stream that nobody opens is remembered."""
ACCOUNTS_S = 2.0
"""Seconds between two times that a server without others brings what it tells of tenants up to
date."""
NOTICES_MISSED = 3
"""A server of which nothing is heard for so many times `fleet.notice_s` is not listed any more."""


def make_reach(settings: Settings, *, clock: Clock, metrics: Metrics) -> Reach:
    """What knows which other servers can be connected to."""
    fleet = settings.fleet or FleetSection()
    return Reach(limit_s=fleet.connect_s, hold_s=fleet.hold_s, clock=clock, metrics=metrics)


def make_ownership(
    settings: Settings, reach: Reach, *, clock: Clock, metrics: Metrics
) -> Ownership | None:
    """The leases of this server's streams; None where it is alone."""
    fleet, redis = settings.fleet, settings.cache_store.redis
    if fleet is None or redis is None:
        return None
    leases = RedisLeases(
        redis.url.get_secret_value(),
        namespace=redis.namespace,
        server=server_name(settings),
        url=server_url(settings),
        lease_s=fleet.lease_s,
        fence_s=FENCE_S,
        timeout_s=fleet.timeout_s,
        open_s=settings.streams.stream_idle_s,
    )
    terms = LeaseTerms(fleet.lease_s)
    return Ownership(leases, terms=terms, clock=clock, metrics=metrics, is_gone=reach.is_gone)


def make_accounts(settings: Settings, *, clock: Clock, metrics: Metrics) -> Accounts:
    """What tenants may have and do; in a fleet, together with what they have on other servers."""
    fleet, redis = settings.fleet, settings.cache_store.redis
    name = server_name(settings)
    link = None
    if fleet is not None and redis is not None:
        url = redis.url.get_secret_value()
        counts = RedisTenantCounts(
            url,
            namespace=redis.namespace,
            server=name,
            lasts_s=fleet.lease_s,
            timeout_s=fleet.timeout_s,
        )
        board = NoticeBoard(
            url,
            namespace=redis.namespace,
            server=name,
            lasts_s=fleet.notice_s * NOTICES_MISSED,
            timeout_s=fleet.timeout_s,
            topic="tenancy",
        )
        link = FleetLink(counts, board, name=name, metrics=metrics)
    return Accounts(
        settings.tenants,
        clock=clock,
        metrics=metrics,
        every_s=ACCOUNTS_S if fleet is None else fleet.notice_s,
        name=name,
        link=link,
    )


def make_relay(
    settings: Settings,
    ownership: Ownership | None,
    reach: Reach,
    *,
    clock: Clock,
    metrics: Metrics,
    running: set[Drainable],
    tracer: Tracer | None = None,
) -> FleetRelay | None:
    """What passes calls about other servers' streams on; None for a server that is alone.

    Raises:
        ConfigError: the file of `fleet.ca` cannot be used.
    """
    fleet = settings.fleet
    if fleet is None or ownership is None:
        return None
    try:
        trust = ssl.create_default_context(cafile=fleet.ca)
    except OSError as error:
        raise ConfigError(f"fleet.ca: '{fleet.ca}' cannot be read as PEM: {error}") from error
    return FleetRelay(
        ownership,
        reach=reach,
        name=server_name(settings),
        fleet=fleet,
        server=settings.server,
        trust=trust,
        clock=clock,
        metrics=metrics,
        running=running,
        tracer=tracer,
    )


def make_herald(settings: Settings, *, clock: Clock) -> Herald | None:
    """What tells other servers of this one; None for a server that is alone."""
    fleet, redis = settings.fleet, settings.cache_store.redis
    if fleet is None or redis is None:
        return None
    board = NoticeBoard(
        redis.url.get_secret_value(),
        namespace=redis.namespace,
        server=server_name(settings),
        lasts_s=fleet.notice_s * NOTICES_MISSED,
        timeout_s=fleet.timeout_s,
    )
    return Herald(board, every_s=fleet.notice_s, clock=clock)


def make_placer(settings: Settings) -> Placer | None:
    """What chooses who opens a new stream; None for a server that is alone or passes nothing on."""
    fleet = settings.fleet
    if fleet is None or not fleet.relay:
        return None
    rng = random.Random()  # noqa: S311 - spreads streams, guards nothing
    return Placer(name=server_name(settings), margin=fleet.margin, rng=rng)


def server_name(settings: Settings) -> str:
    """The name that no other server has."""
    named = None if settings.fleet is None else settings.fleet.name
    return named or _place(settings)


def server_url(settings: Settings) -> str:
    """Where other servers and clients reach this one."""
    given = None if settings.fleet is None else settings.fleet.url
    scheme = "https" if settings.server.tls.is_on else "http"
    return given or f"{scheme}://{_place(settings)}"


def _place(settings: Settings) -> str:
    return f"{socket.gethostname()}:{settings.server.port}"
