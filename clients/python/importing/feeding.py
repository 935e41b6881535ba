"""`Feeding`: sends what is filmed to a stream on the virtual clock, and goes on after a break.

What the server has taken decides where an import goes on: every picture has its time on the wall,
so that what came in before is known, and nothing is lost or sent twice.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from onlooker.clients.python.client import Client
from onlooker.clients.python.events import EventLine, Problem
from onlooker.clients.python.stream import RemoteStream
from onlooker.core.clock import Clock
from onlooker.core.errors import Conflict, InvalidRequest, NotFound
from onlooker.core.protocol.server_events import VideoPace
from onlooker.core.protocol.stream_objects import StreamObject
from onlooker.core.recordings.crew import Crew
from onlooker.core.recordings.filming import Ended, Filming, PictureWish, Shot
from onlooker.core.recordings.recording import Recording

FREE_WITHIN_S = 15.0
"""How long an import waits for the stream's source to let go, which may be an earlier import that
was ended just now."""

POLL_S = 0.25
PACE_WITHIN_S = 5.0
DEFAULT_FPS = 2.0


@dataclass(slots=True)
class ImportTally:
    """What an import has done so far."""

    num_sent: int = 0
    """Pictures."""
    filmed_s: float = 0.0
    """Recorded time that was sent."""
    at_wall_s: float | None = None
    """Time on the wall of the picture that was sent last."""
    recording: Recording | None = None
    """The recording that is under way."""
    num_recordings: int = 0
    """Recordings that were sent to their end."""
    overlap_s: dict[str, float] = field(default_factory=dict)
    """Names of recordings of which a beginning was left out, since it had been seen already, with
    its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTarget:
    """The stream that recordings go to, as it was when the import came to it."""

    zero_wall_s: float
    """Wall clock of its time 0."""
    until_s: float | None
    """Stream time of the newest picture that it has taken; None where it has taken none."""
    dropped: int
    """Pictures that it has dropped."""

    @property
    def until_wall_s(self) -> float:
        """The wall clock after which it goes on."""
        return self.zero_wall_s + (-1.0 if self.until_s is None else self.until_s)


class Feeding:
    """One import into one stream."""

    def __init__(
        self,
        client: Client,
        stream_id: str,
        crew: Crew,
        *,
        clock: Clock,
        fps: float | None = None,
        on_begun: Callable[[Recording], None] = lambda recording: None,
        on_ended: Callable[[Ended], None] = lambda ended: None,
    ) -> None:
        """`fps`: pictures a second of recorded time; None: as many as the server looks at.
        `on_begun` is told of each recording before its first picture is sent, and `on_ended` when
        its last one has been."""
        self._client, self._stream_id, self._crew = client, stream_id, crew
        self._clock, self._fps = clock, fps
        self._on_begun, self._on_ended = on_begun, on_ended
        self._interval_s = 0.0
        self.tally = ImportTally()

    async def open(self, starts_at: float) -> ImportTarget:
        """Open the stream, or find it.

        Raises:
            Conflict: it is there, but not for recordings by the wall clock, or is fed by another.
            OnlookerError: refused, or out of reach.
        """
        name = self._stream_id
        try:
            found = await self._client.get_stream(name)
        except NotFound:
            found = await self._client.create_stream(name, clock="virtual", starts_at=starts_at)
        if found.starts_at is None or found.clock != "virtual":
            raise Conflict(
                f"the stream '{name}' is there already, and was not opened for recordings by the "
                "wall clock (clock virtual, with starts_at): take another name, or close it",
                param="camera",
            )
        found = await self._free(found)
        return ImportTarget(
            zero_wall_s=found.starts_at or 0.0,
            until_s=found.received_until_s,
            dropped=sum(found.totals.dropped.values()),
        )

    async def _free(self, found: StreamObject) -> StreamObject:
        """The stream, once nobody else feeds it."""
        until_s = self._clock.now_s() + FREE_WITHIN_S
        while found.source.state not in (None, "ended", "failed"):
            if self._clock.now_s() > until_s:
                raise Conflict(
                    f"the stream '{found.id}' is being fed by somebody else: stop that first",
                    param="camera",
                )
            await self._clock.sleep(POLL_S)
            found = await self._client.get_stream(found.id)
        return found

    async def run(self, recordings: Sequence[Recording], target: ImportTarget) -> None:
        """Send what the stream has not had, and wait until the server has said what became of it.

        Raises:
            OnlookerError: the connection was lost, or the stream was closed.
        """
        stream = self._client.stream(self._stream_id, clock="virtual", starts_at=target.zero_wall_s)
        events = stream.events()
        async with stream:
            look = await self._look(stream, events)
            self._interval_s = look.interval_s
            filming = Filming(self._crew, recordings, look, after_wall_s=target.until_wall_s)
            sending = asyncio.create_task(self._send(stream, filming, target))
            listening = asyncio.create_task(_first_problem(events))
            try:
                done, _ = await asyncio.wait(
                    (sending, listening), return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
                await sending
            finally:
                for task in (sending, listening):
                    task.cancel()
                await asyncio.gather(sending, listening, return_exceptions=True)

    async def _look(self, stream: RemoteStream, events: EventLine) -> PictureWish:
        """Pictures as the server asks for them."""
        assert stream.session is not None
        fps = DEFAULT_FPS
        try:
            async with asyncio.timeout(PACE_WITHIN_S):
                async for event in events:
                    if isinstance(event, VideoPace) and event.slot == 0:
                        fps = event.fps
                        break
        except TimeoutError:
            pass  # it takes any
        can = stream.session.capabilities
        fps = fps if self._fps is None else self._fps
        return PictureWish(interval_s=1 / fps, width=can.frame_width, height=can.frame_height)

    async def _send(self, stream: RemoteStream, filming: Filming, target: ImportTarget) -> None:
        last_us = -1 if target.until_s is None else round(target.until_s * 1e6)
        async with aclosing(filming.run()) as shots:
            async for one in shots:
                if isinstance(one, Ended):
                    self._note_end(one)
                    continue
                at_us = round((one.wall_s - target.zero_wall_s) * 1e6)
                if at_us <= last_us:
                    self._note_overlap(one, last_us / 1e6 + target.zero_wall_s)
                    continue
                last_us = at_us
                if self.tally.recording is not one.recording:
                    self._on_begun(one.recording)
                await stream.send_frame(one.jpeg, at_s=at_us / 1e6)
                self._note_sent(one)
        await stream.drain()

    def _note_sent(self, shot: Shot) -> None:
        tally = self.tally
        if tally.recording is shot.recording and tally.at_wall_s is not None:
            tally.filmed_s += shot.wall_s - tally.at_wall_s
        tally.num_sent += 1
        tally.at_wall_s, tally.recording = shot.wall_s, shot.recording

    def _note_end(self, ended: Ended) -> None:
        if not ended.problem:
            self.tally.num_recordings += 1
        self._on_ended(ended)

    def _note_overlap(self, shot: Shot, until_wall_s: float) -> None:
        length_s = until_wall_s + self._interval_s - shot.recording.start_wall_s
        self.tally.overlap_s.setdefault(shot.recording.name, length_s)


async def _first_problem(events: EventLine) -> None:
    """Wait for something that the server has against what is sent.

    Raises:
        OnlookerError: what it said.
    """
    async for event in events:
        if isinstance(event, Problem):
            raise InvalidRequest(event.error.message, param=event.error.param)
