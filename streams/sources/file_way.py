"""Files on this machine, below the directories that the operator allows."""

from typing import BinaryIO

from onlooker.streams.sources import reasons
from onlooker.streams.sources.spec import SourceBroken, SourceSpec
from onlooker.streams.sources.way import Access, Opening

_HEAD_BYTES = 16


class DiskFile:
    """An open file, as the decoder process of a source reads it."""

    is_at_hand = True

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.name = file.name

    def read(self, num_bytes: int) -> bytes:
        return self._file.read(num_bytes)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def seekable(self) -> bool:
        return self._file.seekable()

    def close(self) -> None:
        self._file.close()


class FileWay:
    """Opens one file."""

    is_recorded = True

    def __init__(self, source: SourceSpec, access: Access) -> None:
        self._url, self._policy = source.url, access.policy
        self._file: BinaryIO | None = None
        self._head = b""

    def open(self) -> Opening:
        path = self._policy.file(self._url)
        try:
            file = self._file = path.open("rb")
        except OSError as error:
            why = error.strerror or type(error).__name__  # without the path
            raise SourceBroken(f"the file cannot be read: {why}. Check who may read it") from error
        self._head = file.read(_HEAD_BYTES)
        file.seek(0)
        picture = reasons.picture_kind("", self._head)
        if picture not in (None, "JPEG"):
            raise SourceBroken(reasons.of_picture(picture, is_file=True))
        return Opening(DiskFile(file), format="mjpeg" if picture else None)

    def stop(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def fault(self) -> Exception | None:
        return None

    def explain(self, *, has_begun: bool) -> Exception | None:
        if has_begun:
            return SourceBroken(reasons.DAMAGED)
        return SourceBroken(reasons.of_content("", self._head, is_file=True))
