"""What holds of the journal in a file alone: the medium, damage, other processes, old files."""

import errno
import logging
import os
import resource
import stat
from pathlib import Path

import pytest

from onlooker.cache_store.config import JournalSection, SyncPolicy
from onlooker.cache_store.errors import StoreLocked
from onlooker.cache_store.files import Files
from onlooker.cache_store.journal_entry import EntryHeader, EntryKind, pack_entry
from onlooker.cache_store.journals.sqlite_journal import FILE, SqliteJournal
from onlooker.cache_store.opening import open_journal
from onlooker.cache_store.sqlite_file import DAMAGED_SUFFIX
from onlooker.core.errors import ConfigError
from onlooker.core.guarantee import Guarantee
from onlooker.core.media import Codec
from tests.fakes.journals import STREAM, append, entry_of, mark, payload_of, replayed

MIB = 1 << 20


class CountingFiles(Files):
    """Counts syncs, and can fail to sync."""

    def __init__(self) -> None:
        self.num_synced = 0
        self.fails_to_sync = False

    def sync(self, descriptor: int) -> None:
        if self.fails_to_sync:
            raise OSError(errno.EIO, "broken")
        self.num_synced += 1
        super().sync(descriptor)


def open_file(
    root: Path,
    *,
    max_bytes: int = 64 * MIB,
    sync: SyncPolicy = SyncPolicy.NEVER,
    files: Files | None = None,
    wal_bytes: int = 16 * MIB,
) -> SqliteJournal:
    """One that does nothing by itself: `tick` is called by the test."""
    return SqliteJournal(
        root, max_bytes=max_bytes, max_streams=10, sync=sync, files=files, wal_bytes=wal_bytes
    )


def all_bytes(root: Path) -> bytes:
    return b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())


# ---- what is promised


@pytest.mark.parametrize(
    ("sync", "expected"),
    [
        (SyncPolicy.ALWAYS, Guarantee.MACHINE),
        (SyncPolicy.EVERY_SECOND, Guarantee.SECOND),
        (SyncPolicy.NEVER, Guarantee.PROCESS),
    ],
)
def test_the_policy_says_what_is_promised(
    tmp_path: Path, sync: SyncPolicy, expected: Guarantee
) -> None:
    journal = open_file(tmp_path, sync=sync)
    assert journal.guarantee is expected
    assert [one.guarantee for one in journal.write([entry_of(0)])] == [expected]
    assert not journal.is_shared
    journal.close()


def test_what_was_written_is_synced_every_second_and_a_failure_is_tried_again(
    tmp_path: Path,
) -> None:
    files = CountingFiles()
    journal = open_file(tmp_path, sync=SyncPolicy.EVERY_SECOND, files=files)
    before = files.num_synced  # the folder, once
    append(journal, 0, 1)
    assert files.num_synced == before
    journal.tick()  # what the thread does each second
    journal.tick()
    assert journal.stats().syncs == files.num_synced - before == 1
    append(journal, 2)
    files.fails_to_sync = True
    journal.tick()
    assert (journal.stats().syncs, journal.stats().errors) == (1, 1)
    files.fails_to_sync = False
    journal.tick()
    assert journal.stats().syncs == 2
    journal.start()
    journal.close()


def test_where_the_medium_is_never_waited_for_nothing_is_synced(tmp_path: Path) -> None:
    files = CountingFiles()
    journal = open_file(tmp_path, files=files)
    before = files.num_synced  # the folder, once
    append(journal, 0)
    journal.tick()
    assert files.num_synced == before
    journal.close()


# ---- the disk and the folder


