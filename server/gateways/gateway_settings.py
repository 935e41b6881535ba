"""The settings of one of several gateways: those of the server, as a server of a fleet."""

from urllib.parse import urlsplit, urlunsplit

from onlooker.server.config import Settings
from onlooker.server.fleet_wiring import server_name
from onlooker.streams.fleet_config import FleetSection


def settings_of(settings: Settings, index: int, *, port: int, own_url: str) -> Settings:
    """What gateway `index` is started with.

    Args:
        port: the port that the gateways share.
        own_url: where this machine finds the gateway itself.
    """
    server = settings.server.model_copy(update={"port": port})
    settings = settings.model_copy(update={"server": server})
    fleet = settings.fleet or FleetSection()
    own = {"name": f"{server_name(settings)}-{index}", "url": _reached_at(fleet.url, own_url)}
    return settings.model_copy(update={"fleet": fleet.model_copy(update=own)})


def _reached_at(fleet_url: str | None, own_url: str) -> str:
    """Where others reach a gateway: at the server's host, as they know it, and its own port."""
    if fleet_url is None:
        return own_url
    theirs, port = urlsplit(fleet_url), urlsplit(own_url).port
    host = theirs.hostname or ""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return urlunsplit(theirs._replace(netloc=place))
