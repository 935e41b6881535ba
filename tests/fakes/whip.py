"""A WHIP client made of aiortc: what OBS or a browser does, over loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction

import aioice.ice
import httpx
import numpy as np
import pytest
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
    VideoStreamTrack,
)
from av.video.frame import VideoFrame

from tests.fakes.waiting import limited

COLOURS = {"red": (220, 30, 30), "blue": (40, 60, 220)}


class PlainVideo(VideoStreamTrack):
    """A camera that sees one colour at a time."""

    def __init__(
        self,
        colour: str = "red",
        *,
        width: int = 320,
        height: int = 240,
        is_busy: bool = False,
    ) -> None:
        super().__init__()
        self.colour = colour
        self._random = np.random.default_rng(7) if is_busy else None
        self._shape = (height, width, 3)
        self.num_sent = 0

    async def recv(self) -> VideoFrame:
        pts, time_base = await self.next_timestamp()
        pixels = np.full(self._shape, COLOURS[self.colour], np.uint8)
        # An encoder that is given the very same picture again and again sends next to nothing.
        pixels[: 8 * (self.num_sent % 8 + 1), :8] = 255
        if self._random is not None:  # takes many packets
            noise = self._random.integers(0, 64, self._shape, np.uint8)
            pixels = pixels // 2 + noise
        frame = VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = pts, Fraction(time_base)
        self.num_sent += 1
        return frame


@dataclass(slots=True)
class WhipSession:
    """A session as its client has it."""

    peer: RTCPeerConnection
    reply: httpx.Response
    track: MediaStreamTrack

    @property
    def location(self) -> str:
        location: str = self.reply.headers["location"]
        return location

    @property
    def target_bits_per_s(self) -> int:
        """What the client's encoder aims at, as far as it has been told."""
        [sender] = (one for one in self.peer.getSenders() if one.kind == "video")
        encoder = getattr(sender, "_RTCRtpSender__encoder", None)  # aiortc tells nobody
        return getattr(encoder, "target_bitrate", 0)


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the client use no network but loopback, which aioice leaves out otherwise."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.1"])


async def offered(
    codec: str, track: MediaStreamTrack, *, has_sound: bool = False
) -> tuple[RTCPeerConnection, str]:
    """A peer connection that would send `track`, and its offer with all candidates."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    if has_sound:
        peer.addTransceiver("audio", direction="sendonly")
    transceiver = peer.addTransceiver(track, direction="sendonly")
    known = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences([one for one in known if one.name == codec])
    await peer.setLocalDescription(await peer.createOffer())
    return peer, peer.localDescription.sdp


@asynccontextmanager
async def sending(
    http: httpx.AsyncClient,
    stream: str,
    *,
    codec: str = "VP8",
    track: MediaStreamTrack | None = None,
    key: str | None = None,
    has_sound: bool = False,
) -> AsyncIterator[WhipSession]:
    """A client that sends while the block runs, and then hangs up without a word over HTTP."""
    track = track or PlainVideo()
    peer, offer = await offered(codec, track, has_sound=has_sound)
    try:
        headers = {"content-type": "application/sdp"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        reply = await http.post(f"/v1/whip/{stream}", content=offer, headers=headers)
        if reply.status_code == 201:
            answer = RTCSessionDescription(reply.text, "answer")
            await peer.setRemoteDescription(answer)
        yield WhipSession(peer, reply, track)
    finally:
        async with limited("the client to hang up"):
            await peer.close()
        track.stop()
