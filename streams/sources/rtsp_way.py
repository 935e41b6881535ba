"""RTSP cameras, over TCP or UDP, with or without TLS."""

from onlooker.streams.sources import reasons
from onlooker.streams.sources.relay import Relay, RelayedConnection, RelayGuard
from onlooker.streams.sources.rtsp_messages import ReplyFilter
from onlooker.streams.sources.rtsp_udp import UdpTranslator
from onlooker.streams.sources.spec import SourceBroken, SourceLost, SourceSpec
from onlooker.streams.sources.way import Access, Opening, login_part

_REORDERED_PACKETS = 500
"""Packets that FFmpeg holds back to put them in order, where they come by UDP."""


class RtspGuard:
    """Everything over the one connection; ends it at a redirect and at what is no RTSP."""

    is_timed = True

    def __init__(self, replies: ReplyFilter) -> None:
        self._replies = replies

    def up(self, data: bytes) -> bytes:
        return data

    def down(self, data: bytes) -> bytes:
        if not self._replies.passes(data):
            raise SourceBroken(self._replies.refusal or "")
        return data

    def close(self) -> None:
        pass


class RtspWay:
    """Opens one camera through a relay, over which FFmpeg speaks RTSP with it."""

    is_recorded = False

    def __init__(self, source: SourceSpec, access: Access) -> None:
        self._source, self._access = source, access
        self._target = access.policy.parse(source.url)
        self._replies = ReplyFilter()
        self._relay: Relay | None = None

    def open(self) -> Opening:
        target, settings = self._target, self._access.settings
        is_secure = target.scheme == "rtsps"
        relay = self._relay = Relay(
            target, self._access, is_secure=is_secure, make_guard=self._guard
        )
        return Opening(
            url=f"rtsp://{login_part(target, self._source.url)}127.0.0.1:{relay.port}{target.path}",
            format="rtsp",
            options={
                "rtsp_transport": "tcp",
                "protocol_whitelist": "rtsp,tcp,rtp",
                "allowed_media_types": "video",
                **({"reorder_queue_size": str(_REORDERED_PACKETS)} if self._is_udp else {}),
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
        status = self._replies.status
        if status < 400:
            return None
        has_login = self._target.username is not None
        why = reasons.of_status(status, has_login=has_login, realm="camera")
        return SourceLost(why) if status >= 500 else SourceBroken(why)

    @property
    def _is_udp(self) -> bool:
        return self._source.transport == "udp"

    def _guard(self, link: RelayedConnection) -> RelayGuard:
        if self._is_udp:
            return UdpTranslator(link, self._replies, self._access)
        return RtspGuard(self._replies)
