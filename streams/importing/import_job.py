"""`ImportJob`: one recording on its way into a stream, and what has become of it so far."""

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from onlooker.core.ids import StreamId


class ImportState(StrEnum):
    """How far a job is."""

    WAITING = "waiting"
    """For its turn."""
    FETCHING = "fetching"
    """Its recording is being fetched from its address."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of the job."""
        return self in (ImportState.DONE, ImportState.FAILED, ImportState.CANCELLED)


@dataclass(slots=True, kw_only=True)
class ImportJob:
    """One recording and the stream that it goes to. The importer alone changes it."""

    id: str
    stream_id: StreamId
    starts_at: float
    """When the recording began, in seconds since the Unix epoch."""
    zero_wall_s: float
    """Wall clock of the stream's time 0, with which the stream is opened where it is not open."""
    label: str
    """What whoever imports calls it: the name of its file, or its address without secrets."""
    url: str = ""
    """The address from which it is fetched; empty where it is a file already."""
    path: str = ""
    """The file, once it is there."""
    created_at: float
    state: ImportState = ImportState.WAITING
    reason: str = ""
    """Why it failed, or what else is to be said of it; for people."""
    ended_at: float | None = None
    duration_s: float | None = None
    """The recording's length, where it says so."""
    done_s: float = 0.0
    """How far it has been imported, in seconds of the recording."""
    left_out_s: float = 0.0
    """Seconds of its beginning that the stream had come past before."""
    has_begun: bool = False
    """Whether any of it may be in the stream already."""
    num_pictures: int = 0
    num_broken: int = 0
    """Pieces that could not be decoded, and pictures that were lost."""

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ImportJob":
        """A job that was written down. One that was under way waits again.

        Raises:
            TypeError, ValueError: it is no job.
        """
        known = {field.name for field in fields(cls)}
        job = cls(**{name: value for name, value in values.items() if name in known})
        job.state = ImportState(job.state)
        if not job.state.is_over:
            job.state = ImportState.WAITING
        return job

    def is_file(self) -> bool:
        """Whether its recording is at hand."""
        return bool(self.path) and Path(self.path).is_file()
