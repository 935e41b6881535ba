"""`Importer`: all imports of a server, in the background, a few at a time."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from onlooker.core.backoff import Backoff
from onlooker.core.clock import Clock
from onlooker.core.errors import (
    InvalidRequest,
    NotFound,
    OnlookerError,
    Overloaded,
    ServiceError,
    UnsupportedMedia,
)
from onlooker.core.ids import StreamId, new_id, split_stream_id
from onlooker.core.log import stream_id_var
from onlooker.core.metrics import Metrics
from onlooker.core.recordings.crew import Crew, DecoderLimits
from onlooker.core.waiting import cancel
from onlooker.streams.hub import StreamHub
from onlooker.streams.importing.import_job import ImportJob, ImportState
from onlooker.streams.importing.import_run import ImportRun, check_stream
from onlooker.streams.importing.import_shelf import ImportShelf
from onlooker.streams.importing.upload import Upload
from onlooker.streams.source_config import ImportsSection
from onlooker.streams.sources.spec import redacted
from onlooker.streams.stream import StreamOptions

_log = logging.getLogger("onlooker.streams.importing")

AGAIN = Backoff(1.0, 60.0)
MOST_FAILURES = 5
"""Failures in a row, without a picture between, before an import is given up."""

FetchTo = Callable[[str, Path], Awaitable[None]]


class Importer:
    """Takes recordings, and feeds them to their streams one after the other. A stream has one
    import at a time, and of those that wait the one that began first comes first. All on the event
    loop.

    Args:
        fetch: writes what is at an address to a file.
        check: raises where an address may not be imported from; of a file it returns the path.
    """

    def __init__(
        self,
        hub: StreamHub,
        *,
        settings: ImportsSection,
        clock: Clock,
        metrics: Metrics,
        fetch: FetchTo,
        check: Callable[[str], Awaitable[Path | None]],
    ) -> None:
        self._hub, self._settings, self._clock, self._metrics = hub, settings, clock, metrics
        self._fetch, self._check = fetch, check
        self._shelf = ImportShelf(settings.path)
        self._run = ImportRun(hub, settings, clock)
        self._jobs: dict[str, ImportJob] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._unwanted: set[str] = set()
        """Jobs under way that are to be cancelled, not gone on with at the next start."""
        self._uploading: Counter[str] = Counter()
        self._is_closing = False

    async def start(self) -> None:
        """Go on with what an earlier server left; once streams can be opened."""
        for job in await asyncio.to_thread(self._shelf.load):
            self._jobs[job.id] = job
        self._wake()

    async def close(self) -> None:
        """Stop what is under way, which is gone on with by the next server. Idempotent."""
        self._is_closing = True
        for task in list(self._under_way.values()):
            with contextlib.suppress(Exception):
                await cancel(task)
        await asyncio.to_thread(self._shelf.close)

    # ---- taking recordings

    @contextlib.asynccontextmanager
    async def upload(self, tenant: str) -> AsyncIterator[Upload]:
        """A place for a recording that comes in.

        Raises:
            Overloaded: the tenant has as many imports under way as it may.
        """
        self._check_room(tenant)
        self._uploading[tenant] += 1
        try:
            job_id = new_id("imp")
            path = await asyncio.to_thread(self._shelf.media_path, job_id)
            async with Upload(job_id, path, max_bytes=self._settings.max_upload_bytes) as upload:
                yield upload
        finally:
            self._uploading[tenant] -= 1
            self._uploading += Counter()  # drops those at zero

    async def submit_upload(
        self, stream_id: StreamId, upload: Upload, *, starts_at: float, label: str
    ) -> ImportJob:
        """Import what was uploaded, in the background. The stream is opened where it is missing.

        Raises:
            UnsupportedMedia: it is no recording.
            Conflict: the stream cannot take it.
            what `StreamHub.open_stream` does.
        """
        job = self._made(upload.job_id, stream_id, starts_at=starts_at, label=label)
        job.path = str(upload.path)
        await self._add(job)
        upload.is_kept = True
        return job

    async def submit_url(
        self, stream_id: StreamId, url: str, *, starts_at: float, label: str
    ) -> ImportJob:
        """Import what is at an address: a file of this machine, or one that is fetched first.

        Raises:
            Forbidden, InvalidRequest: the address may not be imported from.
            Overloaded: the tenant has as many imports under way as it may.
            otherwise as `submit_upload`.
        """
        self._check_room(split_stream_id(stream_id)[0])
        path = await self._check(url)
        label = label or redacted(url)
        job = self._made(new_id("imp"), stream_id, starts_at=starts_at, label=label)
        if path is None:
            job.url = url
        else:
            job.path = str(path)
        await self._add(job)
        return job

    # ---- looking after them

    def jobs(self, stream_id: StreamId) -> list[ImportJob]:
        """The imports into a stream, the oldest first."""
        found = [job for job in self._jobs.values() if job.stream_id == stream_id]
        return sorted(found, key=lambda job: job.created_at)

    def get(self, stream_id: StreamId, job_id: str) -> ImportJob:
        """One of them. Raises `NotFound`."""
        job = self._jobs.get(job_id)
        if job is None or job.stream_id != stream_id:
            raise NotFound(f"the stream has no import '{job_id[:80]}'", param="import_id")
        return job

    async def drop(self, stream_id: StreamId, job_id: str) -> None:
        """Cancel an import that is not over; what was imported stays in the stream. Forget one that
        is. Raises `NotFound`."""
        job = self.get(stream_id, job_id)
        if job.state.is_over:
            await self._forget(job)
            return
        self._unwanted.add(job.id)
        task = self._under_way.get(job.id)
        if task is None:
            await self._end(job, ImportState.CANCELLED, "")
        else:
            await cancel(task)
            if not job.state.is_over:  # it never took a step
                await self._end(job, ImportState.CANCELLED, "")

    async def drop_all(self, stream_id: StreamId) -> None:
        """Cancel and forget all imports into a stream that is to be forgotten."""
        for job in self.jobs(stream_id):
            if not job.state.is_over:
                await self.drop(stream_id, job.id)
            await self._forget(job)

    # ---- inside

    def _check_room(self, tenant: str) -> None:
        of_tenant = [job for job in self._jobs.values() if _tenant(job) == tenant]
        num_open = sum(not job.state.is_over for job in of_tenant) + self._uploading[tenant]
        if num_open >= self._settings.max_tenant_jobs:
            raise Overloaded(
                f"{num_open} imports are under way, as many as may be (setting "
                "streams.imports.max_tenant_jobs): wait for one to end, or cancel it",
                retry_after_s=10.0,
            )

    def _made(self, job_id: str, stream_id: StreamId, *, starts_at: float, label: str) -> ImportJob:
        return ImportJob(
            id=job_id,
            stream_id=stream_id,
            starts_at=starts_at,
            zero_wall_s=starts_at,
            label=label or "a recording",
            created_at=self._clock.wall_s(),
        )

    async def _add(self, job: ImportJob) -> None:
        """Look at a job's recording and its stream, and have it wait for its turn: all, or
        nothing."""
        if job.path:
            await self._look(job)
        is_opened = False
        try:
            stream = self._hub.get(job.stream_id)
        except NotFound:
            options = StreamOptions(clock="virtual", zero_wall_s=job.starts_at)
            stream = await self._hub.open_stream(job.stream_id, options)
            is_opened = True
        try:
            job.zero_wall_s = check_stream(stream, job.starts_at, job.duration_s)
            await self._keep(job)
        except BaseException:
            if is_opened:
                with contextlib.suppress(NotFound):
                    reason = "its recording was not taken"
                    await asyncio.shield(self._hub.close_stream(job.stream_id, reason))
            raise
        self._jobs[job.id] = job
        await self._forget_oldest(_tenant(job))
        self._wake()

    async def _look(self, job: ImportJob) -> None:
        """Read what the recording says of itself. Raises `UnsupportedMedia`."""
        async with self._crew(1) as crew:
            facts = await crew.facts(job.path)
        job.duration_s = facts.duration_s
        most_s = self._settings.max_recorded_s
        if job.duration_s is not None and job.duration_s > most_s:
            raise UnsupportedMedia(
                f"the recording says that it is {job.duration_s:.0f} s long; {most_s:g} s are "
                "taken (setting streams.imports.max_recorded_s)"
            )

    def _crew(self, num_processes: int) -> Crew:
        settings = self._settings
        limits = DecoderLimits(settings.picture_budget_s, settings.memory_mib)
        return Crew(num_processes, settings.patience_s, limits)

    def _wake(self) -> None:
        """Begin what may begin."""
        is_open = not self._is_closing and self._hub.alive()
        while is_open and len(self._under_way) < self._settings.max_running:
            job = self._next()
            if job is None:
                return
            self._under_way[job.id] = task = asyncio.create_task(self._work(job), name=job.id)
            task.add_done_callback(partial(self._note_done, job.id))

    def _next(self) -> ImportJob | None:
        """Whose turn it is: one of the tenant that has the fewest under way."""
        running = [self._jobs[job_id] for job_id in self._under_way]
        busy = {job.stream_id for job in running}
        shares = Counter(map(_tenant, running))
        waiting = [
            job
            for job in self._jobs.values()
            if not job.state.is_over and job.id not in self._under_way and job.stream_id not in busy
        ]
        return min(
            waiting,
            key=lambda job: (shares[_tenant(job)], job.starts_at, job.created_at),
            default=None,
        )

    def _note_done(self, job_id: str, task: "asyncio.Task[None]") -> None:
        del self._under_way[job_id]
        self._wake()

    async def _work(self, job: ImportJob) -> None:
        stream_id_var.set(job.stream_id)
        try:
            await self._import(job)
        except asyncio.CancelledError:
            if job.id not in self._unwanted:
                raise
            await self._end(job, ImportState.CANCELLED, "")
        except OnlookerError as error:
            if not self._hub.alive():  # it is not the recording's fault
                job.state = ImportState.WAITING
                return
            await self._end(job, ImportState.FAILED, error.message)
        except Exception:
            _log.exception("an import failed")
            await self._end(job, ImportState.FAILED, "internal error; see the server's log")
        else:
            await self._end(job, ImportState.DONE, "")

    async def _import(self, job: ImportJob) -> None:
        """Import until all is done; goes on after what passes."""
        num_failures, num_pictures = 0, 0
        while True:
            try:
                if not job.is_file():
                    await self._fetched(job)
                job.state = ImportState.RUNNING
                if not job.has_begun:
                    await self._keep_begun(job)
                async with self._crew(self._settings.processes) as crew:
                    await self._run.feed(job, crew)
                return
            except OnlookerError as error:
                num_failures = 1 if job.num_pictures > num_pictures else num_failures + 1
                num_pictures = job.num_pictures
                if not error.retryable or num_failures >= MOST_FAILURES:
                    raise
                job.reason = f"{error.message} (tried again)"
                await self._clock.sleep(AGAIN.wait_s(num_failures))

    async def _keep_begun(self, job: ImportJob) -> None:
        """Write down that some of it may be in the stream from now on."""
        await asyncio.to_thread(self._shelf.keep, replace(job, has_begun=True))

    async def _fetched(self, job: ImportJob) -> None:
        if not job.url:
            raise InvalidRequest("its file is gone")
        job.state = ImportState.FETCHING
        path = await asyncio.to_thread(self._shelf.media_path, job.id)
        await self._fetch(job.url, path)
        job.path = str(path)
        await self._look(job)
        await self._keep(job)

    async def _end(self, job: ImportJob, state: ImportState, reason: str) -> None:
        ended_at = self._clock.wall_s()
        try:
            await self._keep(replace(job, state=state, reason=reason, ended_at=ended_at))
        except ServiceError as error:
            _log.warning("the end of an import cannot be kept", extra={"detail": error.message})
        await asyncio.to_thread(self._shelf.drop_media, job.id)
        job.state, job.reason, job.ended_at = state, reason, ended_at
        self._unwanted.discard(job.id)
        self._metrics.imports.labels(outcome=state.value).inc()
        if state is ImportState.FAILED:
            _log.warning("an import has failed", extra={"import": job.id, "reason": reason})

    async def _keep(self, job: ImportJob) -> None:
        try:
            await asyncio.to_thread(self._shelf.keep, job)
        except OSError as error:
            raise ServiceError(f"the import cannot be written down: {error.strerror}") from error

    async def _forget(self, job: ImportJob) -> None:
        self._jobs.pop(job.id, None)
        await asyncio.to_thread(self._shelf.forget, job.id)

    async def _forget_oldest(self, tenant: str) -> None:
        """Let those go that ended longest ago, where there are too many."""
        over = [j for j in self._jobs.values() if j.state.is_over and _tenant(j) == tenant]
        over.sort(key=lambda job: job.ended_at or 0.0)
        for job in over[: max(0, len(over) - self._settings.max_kept)]:
            await self._forget(job)


def _tenant(job: ImportJob) -> str:
    return split_stream_id(job.stream_id)[0]
