"""`ImportShelf`: jobs and the files that were uploaded for them, in one folder on disk.

A job is a small file of JSON, which is whole or not there; its recording lies beside it until the
job is over. What a crash has left of an upload that was under way is deleted at the next start.
"""

import json
import logging
import os
import shutil
import tempfile
from pathlib import Path

from onlooker.streams.importing.import_job import ImportJob

_log = logging.getLogger("onlooker.streams.importing")

MEDIA_SUFFIX = ".media"


class ImportShelf:
    """Called from any thread, for one job by one at a time.

    Args:
        folder: where the files lie, made when it is needed; None: a temporary one, which goes with
            the server.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._is_kept = folder, folder is not None

    @property
    def is_kept(self) -> bool:
        """Whether jobs outlive the server."""
        return self._is_kept

    def media_path(self, job_id: str) -> Path:
        """Where the recording of a job lies, or is to lie."""
        return self._made() / f"{job_id}{MEDIA_SUFFIX}"

    def keep(self, job: ImportJob) -> None:
        """Write a job down. Raises `OSError`."""
        if not self._is_kept:
            return
        path = self._made() / f"{job.id}.json"
        draft = path.with_suffix(".new")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(job.as_json(), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def drop_media(self, job_id: str) -> None:
        """Delete the recording of a job, if it lies here."""
        if self._folder is not None:
            self.media_path(job_id).unlink(missing_ok=True)

    def forget(self, job_id: str) -> None:
        """Delete all there is of a job."""
        if self._folder is not None:
            self.drop_media(job_id)
            (self._folder / f"{job_id}.json").unlink(missing_ok=True)

    def load(self) -> list[ImportJob]:
        """The jobs that were written down; what belongs to none is deleted."""
        if self._folder is None or not self._folder.is_dir():
            return []
        jobs: list[ImportJob] = []
        for path in self._folder.glob("*.json"):
            try:
                jobs.append(ImportJob.from_json(json.loads(path.read_text())))
            except (OSError, ValueError, TypeError) as error:
                _log.warning(
                    "an import cannot be read and is left out",
                    extra={"file": path.name, "detail": str(error)},
                )
        unfinished = {job.id for job in jobs if not job.state.is_over}
        for path in self._folder.glob(f"*{MEDIA_SUFFIX}"):
            if path.stem not in unfinished:
                path.unlink(missing_ok=True)
        return jobs

    def close(self) -> None:
        """Delete the folder, if it is a temporary one."""
        if not self._is_kept and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _made(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="onlooker-imports-"))
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder
