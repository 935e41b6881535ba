"""One stream's part of the journal: a folder of append-only files, oldest first.

    @<first position>    entries one after the other

No id begins with ``@``, so a stream's files and the folders of longer names are not mixed up.
Each opening of the folder begins a new file, so that a torn end is never written after. A file goes
once all its frames are durable elsewhere. Not thread-safe.
"""

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from onlooker.cache_store.files import Files
from onlooker.cache_store.journal_entry import (
    EntryHeader,
    EntryKind,
    JournalEntry,
    pack_entry,
    unpack_entry,
)
from onlooker.core.media import Codec


@dataclass(slots=True)
class _Frame:
    """A frame and where in its file it stands."""

    header: EntryHeader
    offset: int


@dataclass(slots=True)
class _LogFile:
    path: Path
    num_bytes: int = 0
    frames: list[_Frame] = field(default_factory=list)


class JournalLog:
    """The journal of one stream. All methods may raise OSError.

    Args:
        folder: of this stream alone; made where it does not exist.
        rotate_bytes: the size at which a new file is begun.
        files: the calls of the operating system; tests hand in failing ones.
    """

    def __init__(self, folder: Path, *, rotate_bytes: int, files: Files) -> None:
        self._folder = folder
        self._rotate_bytes = rotate_bytes
        self._os = files
        self._files: list[_LogFile] = []
        self._descriptor: int | None = None
        self._next_position = 0
        self._durable_position = -1
        self.damaged_bytes = 0
        """Bytes that could not be read as entries: torn ends of files, and damage."""
        self._is_dirty = False
        self._read_folder()

    @property
    def num_bytes(self) -> int:
        return sum(file.num_bytes for file in self._files)

    @property
    def newest_s(self) -> float | None:
        """Capture time of the last frame that is not durable; None where there is none."""
        frames = [frame for file in self._files[-2:] for frame in file.frames]
        if not frames or frames[-1].header.position <= self._durable_position:
            return None
        return frames[-1].header.capture_s

    def append(
        self,
        *,
        sequence: int,
        capture_s: float,
        codec: Codec,
        payload: bytes,
        is_last: bool,
        is_look: bool = False,
    ) -> int:
        """Write one frame, or a look, and return its position. After an error nothing of it
        remains."""
        header = EntryHeader(
            kind=EntryKind.FRAME,
            position=self._next_position,
            sequence=sequence,
            capture_s=capture_s,
            codec=codec,
            is_last=is_last,
            payload_bytes=len(payload),
            is_look=is_look,
        )
        file, offset = self._write(header, payload)
        file.frames.append(_Frame(header, offset))
        self._next_position += 1
        return header.position

    def mark_durable(self, position: int) -> bool:
        """Mark the frames up to `position` as durable and remove the files in which all are.
        Returns False when all of them were marked before."""
        header = self._last_pending(position)
        if header is None:
            return False
        self._durable_position = header.position
        mark = replace(header, kind=EntryKind.MARK, payload_bytes=0)
        # A mark that is lost only makes a replay longer, and a file left over is removed later.
        with contextlib.suppress(OSError):
            self._write(mark, b"")
            self._remove_durable()
        return True

    def replay(self, after: int = -1) -> Iterator[JournalEntry]:
        """The frames after position `after` that are not durable. Those that can no longer be read
        are left out."""
        after = max(after, self._durable_position)
        for file in list(self._files):
            if not file.frames or file.frames[-1].header.position <= after:
                continue
            data, _ = self._os.read(file.path)
            for frame in list(file.frames):
                if frame.header.position <= after:
                    continue
                entry = unpack_entry(memoryview(data)[frame.offset :])
                if entry is None or entry[0] != frame.header:
                    self.damaged_bytes += frame.header.num_bytes
                    continue
                header = frame.header
                yield JournalEntry(
                    position=header.position,
                    sequence=header.sequence,
                    capture_s=header.capture_s,
                    codec=header.codec,
                    is_last=header.is_last,
                    payload=bytes(entry[1]),
                    is_look=header.is_look,
                )

    def forget(
        self, start_s: float, end_s: float, sequences: Collection[int] = ()
    ) -> tuple[int, int]:
        """Delete the frames of these `sequences`, and of each sequence whose frames touch the span
        of capture times, so that nothing of them is left in any file. Returns how many frames and
        bytes went."""
        gone = self._touched(start_s, end_s) | set(sequences)
        num_frames = num_bytes = 0
        for file in list(self._files):
            num_gone = sum(frame.header.sequence in gone for frame in file.frames)
            if num_gone:
                before = file.num_bytes
                self._write_anew(file, gone)
                num_frames += num_gone
                num_bytes += before - file.num_bytes
        if num_frames:
            self._remove_durable()
        return num_frames, num_bytes

    def sync(self) -> bool:
        """Force all that was appended to the disk. Returns whether there was anything to do."""
        if not self._is_dirty or self._descriptor is None:
            return False
        self._os.sync(self._descriptor)
        self._is_dirty = False
        return True

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """Close, and delete all files."""
        self.close()
        for file in self._files:
            file.path.unlink(missing_ok=True)
        self._files.clear()
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    # ---- opening ----

    def _read_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._folder.glob("@*")):
            file = _LogFile(path)
            data, file.num_bytes = self._os.read(path)
            view, offset = memoryview(data), 0
            while (entry := unpack_entry(view[offset:])) is not None:
                header = entry[0]
                if header.kind is EntryKind.MARK:
                    self._durable_position = max(self._durable_position, header.position)
                else:
                    file.frames.append(_Frame(header, offset))
                self._next_position = max(self._next_position, header.position + 1)
                offset += header.num_bytes
            self.damaged_bytes += len(data) - offset
            self._files.append(file)
        self._remove_durable()

    # ---- writing ----

    def _write(self, header: EntryHeader, payload: bytes) -> tuple[_LogFile, int]:
        file = self._current_file()
        assert self._descriptor is not None
        offset = file.num_bytes
        try:
            self._os.write_all(self._descriptor, (pack_entry(header, payload), payload))
        except OSError:
            self._undo(file)
            raise
        file.num_bytes += header.num_bytes
        self._is_dirty = True
        return file, offset

    def _undo(self, file: _LogFile) -> None:
        """Cut off a half-written entry. Where that fails too, no more is written to this file."""
        assert self._descriptor is not None
        try:
            self._os.shorten(self._descriptor, file.num_bytes)
        except OSError:
            file.num_bytes = os.fstat(self._descriptor).st_size
            self.close()

    def _current_file(self) -> _LogFile:
        if self._descriptor is not None and self._files[-1].num_bytes < self._rotate_bytes:
            return self._files[-1]
        if self._descriptor is not None:
            self.sync()
            self.close()
        # Two restarts without a frame in between would otherwise name two files alike.
        number = self._next_position
        while (path := self._folder / f"@{number:020d}").exists():
            number += 1
        self._descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        self._files.append(_LogFile(path))
        self._os.sync_path(self._folder)
        return self._files[-1]

    # ---- deleting ----

    def _touched(self, start_s: float, end_s: float) -> set[int]:
        """The sequences whose frames, from the first to the last, touch a span of time."""
        ends: dict[int, tuple[float, float]] = {}
        for file in self._files:
            for frame in file.frames:
                at_s = frame.header.capture_s
                first_s, last_s = ends.get(frame.header.sequence, (at_s, at_s))
                ends[frame.header.sequence] = (min(first_s, at_s), max(last_s, at_s))
        return {
            sequence
            for sequence, (first_s, last_s) in ends.items()
            if first_s <= end_s and last_s >= start_s
        }

    def _write_anew(self, file: _LogFile, gone: Collection[int]) -> None:
        """Put a file without the frames of these sequences in the place of `file`. A file that was
        being written to is written to no more."""
        if self._descriptor is not None and file is self._files[-1]:
            self.sync()
            self.close()
        data = memoryview(self._os.read(file.path)[0])
        parts: list[memoryview] = []
        frames: list[_Frame] = []
        offset = new_offset = 0
        while (entry := unpack_entry(data[offset:])) is not None:
            header = entry[0]
            part = data[offset : offset + header.num_bytes]
            offset += header.num_bytes
            if header.kind is EntryKind.FRAME:
                if header.sequence in gone:
                    continue
                frames.append(_Frame(header, new_offset))
            parts.append(part)
            new_offset += len(part)
        draft = self._folder / f".{file.path.name}"
        draft.unlink(missing_ok=True)
        self._os.create(draft, parts)
        self._os.sync_path(draft)
        self._os.rename(draft, file.path)
        self._os.sync_path(self._folder)
        file.frames, file.num_bytes = frames, new_offset

    # ---- what is durable ----

    def _last_pending(self, position: int) -> EntryHeader | None:
        """The header of the last frame up to `position`; None where that is durable or missing."""
        for file in reversed(self._files):
            for frame in reversed(file.frames):
                if frame.header.position <= position:
                    is_pending = frame.header.position > self._durable_position
                    return frame.header if is_pending else None
        return None

    def _remove_durable(self) -> None:
        kept = []
        for place, file in enumerate(self._files):
            is_current = self._descriptor is not None and place == len(self._files) - 1
            if is_current or (
                file.frames and file.frames[-1].header.position > self._durable_position
            ):
                kept.append(file)
            else:
                file.path.unlink(missing_ok=True)
        self._files = kept
        self._empty_current()

    def _empty_current(self) -> None:
        """Give back the room of a file that is still written to but holds only durable frames."""
        if self._descriptor is None or not self._files[-1].frames:
            return
        file = self._files[-1]
        last = file.frames[-1].header
        is_durable = last.position <= self._durable_position
        if is_durable and file.num_bytes > self._rotate_bytes // 4:
            self._os.shorten(self._descriptor, 0)
            file.frames.clear()
            file.num_bytes = 0
            # The mark tells the next opening where the count of positions goes on.
            self._write(replace(last, kind=EntryKind.MARK, payload_bytes=0), b"")
