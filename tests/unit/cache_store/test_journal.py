import errno
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from onlooker.cache_store.codecs.base import Buffer
from onlooker.cache_store.config import SyncPolicy
from onlooker.cache_store.errors import StoreLocked
from onlooker.cache_store.files import Files
from onlooker.cache_store.journal import FrameJournal
from onlooker.cache_store.journal_entry import HEADER_BYTES
from onlooker.core.guarantee import Guarantee
from onlooker.core.media import Codec

STREAM = "tenant-a/camera-1"


class CountingFiles(Files):
    """Counts syncs; can have no more room, or fail to sync or to cut a file off."""

    def __init__(self) -> None:
        self.num_synced = 0
        self.room_bytes: int | None = None
        self.fails_to_sync = False
        self.fails_to_shorten = False

    def write(self, descriptor: int, parts: Sequence[Buffer]) -> int:
        if self.room_bytes is None:
            return super().write(descriptor, parts)
        part = memoryview(parts[0])[: self.room_bytes]
        if not part.nbytes:
            raise OSError(errno.ENOSPC, "full")
        written = super().write(descriptor, [part])
        self.room_bytes -= written
        return written

    def sync(self, descriptor: int) -> None:
        if self.fails_to_sync:
            raise OSError(errno.EIO, "broken")
        self.num_synced += 1
        super().sync(descriptor)

    def shorten(self, descriptor: int, num_bytes: int) -> None:
        if self.fails_to_shorten:
            raise OSError(errno.EIO, "broken")
        super().shorten(descriptor, num_bytes)


def open_journal(
    root: Path,
    *,
    max_bytes: int = 1 << 24,
    rotate_bytes: int = 1000,
    max_streams: int = 10,
    sync: SyncPolicy = SyncPolicy.NEVER,
    files: Files | None = None,
) -> FrameJournal:
    return FrameJournal(
        root,
        max_bytes=max_bytes,
        rotate_bytes=rotate_bytes,
        max_streams=max_streams,
        sync=sync,
        files=files,
    )


def payload_of(sequence: int) -> bytes:
    return bytes([sequence % 256]) * 100


def append(
    journal: FrameJournal,
    *sequences: int,
    stream: str = STREAM,
) -> list[Guarantee]:
    return [
        journal.append(
            stream,
            sequence=sequence,
            capture_s=sequence / 2,
            codec=Codec.JPEG,
            payload=payload_of(sequence),
        ).guarantee
        for sequence in sequences
    ]


def replayed(journal: FrameJournal, stream: str = STREAM) -> list[int]:
    entries = journal.replay(stream)
    for entry in entries:
        assert entry.payload == payload_of(entry.sequence)
        assert entry.capture_s == entry.sequence / 2
    return [entry.sequence for entry in entries]


def log_files(root: Path, stream: str = STREAM) -> list[Path]:
    return sorted((root / "frames" / stream).iterdir())


