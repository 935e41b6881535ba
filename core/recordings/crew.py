"""A few decoder processes that work ahead of whoever takes their pictures, in order."""

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from onlooker.core.errors import UnsupportedMedia
from onlooker.core.recordings.records import (
    HEADER,
    MAX_RECORD_BYTES,
    Facts,
    PartEnd,
    RecordingPart,
    RecordKind,
    ask_facts,
    ask_part,
)

COMMAND = (sys.executable, "-m", "onlooker.core.recordings.decoder")

_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "HOME", "SYSTEMROOT")
"""Of the environment; it may hold secrets, which are none of a decoder's business."""

AHEAD_BYTES = 4 << 20
"""Pictures that a process may be ahead; beyond, it waits."""


@dataclass(frozen=True, slots=True)
class Still:
    """One picture of a recording."""

    at_s: float
    """Time in the recording."""
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part begins."""

    at_s: float
    """Time of its first key frame in the recording."""


@dataclass(frozen=True, slots=True)
class DecoderLimits:
    """What one decoder process may take of the machine."""

    picture_budget_s: float
    """Processor time from one picture that is given out to the next."""
    memory_mib: int
    """Address space."""

    @property
    def words(self) -> tuple[str, str]:
        """The arguments of its command."""
        return str(round(1000 * self.picture_budget_s)), str(self.memory_mib)


DYING_S = 5.0
"""How long a process whose output has ended may take to end, too."""


class DecoderProcess:
    """One process, which does one thing at a time. It is started when it is first asked.

    Args:
        patience_s: how long it may be silent; then it is killed.
        limits: what it may take of the machine; None: as much as it likes.
    """

    def __init__(self, patience_s: float, limits: "DecoderLimits | None" = None) -> None:
        self._patience_s, self._limits = patience_s, limits
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the process; None where there is none now."""
        return None if self._process is None else self._process.pid

    async def ask(self, line: bytes) -> None:
        """Send off one line; what it asks for comes by `record`."""
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *COMMAND,
                *(() if self._limits is None else self._limits.words),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=AHEAD_BYTES,
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                start_new_session=True,  # Ctrl-C is for whoever imports, who ends this one
            )
        assert self._process.stdin is not None
        with suppress(ConnectionError):  # it is gone, which reading tells
            self._process.stdin.write(line)
            await self._process.stdin.drain()

    async def record(self) -> tuple[bytes, float, bytes]:
        """The next record: its kind, its time, and what it holds.

        Raises:
            UnsupportedMedia: the process died, or was silent for too long. It is gone then, and
                started anew when it is asked again.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(self._patience_s):
                header = await self._process.stdout.readexactly(HEADER.size)
                kind, at_s, num_bytes = HEADER.unpack(header)
                if num_bytes > MAX_RECORD_BYTES:
                    raise asyncio.IncompleteReadError(header, None)
                return kind, at_s, await self._process.stdout.readexactly(num_bytes)
        except TimeoutError as error:
            await self.kill()
            raise UnsupportedMedia(
                f"its decoder did nothing for {self._patience_s:g} s and was ended"
            ) from error
        except asyncio.IncompleteReadError as error:
            ended_by = await self.kill(within_s=DYING_S)
            if ended_by == -signal.SIGPROF:
                why = "it takes more processor time to decode than it may"
            else:
                why = "its decoder died over it"
            raise UnsupportedMedia(why) from error

    async def kill(self, *, within_s: float = 0.0) -> int | None:
        """End it; returns how it ended. Idempotent.

        `within_s`: how long it may take to end by itself. One that is dying must not be killed:
        that would take its exit status from whoever waits for it, and nobody knew why it died.
        """
        process, self._process = self._process, None
        if process is not None:
            if within_s:
                with suppress(TimeoutError):
                    async with asyncio.timeout(within_s):
                        await process.wait()
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
            # What it had written is read, as the end of a process is not told before that of its
            # output.
            await process.communicate()
        return None if process is None else process.returncode


class Crew:
    """All decoder processes of one import. Enter it, so that none is left behind.

    Args:
        num_processes: at a time.
        patience_s: how long one may be silent.
        limits: what each may take of the machine; None: as much as it likes.
    """

    def __init__(
        self, num_processes: int, patience_s: float, limits: DecoderLimits | None = None
    ) -> None:
        self._free = deque(DecoderProcess(patience_s, limits) for _ in range(num_processes))
        self._all = tuple(self._free)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in self._all:
            await one.kill()

    async def facts(self, path: str) -> Facts:
        """What a recording says of itself. As many may be asked at a time as there are processes.

        Raises:
            UnsupportedMedia: it cannot be read.
        """
        process = self._free.popleft()
        try:
            await process.ask(ask_facts(path))
            async for kind, _, body in _records(process):
                if kind == RecordKind.FACTS:
                    return Facts(**json.loads(body))
            raise UnsupportedMedia("its decoder ended without a word")
        except asyncio.CancelledError:
            await process.kill()
            raise
        finally:
            self._free.append(process)

    async def stills(
        self, parts: Iterable[RecordingPart]
    ) -> AsyncGenerator[PartBegin | Still | PartEnd]:
        """The pictures of `parts`, in their order; before those of each part its begin, unless it
        has none, and after them its end. Later parts are decoded meanwhile.

        Raises:
            UnsupportedMedia: a part cannot be decoded to its end.
        """
        assert self._free, "one row of parts at a time"
        waiting, under_way = iter(parts), deque[DecoderProcess]()
        try:
            await self._begin(waiting, under_way)
            while under_way:
                async for kind, at_s, body in _records(under_way[0]):
                    if kind == RecordKind.PICTURE:
                        yield Still(at_s, body)
                    elif kind == RecordKind.BEGIN:
                        yield PartBegin(at_s)
                    elif kind == RecordKind.END:
                        self._free.append(under_way.popleft())
                        await self._begin(waiting, under_way)
                        yield PartEnd(**json.loads(body))
                        break
        finally:
            for process in under_way:  # nobody wants what they have under way
                await process.kill()
            self._free.extend(under_way)

    async def _begin(
        self, waiting: Iterator[RecordingPart], under_way: deque[DecoderProcess]
    ) -> None:
        """Give parts to all processes that are free."""
        while self._free and (part := next(waiting, None)) is not None:
            process = self._free.popleft()
            under_way.append(process)
            await process.ask(ask_part(part))


async def _records(process: DecoderProcess) -> AsyncIterator[tuple[bytes, float, bytes]]:
    """The records of a process, but for its beats.

    Raises:
        UnsupportedMedia: the recording cannot be read.
    """
    while True:
        kind, at_s, body = await process.record()
        if kind == RecordKind.FAILED:
            raise UnsupportedMedia(body.decode())
        if kind != RecordKind.BEAT:
            yield kind, at_s, body
