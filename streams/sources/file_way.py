"""Files on this machine, below the directories that the operator allows."""

from typing import BinaryIO

from av.container import InputContainer

from onlooker.streams.sources import reasons
from onlooker.streams.sources.spec import SourceBroken, SourceSpec
from onlooker.streams.sources.way import Access, open_file

_HEAD_BYTES = 16


class FileWay:
    """Opens one file."""

    is_recorded = True

    def __init__(self, source: SourceSpec, access: Access) -> None:
        self._url, self._policy = source.url, access.policy
        self._file: BinaryIO | None = None
        self._head = b""
        self._is_open = False

    def open(self) -> InputContainer:
        file = self._file = self._policy.file(self._url).open("rb")
        self._head = file.read(_HEAD_BYTES)
        file.seek(0)
        picture = reasons.picture_kind("", self._head)
        if picture not in (None, "JPEG"):
            raise SourceBroken(reasons.of_picture(picture, is_file=True))
        container = open_file(file, format="mjpeg" if picture else None)
        self._is_open = True
        return container

    def stop(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def fault(self) -> Exception | None:
        return None

    def explain(self, error: Exception) -> Exception | None:
        if isinstance(error, OSError) and not self._head and self._file is None:
            why = error.strerror or type(error).__name__  # without the path
            return SourceBroken(f"the file cannot be read: {why}. Check who may read it")
        if self._is_open:
            return SourceBroken(reasons.DAMAGED)
        return SourceBroken(reasons.of_content("", self._head, is_file=True))
