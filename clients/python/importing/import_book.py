"""The ledger: which recordings were imported into a stream, in a file of whoever imports.

How far a stream has come is told by its server, which is what an import goes on from. The ledger
adds what a server does not know: that a file was imported under another name, or never was. A file
is written down before its first picture is sent, since whoever is stopped between the last picture
and the end of the file could not tell it from one that is older than the stream.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from onlooker.core.recordings.recording import Recording

MAX_ENTRIES = 1_000_000
"""Entries that are read; of a longer ledger those that were written last."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A recording of which something was sent."""

    fingerprint: str
    name: str
    start_wall_s: float
    end_wall_s: float
    is_whole: bool = True
    """Whether it was sent to its end; its end is not known otherwise."""


def ledger_file(server: str, stream: str) -> Path:
    """Where the ledger of a stream lies: in ``$XDG_STATE_HOME`` or ``~/.local/state``."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    digest = hashlib.blake2b(f"{server} {stream}".encode(), digest_size=8).hexdigest()
    return Path(state) / "onlooker" / "imports" / f"{stream}-{digest}.jsonl"


class ImportBook:
    """One stream's ledger. It holds up to two lines for each recording, of which the later counts;
    damaged lines are nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Imported] = {one.fingerprint: one for one in _read(path)}

    def find(self, recording: Recording) -> Imported | None:
        """The entry of a recording of the same content."""
        return self._known.get(recording.fingerprint)

    def begin(self, recording: Recording) -> None:
        """Write down that a recording is being sent, if it was not before."""
        if recording.fingerprint not in self._known:
            start_s = recording.start_wall_s
            self._write(recording, end_wall_s=start_s, is_whole=False)

    def note(self, recording: Recording, end_wall_s: float) -> None:
        """Write down that a recording was sent to its end."""
        self._write(recording, end_wall_s=end_wall_s, is_whole=True)

    def begin_anew(self) -> None:
        """Forget all, as the stream does not exist any more."""
        self._known.clear()
        self._path.unlink(missing_ok=True)

    def _write(self, recording: Recording, *, end_wall_s: float, is_whole: bool) -> None:
        one = Imported(
            recording.fingerprint, recording.name, recording.start_wall_s, end_wall_s, is_whole
        )
        self._known[one.fingerprint] = one
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(one)) + "\n")


def _read(path: Path) -> Iterator[Imported]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return
    for line in lines[-MAX_ENTRIES:]:
        try:
            yield Imported(**json.loads(line))
        except (ValueError, TypeError):  # cut short when the machine went down
            continue
