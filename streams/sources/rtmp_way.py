"""RTMP servers, with or without TLS: a stream that somebody publishes there."""

from onlooker.core.recordings.containers import FORMATS
from onlooker.streams.sources.relay import Relay
from onlooker.streams.sources.spec import SourceLost, SourceSpec
from onlooker.streams.sources.way import Access, Opening, login_part

MAX_CONNECTIONS = 4
"""Connections of one opening: a server that wants a login is connected to again for each step."""


class RtmpWay:
    """Opens one stream of an RTMP server through a relay."""

    is_recorded = False

    def __init__(self, source: SourceSpec, access: Access) -> None:
        self._source, self._access = source, access
        self._relay: Relay | None = None

    def open(self) -> Opening:
        target, settings = self._access.policy.parse(self._source.url), self._access.settings
        relay = self._relay = Relay(
            target,
            self._access,
            is_secure=target.scheme == "rtmps",
            max_connections=MAX_CONNECTIONS,
        )
        login = login_part(target, self._source.url)
        return Opening(
            url=f"rtmp://{login}127.0.0.1:{relay.port}{target.path}",
            format="flv",
            options={
                # What the server is told that it is called; it would be called 127.0.0.1 else.
                "rtmp_tcurl": f"{target.scheme}://{target.netloc}/{_app(target.path)}",
                "protocol_whitelist": "rtmp,tcp",
                "format_whitelist": FORMATS,
            },
            timeouts_s=(settings.open_timeout_s, settings.read_timeout_s),
            relay_port=relay.port,
        )

    def stop(self) -> None:
        if self._relay is not None:
            self._relay.close()

    @property
    def fault(self) -> Exception | None:
        return self._relay.fault if self._relay is not None else None

    def explain(self, *, has_begun: bool) -> Exception | None:
        if has_begun:
            return SourceLost("the RTMP server ended the stream")
        return SourceLost(
            "the RTMP server sends no such stream: check the application and the name in the "
            "address (rtmp://host/APPLICATION/NAME), and that somebody publishes it now"
        )


def _app(path: str) -> str:
    """The application that an address names: all but the last part of its path, two parts at
    most."""
    parts = path.partition("?")[0].strip("/").split("/")
    return "/".join(parts[:1] if len(parts) < 3 else parts[:2])
