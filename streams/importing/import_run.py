"""`ImportRun`: one recording into one stream, from where the stream has come to."""

from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

from onlooker.core.clock import Clock
from onlooker.core.errors import Conflict, NotFound, UnsupportedMedia
from onlooker.core.media import Codec, DropReason, EncodedFrame
from onlooker.core.recordings.crew import Crew
from onlooker.core.recordings.filming import Ended, Filming, PictureWish, Shot
from onlooker.core.recordings.recording import Recording
from onlooker.streams.hub import StreamHub
from onlooker.streams.importing.import_job import ImportJob
from onlooker.streams.lease import SourceChange, SourceLease
from onlooker.streams.source_config import ImportsSection
from onlooker.streams.stream import Stream, StreamOptions

SLACK_S = 0.25
"""By how much what a recording says of its length may be off."""


def recording_of(job: ImportJob) -> Recording:
    """A job's recording, as filming wants it."""
    return Recording(
        path=Path(job.path),
        name=job.label,
        start_wall_s=job.starts_at,
        start_source="whoever imports it",
        duration_s=job.duration_s,
        is_timed=job.duration_s is not None,
        fingerprint="",
    )


def come_to_s(stream: Stream) -> float | None:
    """The stream time up to which a stream has taken pictures; None where it has taken none."""
    status = stream.status()
    return status.seen_until_s if status.newest_s is None else status.newest_s


def check_stream(stream: Stream, starts_at: float, duration_s: float | None) -> float:
    """Return the wall clock of a stream's time 0.

    Raises:
        Conflict: the stream cannot take a recording that began at `starts_at`.
    """
    zero_wall_s = stream.options.zero_wall_s
    if stream.is_live or zero_wall_s is None:
        raise Conflict(
            f"stream '{stream.name}' was not opened for recordings by the wall clock (clock "
            "virtual, with starts_at): import into another one, which is opened where it is "
            "missing",
            param="stream",
        )
    if starts_at < zero_wall_s - 1e-3:
        raise Conflict(
            f"the recording began {zero_wall_s - starts_at:.1f} s before the stream's time 0: "
            "import it into another stream",
            param="starts_at",
        )
    until_s, start_s = come_to_s(stream), starts_at - zero_wall_s
    if until_s is None or duration_s is None or start_s > until_s:
        return zero_wall_s
    end_s = start_s + duration_s
    if end_s <= until_s + stream.interval_s + SLACK_S:  # its last picture stands for so long
        raise Conflict(
            f"the stream has come to second {until_s:.1f} of its time already, and takes nothing "
            f"from before; the recording ends at second {end_s:.1f}",
            param="starts_at",
        )
    return zero_wall_s


@dataclass(frozen=True, slots=True)
class ImportRun:
    """Feeds streams. Beside those of its `crew`, no process or thread decodes anything."""

    hub: StreamHub
    settings: ImportsSection
    clock: Clock

    async def feed(self, job: ImportJob, crew: Crew) -> None:
        """Feed all that the stream has not had yet, and note in `job` how far it is.

        Raises:
            UnsupportedMedia: the recording cannot be decoded to its end.
            Conflict, NotFound: the stream takes it not, or not any more.
            OnlookerError: the stream cannot be opened now.
        """
        stream = await self._stream(job)
        duration_s = None if job.has_begun else job.duration_s
        zero_wall_s = check_stream(stream, job.starts_at, duration_s)
        lease = stream.claim_source(f"import {job.id} of {job.label}", is_opening=True)
        try:
            await self._feed(job, crew, stream, lease, zero_wall_s)
        except BaseException:
            lease.release("its import was ended", change=SourceChange.FAILED)
            raise
        lease.release("the recording was imported")

    async def _stream(self, job: ImportJob) -> Stream:
        with suppress(NotFound):
            return self.hub.get(job.stream_id)
        options = StreamOptions(clock="virtual", zero_wall_s=job.zero_wall_s)
        return await self.hub.open_stream(job.stream_id, options)

    async def _feed(
        self, job: ImportJob, crew: Crew, stream: Stream, lease: SourceLease, zero_wall_s: float
    ) -> None:
        info, come_to = self.hub.info, come_to_s(stream)
        look = PictureWish(
            interval_s=stream.interval_s, width=info.frame_width, height=info.frame_height
        )
        last_s = -1.0 if come_to is None else come_to
        filming = Filming(crew, [recording_of(job)], look, after_wall_s=zero_wall_s + last_s)
        sequence = 0
        async with aclosing(filming.run()) as shots:
            async for one in shots:
                if isinstance(one, Ended):
                    job.num_broken += one.num_bad
                    job.done_s = max(job.done_s, one.end_wall_s - job.starts_at)
                    if one.problem:
                        raise UnsupportedMedia(one.problem)
                    continue
                self._check_length(one, job)
                at_s = round(one.wall_s - zero_wall_s, 6)
                if at_s <= last_s:
                    if not job.has_begun:
                        job.left_out_s = last_s + zero_wall_s - job.starts_at
                    continue
                job.has_begun = True
                sequence, last_s = sequence + 1, at_s
                await self._push(job, stream, one, sequence, at_s)
                if sequence == 1:
                    lease.tell(SourceChange.PLAYING)
        if not sequence and not job.num_pictures and come_to is None:
            raise UnsupportedMedia("it holds no picture that can be decoded")

    async def _push(
        self, job: ImportJob, stream: Stream, shot: Shot, sequence: int, at_s: float
    ) -> None:
        frame = EncodedFrame(
            sequence=sequence,
            capture_s=at_s,
            codec=Codec.JPEG,
            payload=shot.jpeg,
            received_at_s=self.clock.now_s(),
        )
        ack = await stream.push_wait(frame)
        if ack.reason is DropReason.STREAM_CLOSED:
            raise Conflict(f"the stream was closed: {stream.closed_reason}", param="stream")
        job.num_broken += ack.reason is not None and ack.reason is not DropReason.FORGOTTEN
        job.num_pictures += 1
        job.done_s = shot.wall_s - job.starts_at

    def _check_length(self, shot: Shot, job: ImportJob) -> None:
        if shot.wall_s - job.starts_at > self.settings.max_recorded_s:
            raise UnsupportedMedia(
                f"it goes on for more than {self.settings.max_recorded_s:g} s (setting "
                "streams.imports.max_recorded_s), if its times are right"
            )
