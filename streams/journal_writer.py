"""`JournalWriter`: has all that waits for the journal written at once.

While one commit is under way the next one gathers, so that many streams share the wait for the
medium, or one round trip.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future

from onlooker.cache_store.journal import Change, DurableMark, FrameJournal, JournalReceipt, NewEntry

Receipts = list[JournalReceipt]


class JournalWriter:
    """All calls are made on the event loop. What waits is bounded by its callers: one message of a
    stream waits at a time, and of what is only noted the newest of each stream.

    Args:
        executor: has one thread, and does all the work on `journal`.
        batch_bytes: a commit ends before it exceeds this, unless one message does.
    """

    def __init__(self, journal: FrameJournal, executor: Executor, *, batch_bytes: int) -> None:
        self._journal, self._executor, self._batch_bytes = journal, executor, batch_bytes
        self._waiting = deque[tuple[Sequence[NewEntry], asyncio.Future[Receipts]]]()
        self._notes = dict[tuple[str, type], Change]()
        self._is_writing = False

    def write(self, entries: Sequence[NewEntry]) -> "asyncio.Future[Receipts]":
        """Write entries of one stream, in one commit; their receipts."""
        done: asyncio.Future[Receipts] = asyncio.get_running_loop().create_future()
        self._waiting.append((entries, done))
        self._begin_soon()
        return done

    def note(self, change: DurableMark | NewEntry) -> None:
        """Make a change with the next commit: the newest of its kind of a stream is enough."""
        self._notes[change.stream, type(change)] = change
        self._begin_soon()

    async def written(self) -> None:
        """Return once all is written that waits now."""
        await self.write(())

    def _begin_soon(self) -> None:
        if not self._is_writing:
            self._is_writing = True
            # Not at once: whoever else comes in the same tick of the loop shares the commit.
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        batch, changes = self._next_batch()
        if not changes:
            self._is_writing = False
            return
        loop = asyncio.get_running_loop()
        written = self._executor.submit(self._journal.write, changes)
        written.add_done_callback(lambda done: loop.call_soon_threadsafe(self._end, batch, done))

    def _end(
        self,
        batch: Sequence[tuple[Sequence[NewEntry], "asyncio.Future[Receipts]"]],
        written: "Future[Receipts]",
    ) -> None:
        start = 0
        for entries, done in batch:
            if (error := written.exception()) is not None:
                if not done.cancelled():
                    done.set_exception(error)
                continue
            _settle(done, written.result()[start : start + len(entries)])
            start += len(entries)
        self._begin()

    def _next_batch(
        self,
    ) -> tuple[list[tuple[Sequence[NewEntry], "asyncio.Future[Receipts]"]], list[Change]]:
        batch, changes, num_bytes = [], list[Change](), 0
        while self._waiting:
            entries, done = self._waiting[0]
            if not (entries or changes or self._notes):  # all that came before it is written
                _settle(done, [])
                self._waiting.popleft()
                continue
            size = sum(entry.num_bytes for entry in entries)
            if changes and num_bytes + size > self._batch_bytes:
                break
            batch.append(self._waiting.popleft())
            changes.extend(entries)
            num_bytes += size
        changes.extend(self._notes.values())
        self._notes.clear()
        return batch, changes


def _settle(done: "asyncio.Future[Receipts]", receipts: Receipts) -> None:
    if not done.done():
        done.set_result(receipts)