def test_frames_that_are_not_durable_are_replayed_after_a_restart(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    append(journal, *range(30))
    append(journal, 7, 8, stream="tenant-b/camera-1")
    journal.mark_durable(STREAM, 11)
    journal.close()
    again = open_journal(tmp_path)
    assert again.streams() == [STREAM, "tenant-b/camera-1"]
    assert replayed(again) == list(range(12, 30))
    assert replayed(again, "tenant-b/camera-1") == [7, 8]
    assert [entry.position for entry in again.replay(STREAM)] == list(range(12, 30))
    again.close()


def test_positions_go_on_over_restarts(tmp_path: Path) -> None:
    positions: list[int | None] = []
    for round_ in range(4):
        journal = open_journal(tmp_path)
        for sequence in range(3):
            receipt = journal.append(
                STREAM, sequence=sequence, capture_s=0.0, codec=Codec.PNG, payload=b"x"
            )
            positions.append(receipt.position)
        if round_ == 2:
            assert journal.mark_durable(STREAM, 8)
        journal.close()
    assert positions == list(range(12))


@pytest.mark.parametrize("cut", [1, 51, 52, 53, 150, 151])
def test_a_torn_end_loses_only_the_torn_frame(tmp_path: Path, cut: int) -> None:
    journal = open_journal(tmp_path, rotate_bytes=1 << 20)
    append(journal, 0, 1, 2)
    journal.close()
    path = log_files(tmp_path)[-1]
    os.truncate(path, path.stat().st_size - cut)
    again = open_journal(tmp_path)
    assert replayed(again) == [0, 1]
    assert again.stats().damaged_bytes == HEADER_BYTES + 100 - cut
    append(again, 3)
    assert replayed(again) == [0, 1, 3]
    again.close()
    once_more = open_journal(tmp_path)
    assert replayed(once_more) == [0, 1, 3]
    once_more.close()


def test_damage_in_the_middle_costs_the_rest_of_that_file_only(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    append(journal, *range(30))
    journal.close()
    first = log_files(tmp_path)[0]
    data = bytearray(first.read_bytes())
    data[2 * (HEADER_BYTES + 100) + 60] ^= 4
    first.write_bytes(data)
    again = open_journal(tmp_path)
    found = replayed(again)
    assert found[:2] == [0, 1]
    assert found[2:] == list(range(7, 30))
    assert again.stats().damaged_bytes > 0
    again.close()


def test_damage_that_comes_while_it_is_open_is_left_out(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0, 1, 2)
    path = log_files(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + 100 + 70] ^= 1
    path.write_bytes(data)
    assert replayed(journal) == [0, 2]
    assert journal.stats().damaged_bytes == HEADER_BYTES + 100
    journal.close()


def test_an_entry_of_a_later_version_ends_a_file(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0)
    journal.close()
    with log_files(tmp_path)[0].open("ab") as file:
        file.write(struct.pack("<4s", b"OLJ2") + bytes(100))
    again = open_journal(tmp_path)
    assert replayed(again) == [0]
    assert again.stats().damaged_bytes == 104
    again.close()


def test_files_go_once_all_their_frames_are_durable(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for sequence in range(200):
        append(journal, sequence)
        if sequence >= 3:
            assert journal.mark_durable(STREAM, sequence - 3)
        assert len(log_files(tmp_path)) <= 2
        assert journal.stats().num_bytes == sum(p.stat().st_size for p in log_files(tmp_path))
    assert replayed(journal) == [197, 198, 199]
    journal.close()


def test_a_stream_that_has_nothing_pending_takes_next_to_no_room(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, rotate_bytes=100_000)
    for sequence in range(2000):
        append(journal, sequence)
        journal.mark_durable(STREAM, sequence)
        assert journal.stats().num_bytes < 30_000
    assert replayed(journal) == []
    journal.close()
    again = open_journal(tmp_path)
    assert replayed(again) == []
    assert again.stats().num_bytes < 30_000
    again.close()


def test_a_mark_means_everything_up_to_a_position(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, rotate_bytes=300)
    append(journal, 0, 1, 2, 0, 1, 2)  # whoever appends may count anew
    assert journal.mark_durable(STREAM, 2)
    assert replayed(journal) == [0, 1, 2]
    assert not journal.mark_durable(STREAM, 1)
    assert journal.newest_s(STREAM) == 1.0
    assert journal.mark_durable(STREAM, 99)
    assert replayed(journal) == []
    assert journal.newest_s(STREAM) is None
    assert not journal.mark_durable(STREAM, 99)
    assert not journal.mark_durable("nobody", 1)
    journal.close()


@pytest.mark.parametrize("max_bytes", [0, 150, 10_000])
def test_a_long_replay_comes_in_parts(tmp_path: Path, max_bytes: int) -> None:
    journal = open_journal(tmp_path)
    append(journal, *range(30))
    journal.mark_durable(STREAM, 4)
    found: list[int] = []
    after = -1
    while part := journal.replay(STREAM, after=after, max_bytes=max_bytes):
        assert sum(len(entry.payload) for entry in part[:-1]) <= max_bytes
        found += [entry.sequence for entry in part]
        after = part[-1].position
    assert found == list(range(5, 30))
    journal.close()


def test_a_full_journal_says_that_it_guarantees_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, max_bytes=5 * (HEADER_BYTES + 100))
    guarantees = append(journal, *range(7))
    assert guarantees == [Guarantee.PROCESS] * 5 + [Guarantee.NONE] * 2
    assert journal.stats().refused == 2
    assert replayed(journal) == [0, 1, 2, 3, 4]
    journal.close()


def test_too_many_streams_are_refused(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, max_streams=2)
    for stream, expected in (("a", Guarantee.PROCESS), ("b", Guarantee.PROCESS), ("c", "none")):
        assert append(journal, 0, stream=stream) == [expected]
    journal.delete("a")
    assert append(journal, 0, stream="c") == [Guarantee.PROCESS]
    journal.close()


@pytest.mark.parametrize("fails_to_shorten", [False, True])
@pytest.mark.parametrize("room_bytes", [0, 20, 60])
def test_a_full_disk_costs_only_the_frame_that_did_not_fit(
    tmp_path: Path, room_bytes: int, fails_to_shorten: bool
) -> None:
    files = CountingFiles()
    journal = open_journal(tmp_path, files=files)
    append(journal, 0, 1)
    files.room_bytes, files.fails_to_shorten = room_bytes, fails_to_shorten
    assert append(journal, 2) == [Guarantee.NONE]
    files.room_bytes = None
    assert append(journal, 3) == [Guarantee.PROCESS]
    assert journal.stats().errors == 1
    assert replayed(journal) == [0, 1, 3]
    assert journal.stats().num_bytes == sum(path.stat().st_size for path in log_files(tmp_path))
    journal.close()
    again = open_journal(tmp_path)
    assert replayed(again) == [0, 1, 3]
    again.close()


def test_always_syncs_each_frame_before_it_is_acknowledged(tmp_path: Path) -> None:
    files = CountingFiles()
    journal = open_journal(tmp_path, sync=SyncPolicy.ALWAYS, files=files)
    append(journal, 0)
    before = files.num_synced
    assert append(journal, 1, 2, 3) == [Guarantee.MACHINE] * 3
    assert files.num_synced == before + 3
    files.fails_to_sync = True
    assert append(journal, 4) == [Guarantee.NONE]
    files.fails_to_sync = False
    journal.close()


def test_every_second_syncs_what_was_written_since(tmp_path: Path) -> None:
    files = CountingFiles()
    journal = open_journal(tmp_path, sync=SyncPolicy.EVERY_SECOND, files=files)
    assert append(journal, 0, 1) == [Guarantee.SECOND] * 2
    before = files.num_synced
    journal.sync()  # what the thread does each second
    journal.sync()
    assert files.num_synced == before + 1
    assert journal.stats().syncs == 1
    files.fails_to_sync = True
    append(journal, 2)
    journal.sync()
    assert journal.stats().errors == 1
    files.fails_to_sync = False
    journal.sync()
    assert journal.stats().syncs == 2
    journal.start()
    journal.close()


def test_deleting_a_stream_leaves_nothing_of_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    append(journal, *range(20))
    append(journal, 1, stream="tenant-a")
    journal.delete(STREAM)
    assert replayed(journal) == []
    assert journal.streams() == ["tenant-a"]
    append(journal, 5)
    assert replayed(journal) == [5]
    journal.close()


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/a", "a//b", "a/b/c/d/e", "a b", "@a"])
def test_names_that_could_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    journal = open_journal(tmp_path)
    with pytest.raises(ValueError, match="stream"):
        append(journal, 0, stream=name)
    assert list((tmp_path / "frames").iterdir()) == []
    journal.close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with pytest.raises(StoreLocked, match="journal"):
        open_journal(tmp_path)
    journal.close()


def test_frames_of_a_span_are_gone_from_the_files_and_the_others_are_replayed(
    tmp_path: Path,
) -> None:
    journal = open_journal(tmp_path, rotate_bytes=400)
    payloads = [bytes([65 + index]) * 100 for index in range(10)]
    for index, payload in enumerate(payloads):
        journal.append(
            STREAM, sequence=index // 2, capture_s=float(index), codec=Codec.JPEG, payload=payload
        )
    assert journal.mark_durable(STREAM, 3)
    num_frames, num_bytes = journal.forget(STREAM, 2.5, 4.0, (4,))
    assert (num_frames, num_bytes) == (5, 5 * (HEADER_BYTES + 100)), "the mark let go of frame 2"
    raw = b"".join(path.read_bytes() for path in tmp_path.rglob("@*"))
    for gone in (2, 3, 4, 5, 8, 9):
        assert payloads[gone] not in raw
    assert [entry.payload for entry in journal.replay(STREAM)] == [payloads[6], payloads[7]]
    held = journal.stats().num_bytes
    journal.append(STREAM, sequence=9, capture_s=20.0, codec=Codec.JPEG, payload=payloads[0])
    assert journal.stats().num_bytes == held + HEADER_BYTES + 100
    journal.close()
    again = open_journal(tmp_path)
    assert [entry.sequence for entry in again.replay(STREAM)] == [3, 3, 9]
    assert again.forget(STREAM, 0.0, 100.0) == (3, 3 * (HEADER_BYTES + 100))
    assert again.replay(STREAM) == []
    again.append(STREAM, sequence=10, capture_s=30.0, codec=Codec.JPEG, payload=payloads[1])
    again.close()
    assert [entry.sequence for entry in open_journal(tmp_path).replay(STREAM)] == [10]


def test_nothing_is_forgotten_of_a_stream_that_is_not_in_the_journal(tmp_path: Path) -> None:
    assert open_journal(tmp_path).forget("nobody/here", 0.0, 9.0) == (0, 0)
