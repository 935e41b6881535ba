"""What a worker that has some of a model's heads makes of the store's settings."""

from pathlib import Path

from onlooker.cache_store.config import CacheStoreSection
from onlooker.engine.vllm_adapter.worker.head_share import ALL_HEADS, HeadShare

FOLDERS = CacheStoreSection.model_validate(
    {
        "disk": {"path": "/kept/disk"},
        "journal": {"path": "/kept/frames"},
        "deletion": {"path": "/kept/deletions"},
    }
)


def folders(share: HeadShare) -> list[Path | None]:
    section = share.store(FOLDERS)
    assert section.disk is not None
    assert section.journal is not None
    return [section.disk.path, section.journal.path, section.deletion.path]


def test_each_worker_has_all_folders_to_itself() -> None:
    first, second = folders(HeadShare(0, 2)), folders(HeadShare(1, 2))
    assert len({*first, *second}) == 6
    assert first[2] == Path("/kept/deletions/tp2r0")


def test_a_worker_that_has_all_heads_has_the_folders_that_were_named() -> None:
    assert folders(ALL_HEADS)[2] == Path("/kept/deletions")