def test_a_full_disk_promises_nothing_and_the_next_frame_is_taken_once_there_is_room(
    tmp_path: Path,
) -> None:
    journal = open_file(tmp_path)
    append(journal, 0, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = tmp_path / (FILE + "-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 100, hard))
    try:
        receipts = journal.write([entry_of(2, payload=b"p" * 50_000), entry_of(2, "other")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [one.guarantee for one in receipts] == [Guarantee.NONE] * 2
    assert journal.stats().errors == 2
    append(journal, 3)
    assert replayed(journal) == [0, 1, 3]
    assert journal.streams() == [STREAM]
    journal.close()
    again = open_file(tmp_path)
    assert replayed(again) == [0, 1, 3]
    again.close()


def test_a_second_process_is_refused_and_told_which_setting_to_change(tmp_path: Path) -> None:
    journal = open_file(tmp_path)
    with pytest.raises(StoreLocked, match=r"another process.*cache_store\.journal\.path"):
        open_file(tmp_path)
    journal.close()
    open_file(tmp_path).close()


def test_a_folder_that_cannot_be_used_is_told_at_start(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(ConfigError, match=r"cache_store\.journal\.path"):
        open_journal(JournalSection(path=tmp_path))
    (tmp_path / FILE).rmdir()
    open_journal(JournalSection(path=tmp_path)).close()  # its lock was let go of


def test_nobody_else_may_read_the_frames(tmp_path: Path) -> None:
    journal = open_file(tmp_path)
    append(journal, 0)
    files = list(tmp_path.glob(FILE + "*"))
    assert len(files) > 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    journal.close()


def test_the_room_of_a_peak_is_given_back(tmp_path: Path) -> None:
    journal = open_file(tmp_path, wal_bytes=MIB)
    big = b"p" * MIB
    for index in range(60):
        journal.write([entry_of(index, payload=big)])
    mark(journal, 58)
    for _ in range(10):
        journal.tick()
    journal.close()
    assert (tmp_path / FILE).stat().st_size < 40 * MIB


def test_frames_that_come_and_go_take_no_more_and_more_room(tmp_path: Path) -> None:
    journal = open_file(tmp_path, wal_bytes=MIB)
    for index in range(300):
        journal.write([entry_of(index, payload=b"p" * 30_000)])
        mark(journal, index - 3)
    journal.close()
    assert (tmp_path / FILE).stat().st_size < 20 * 30_000


# ---- what was deleted


def test_nothing_of_what_was_forgotten_is_left_in_any_file(tmp_path: Path) -> None:
    journal = open_file(tmp_path)
    payloads = [os.urandom(8000) for _ in range(4)]
    journal.write([entry_of(index, payload=one) for index, one in enumerate(payloads)])
    mark(journal, 0)  # let go of, which leaves no trace either
    assert payloads[1][2000:3000] in all_bytes(tmp_path)
    assert journal.forget(STREAM, 0.5, 0.5)[0] == 1
    raw = all_bytes(tmp_path)
    for gone in payloads[:2]:
        assert not any(gone[at : at + 200] in raw for at in range(0, 8000, 200))
    assert payloads[2][2000:3000] in raw
    journal.delete(STREAM)
    journal.tick()
    raw = all_bytes(tmp_path)
    assert not any(one[at : at + 200] in raw for one in payloads for at in range(0, 8000, 200))
    journal.close()


# ---- damage


def test_a_torn_end_of_the_log_costs_only_what_was_not_acknowledged(tmp_path: Path) -> None:
    """As a process leaves it that is killed in the middle of a write."""
    journal = open_file(tmp_path / "j")
    append(journal, *range(5))
    torn = tmp_path / "torn"
    torn.mkdir()
    for name in (FILE, FILE + "-wal"):
        (torn / name).write_bytes((tmp_path / "j" / name).read_bytes())
    with (torn / (FILE + "-wal")).open("ab") as log:
        log.write(b"\x00half of a page" * 50)
    again = open_file(torn)
    assert replayed(again) == [0, 1, 2, 3, 4]
    append(again, 5)
    again.close()
    journal.close()
    once_more = open_file(torn)
    assert replayed(once_more) == [0, 1, 2, 3, 4, 5]
    once_more.close()


def test_a_damaged_frame_is_left_out_and_counted(tmp_path: Path) -> None:
    journal = open_file(tmp_path)
    journal.write([entry_of(index, payload=payload_of(index) * 100) for index in range(3)])
    journal.close()
    data = (tmp_path / FILE).read_bytes()
    at = data.index(payload_of(1))
    (tmp_path / FILE).write_bytes(data[: at + 50] + b"?" + data[at + 51 :])
    again = open_file(tmp_path)
    assert [entry.sequence for entry in again.replay(STREAM)] == [0, 2]
    assert again.stats().damaged == 1
    again.close()


@pytest.mark.parametrize("what", ["a start", "all"])
def test_a_damaged_file_is_put_aside_and_told_loudly(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    journal = open_file(tmp_path)
    append(journal, *range(3))
    journal.close()
    size = (tmp_path / FILE).stat().st_size
    with (tmp_path / FILE).open("r+b") as file:
        file.write(b"\xff" * (size if what == "all" else 100))
    with caplog.at_level(logging.ERROR):
        again = open_file(tmp_path)
    assert "damaged and was put aside" in caplog.text
    assert (tmp_path / (FILE + DAMAGED_SUFFIX)).stat().st_size == size
    assert again.stats().damaged == 1
    append(again, 5)
    assert replayed(again) == [5]
    again.close()


# ---- files of versions before SQLite


def old_entry(kind: EntryKind, number: int, sequence: int, payload: bytes = b"") -> bytes:
    header = EntryHeader(
        kind=kind,
        number=number,
        sequence=sequence,
        capture_s=sequence / 2,
        codec=Codec.JPEG,
        is_last=False,
        payload_bytes=len(payload),
    )
    return pack_entry(header, payload) + payload


def test_frames_of_an_earlier_version_are_taken_over_once(tmp_path: Path) -> None:
    folder = tmp_path / "frames" / STREAM
    folder.mkdir(parents=True)
    parts = [old_entry(EntryKind.FRAME, n, n, payload_of(n)) for n in range(6)]
    (folder / "@00000000000000000000").write_bytes(b"".join(parts[:3]) + parts[5][:40])
    marked = old_entry(EntryKind.MARK, 1, 1)
    (folder / "@00000000000000000003").write_bytes(b"".join(parts[3:5]) + marked)
    (tmp_path / "frames" / "@stray").write_bytes(b"")
    journal = open_file(tmp_path)
    assert replayed(journal) == [2, 3, 4]
    assert journal.stats().num_bytes == 3 * len(parts[0])
    assert not (tmp_path / "frames").exists()
    append(journal, 5)
    journal.close()
    again = open_file(tmp_path)
    assert replayed(again) == [2, 3, 4, 5]
    again.close()


def test_a_taking_over_that_ended_half_way_is_done_anew(tmp_path: Path) -> None:
    journal = open_file(tmp_path)
    append(journal, 0, 1)
    journal.close()
    folder = tmp_path / "frames" / STREAM
    folder.mkdir(parents=True)
    parts = [old_entry(EntryKind.FRAME, n, n, payload_of(n)) for n in range(2)]
    (folder / "@00000000000000000000").write_bytes(b"".join(parts))
    again = open_file(tmp_path)
    assert replayed(again) == [0, 1]
    again.close()
