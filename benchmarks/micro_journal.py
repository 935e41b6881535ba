"""How many frames each journal takes a second, beside plain files of the same bytes.

Frames are of 30 kB and of 16 streams; each is let go of 40 frames later, as where its segment was
stored meanwhile. The limit is what a log of one's own would do at least: one `write` a frame to a
file that is begun anew at each MiB, the oldest deleted, and a sync a commit where the policy is
``always``. Journal and limit take turns; the figures are medians over the rounds. `written` counts
the bytes given to the system for each byte of frame, of this process alone: what Redis writes is
not in it.

Not shown: a disk whose sync is slow, where sharing a commit weighs more; a Redis over a network.
"""

import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onlooker.cache_store.config import JournalSection, RedisSection, SyncPolicy
from onlooker.cache_store.journal import Change, DurableMark, FrameJournal, NewEntry
from onlooker.cache_store.opening import open_journal
from onlooker.core.media import Codec

FRAME_BYTES = 30_000
NUM_STREAMS = 16
NUM_PENDING = 40
NUM_FRAMES = 1600
NUM_SYNCED_FRAMES = 320
ROUNDS = 5
BATCHES = (1, 8)
FILE_BYTES = 1 << 20

Write = Callable[[list[bytes]], None]
"""Takes the frames of one commit."""


@dataclass(frozen=True, slots=True)
class Speed:
    frames_per_s: float
    cpu_us: float
    """Microseconds of processor time of this process for each frame."""
    written: float


def measure(seed: int) -> dict[str, Any]:
    """By journal, policy and frames a commit: speeds, and the ratio to those of plain files."""
    rng = random.Random(seed)
    payloads = [rng.randbytes(FRAME_BYTES) for _ in range(64)]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="journal") as name:
        folder = Path(name)
        for policy in SyncPolicy:
            for batch in BATCHES:
                made = lambda root, policy=policy: open_journal(  # noqa: E731
                    JournalSection(path=root, sync=policy)
                )
                found[f"sqlite, {policy}, {batch}"] = _compare(
                    made, folder, payloads, batch, is_synced=policy is SyncPolicy.ALWAYS
                )
        if shutil.which("redis-server") is not None:
            with _redis(folder) as url:
                for batch in BATCHES:
                    made = lambda _, url=url: open_journal(  # noqa: E731
                        JournalSection(store="redis"),
                        redis=RedisSection.model_validate({"url": url}),
                    )
                    found[f"redis, , {batch}"] = _compare(
                        made, folder, payloads, batch, is_synced=False
                    )
    return {"journals": found}


def _compare(
    made: Callable[[Path], FrameJournal],
    folder: Path,
    payloads: list[bytes],
    batch: int,
    *,
    is_synced: bool,
) -> dict[str, float]:
    num_frames = NUM_SYNCED_FRAMES if is_synced else NUM_FRAMES
    ours, limits = list[Speed](), list[Speed]()
    for number in range(ROUNDS):
        root = folder / str(number)
        journal = made(root / "journal")
        plain = PlainFiles(root / "plain", is_synced=is_synced)
        pair = [(ours, Appender(journal).write), (limits, plain.write)]
        for speeds, write in pair if number % 2 else reversed(pair):
            os.sync()
            speeds.append(_speed(write, payloads, batch, num_frames))
        journal.close()
        shutil.rmtree(root)
    return {
        "frames_per_s": round(statistics.median(one.frames_per_s for one in ours)),
        "cpu_us": round(statistics.median(one.cpu_us for one in ours)),
        "written": round(statistics.median(one.written for one in ours), 2),
        "of_plain_files": round(
            statistics.median(
                one.frames_per_s / limit.frames_per_s
                for one, limit in zip(ours, limits, strict=True)
            ),
            2,
        ),
    }


def _speed(write: Write, payloads: list[bytes], batch: int, num_frames: int) -> Speed:
    written, started_s, cpu_s = _num_written(), time.perf_counter(), time.process_time()
    for start in range(0, num_frames, batch):
        write([payloads[place % len(payloads)] for place in range(start, start + batch)])
    taken_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    return Speed(
        num_frames / taken_s,
        cpu_s / num_frames * 1e6,
        (_num_written() - written) / num_frames / FRAME_BYTES,
    )


class Appender:
    """Writes to a journal, and lets go of what is 40 frames old."""

    def __init__(self, journal: FrameJournal) -> None:
        self._journal = journal
        self._num_frames = 0
        self._pending = deque[tuple[str, int]]()

    def write(self, payloads: list[bytes]) -> None:
        entries = [
            NewEntry(
                stream=f"s{number % NUM_STREAMS}",
                sequence=number,
                capture_s=number / 2,
                codec=Codec.JPEG,
                payload=payload,
            )
            for number, payload in enumerate(payloads, self._num_frames)
        ]
        self._num_frames += len(entries)
        marks: list[Change] = []
        while len(self._pending) + len(entries) > NUM_PENDING:
            stream, position = self._pending.popleft()
            marks.append(DurableMark(stream=stream, position=position))
        receipts = self._journal.write([*entries, *marks])
        for entry, receipt in zip(entries, receipts, strict=False):
            assert receipt.position is not None
            self._pending.append((entry.stream, receipt.position))


class PlainFiles:
    """Appends to a file, begins another when it is large, and deletes those that are old."""

    def __init__(self, folder: Path, *, is_synced: bool) -> None:
        self._folder, self._is_synced = folder, is_synced
        folder.mkdir(parents=True)
        self._paths = deque[Path]()
        self._num_bytes = 0
        self._descriptor = -1

    def write(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            if self._descriptor < 0 or self._num_bytes > FILE_BYTES:
                self._begin()
            self._num_bytes += os.write(self._descriptor, payload)
        if self._is_synced:
            os.fsync(self._descriptor)

    def _begin(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        number = len(self._paths) and int(self._paths[-1].name) + 1
        self._paths.append(self._folder / str(number))
        self._descriptor = os.open(self._paths[-1], os.O_WRONLY | os.O_CREAT, 0o600)
        self._num_bytes = 0
        while len(self._paths) > 1 + NUM_PENDING * FRAME_BYTES // FILE_BYTES + 1:
            self._paths.popleft().unlink()


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    socket = folder / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 - fixed command
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if b"eady to accept connections" in line:
                break
        yield f"unix://{socket}"
    finally:
        server.kill()
        server.communicate()


def _num_written() -> int:
    """Bytes that this process gave to the system to write so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))
