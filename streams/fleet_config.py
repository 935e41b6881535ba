"""Settings of servers that share the memory of streams."""

from pathlib import Path

from pydantic import Field

from onlooker.core.settings import Section


class FleetSection(Section):
    """Several servers that share the Redis of `cache_store.redis`, and so the memory of streams. A
    stream is owned by one of them at a time."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")
    """This server's name, which no other server has and which stays over restarts. Null: host name
    and port."""

    url: str | None = None
    """Where clients and other servers reach this one, such as ``http://10.0.0.7:8000``. Null: host
    name and port."""

    lease_s: float = Field(default=10.0, ge=1, le=600)
    """How long a server that nothing is heard of keeps its streams. A server that cannot reach
    Redis for about three quarters of it closes its streams. A server whose port refuses connections
    is not waited for."""

    timeout_s: float = Field(default=1.0, gt=0, le=60)
    """Limit for each call to Redis about leases."""

    connect_s: float = Field(default=1.0, gt=0, le=60)
    """Limit for connecting to another server. One that does not take a connection in time may have
    vanished with its machine: calls about its streams get 503 until its leases have run out."""

    hold_s: float = Field(default=2.0, ge=0, le=60)
    """For how long a server that could not be connected to is not tried again by every call; one
    call at a time tries after that."""

    relay: bool = True
    """Whether calls and connections about a stream that another server owns are passed on to it.
    False: they are answered with 421 and the owner's address."""

    relay_timeout_s: float = Field(default=120.0, gt=0, le=3600)
    """How long the owner of a stream may be silent in a call that is passed on to it."""

    notice_s: float = Field(default=2.0, gt=0, le=60)
    """How often this server tells the others how it is (`GET /v1/servers`), and hears how they are.
    Each hears all, so that what this asks of Redis goes with the square of the number of servers:
    with more than a hundred, take 10."""

    margin: float = Field(default=0.2, ge=0, le=1)
    """A new stream is opened by the server that was asked for it, unless another one has so much
    more room, as a share of what a server can do. 1: unless it is full."""

    ca: Path | None = None
    """PEM file of the authority whose certificates the servers show each other, where their `url`
    is https. Null: the authorities that this machine trusts."""
