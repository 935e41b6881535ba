"""`Upload`: a recording on its way from a client to the disk."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from onlooker.core.errors import InvalidRequest, ServiceError, TooLarge

BLOCK_BYTES = 1 << 20
"""Bytes that are written at a time."""


class Upload:
    """Enter it, write to it, `finish` it. What is not kept by then is deleted.

    Args:
        path: where the recording is to lie.
        max_bytes: bytes that it may have.
    """

    def __init__(self, job_id: str, path: Path, *, max_bytes: int) -> None:
        self.job_id, self.path, self._max_bytes = job_id, path, max_bytes
        self.is_kept = False
        """Whether a job has taken it over."""
        self._file: BinaryIO | None = None
        self._waiting = bytearray()
        self._num_bytes = 0

    async def __aenter__(self) -> Self:
        self._file = await asyncio.to_thread(self.path.open, "wb")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.shield(asyncio.to_thread(self._let_go))

    async def write(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            TooLarge: it is too large now.
            ServiceError: the disk takes nothing.
        """
        self._num_bytes += len(piece)
        if self._num_bytes > self._max_bytes:
            raise TooLarge(
                f"a recording may have {self._max_bytes} bytes (setting "
                "streams.imports.max_upload_bytes): cut it, or use `onlooker import`, which "
                "decodes it where it is"
            )
        self._waiting += piece
        if len(self._waiting) >= BLOCK_BYTES:
            await self._flush()

    async def finish(self) -> None:
        """Have all of it on the disk.

        Raises:
            InvalidRequest: there is nothing.
            ServiceError: the disk takes nothing.
        """
        if not self._num_bytes:
            raise InvalidRequest("the body is empty; it should be a recording, such as an MP4 file")
        await self._flush()
        assert self._file is not None
        await asyncio.to_thread(self._file.close)

    async def _flush(self) -> None:
        assert self._file is not None
        block, self._waiting = bytes(self._waiting), bytearray()
        try:
            await asyncio.to_thread(self._file.write, block)
        except OSError as error:
            raise ServiceError(f"the recording cannot be kept: {error.strerror}") from error

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
        if not self.is_kept:
            self.path.unlink(missing_ok=True)
