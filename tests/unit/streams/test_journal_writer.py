import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, TypeVar, cast

import pytest

from onlooker.cache_store.journal import Change, DurableMark, FrameJournal, JournalReceipt, NewEntry
from onlooker.core.guarantee import Guarantee
from onlooker.streams.journal_writer import JournalWriter
from tests.fakes.journals import entry_of

T = TypeVar("T")


class Notebook:
    """Notes what a journal is told to write."""

    def __init__(self) -> None:
        self.commits: list[list[Change]] = []

    def write(self, changes: Sequence[Change]) -> list[JournalReceipt]:
        self.commits.append(list(changes))
        if any(change.stream == "?" for change in changes):
            raise ValueError("no name")
        return [
            JournalReceipt(Guarantee.SECOND, len(self.commits) * 100 + n)
            for n, _ in enumerate(changes)
        ]

    def sequences(self) -> list[list[int]]:
        return [
            [one.sequence for one in made if isinstance(one, NewEntry)] for made in self.commits
        ]


class SlowExecutor(Executor):
    """Does one thing whenever it is told to."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        future: Future[T] = Future()

        def work() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except ValueError as error:
                future.set_exception(error)

        self._waiting.append(work)
        return future

    def do_one(self) -> None:
        self._waiting.pop(0)()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def make_writer(batch_bytes: int = 1 << 20) -> tuple[JournalWriter, Notebook, SlowExecutor]:
    notebook, executor = Notebook(), SlowExecutor()
    writer = JournalWriter(cast(FrameJournal, notebook), executor, batch_bytes=batch_bytes)
    return writer, notebook, executor


async def test_what_comes_at_once_shares_a_commit_and_what_comes_meanwhile_the_next() -> None:
    writer, notebook, executor = make_writer()
    first = [writer.write([entry_of(n, f"cam-{n}")]) for n in range(3)]
    await settle()
    second = [writer.write([entry_of(n, f"cam-{n}")]) for n in range(3, 8)]
    await settle()
    executor.do_one()
    await settle()
    assert [future.result()[0].position for future in first] == [100, 101, 102]
    assert not any(future.done() for future in second)
    executor.do_one()
    await settle()
    assert [future.result()[0].position for future in second] == [200, 201, 202, 203, 204]
    assert notebook.sequences() == [[0, 1, 2], [3, 4, 5, 6, 7]]


async def test_a_commit_ends_before_it_is_too_large_unless_one_message_is() -> None:
    writer, notebook, executor = make_writer(batch_bytes=400)
    for n in range(4):
        writer.write([entry_of(n)])  # 152 bytes each
    large = writer.write([entry_of(n) for n in range(4, 9)])
    for _ in range(4):
        await settle()
        if not large.done():
            executor.do_one()
    await settle()
    assert notebook.sequences() == [[0, 1], [2, 3], [4, 5, 6, 7, 8]]


async def test_of_marks_the_newest_of_each_stream_goes_with_the_next_commit() -> None:
    writer, notebook, executor = make_writer()
    for position in (1, 2, 3):
        writer.note(DurableMark(stream="a", position=position))
    writer.note(DurableMark(stream="b", position=1))
    written = writer.write([entry_of(0, "a")])
    await settle()
    executor.do_one()
    await settle()
    assert written.result()[0].position == 100
    marks = [one for one in notebook.commits[0] if isinstance(one, DurableMark)]
    assert marks == [
        DurableMark(stream="a", position=3),
        DurableMark(stream="b", position=1),
    ]
    assert len(notebook.commits) == 1


async def test_who_waits_until_all_is_written_waits_for_nothing_that_comes_later() -> None:
    writer, notebook, executor = make_writer()
    writer.write([entry_of(0)])
    waiting = asyncio.ensure_future(writer.written())
    await settle()
    writer.write([entry_of(1)])
    assert not waiting.done()
    executor.do_one()
    await settle()
    assert waiting.done()
    assert notebook.sequences() == [[0]]
    executor.do_one()
    await settle()
    await asyncio.wait_for(writer.written(), 5.0)  # nothing waits: at once


async def test_a_message_that_is_not_waited_for_any_more_is_written_all_the_same() -> None:
    writer, notebook, executor = make_writer()
    given_up, other = writer.write([entry_of(0)]), writer.write([entry_of(1)])
    given_up.cancel()
    await settle()
    executor.do_one()
    await settle()
    assert other.result()[0].position == 101
    assert notebook.sequences() == [[0, 1]]


async def test_a_fault_is_told_to_whoever_waits_and_the_next_commit_goes_on() -> None:
    writer, notebook, executor = make_writer()
    faulty = writer.write([entry_of(0, "?")])
    await settle()
    executor.do_one()
    await settle()
    with pytest.raises(ValueError, match="no name"):
        faulty.result()
    again = writer.write([entry_of(1)])
    await settle()
    executor.do_one()
    await settle()
    assert again.result()[0].guarantee is Guarantee.SECOND
    assert notebook.sequences() == [[0], [1]]
