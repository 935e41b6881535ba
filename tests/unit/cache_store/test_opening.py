from pathlib import Path

import pytest
from pydantic import ValidationError

from onlooker.cache_store.config import CacheStoreSection, DiskSection, JournalSection, RedisSection
from onlooker.cache_store.erasure import Erasure
from onlooker.cache_store.lookup import PutResult
from onlooker.cache_store.opening import open_disk, open_journal, open_redis, open_store
from onlooker.cache_store.tombstones import Tombstones
from onlooker.core.clock import ManualClock
from onlooker.core.errors import ConfigError
from tests.fakes.waiting import WAIT_S
from tests.unit.cache_store.factories import STREAM, assert_same, make_key, make_record


def test_the_default_store_is_ram_alone() -> None:
    store = open_store(CacheStoreSection(), clock=ManualClock())
    assert store.put(make_record(1)).result is PutResult.NOT_DURABLE
    assert_same(store.get_many([make_key(1)])[0].record, make_record(1))
    assert store.close(1.0)


def test_a_store_with_a_disk_survives_a_restart(tmp_path: Path) -> None:
    section = CacheStoreSection(disk=DiskSection(path=tmp_path / "kv", budget_bytes=1 << 20))
    durable: list[str] = []
    store = open_store(
        section, clock=ManualClock(), on_durable=lambda key, tier: durable.append(tier)
    )
    store.put(make_record(1))
    assert store.close(10.0)
    assert durable == ["disk"]
    again = open_store(section, clock=ManualClock())
    assert_same(again.get_many([make_key(1)])[0].record, make_record(1))
    assert again.close(10.0)


def test_a_redis_that_is_not_there_keeps_nothing_from_starting(tmp_path: Path) -> None:
    section = CacheStoreSection.model_validate(
        {
            "redis": {"url": f"unix://{tmp_path}/none.sock"},
            "write_out": {"retry_s": 0.001, "max_attempts": 2},
        }
    )
    store = open_store(section, clock=ManualClock())
    assert store.put(make_record(1)).queued_for == ("redis",)
    assert_same(store.get_many([make_key(1)])[0].record, make_record(1))
    assert store.get_many([make_key(2)])[0].record is None
    assert store.close(10.0)


def test_what_cannot_be_deleted_while_redis_is_away_is_noted_in_a_folder(tmp_path: Path) -> None:
    section = CacheStoreSection.model_validate(
        {"redis": {"url": f"unix://{tmp_path}/none.sock"}, "deletion": {"path": tmp_path / "kept"}}
    )
    store = open_store(section, clock=ManualClock())
    assert store.delete_stream(STREAM).result(WAIT_S) == ("redis",)
    assert store.close(10.0)
    assert Tombstones(tmp_path / "kept").load() == [Erasure(STREAM)]


def test_a_folder_that_cannot_be_used_is_said_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"cache_store\.disk\.path"):
        open_disk(DiskSection(path=tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"cache_store\.journal\.path"):
        open_journal(JournalSection(path=tmp_path / "file"))


def test_an_address_that_is_none_is_said_at_start_without_its_password() -> None:
    section = RedisSection.model_validate({"url": "http://:secret@localhost"})
    with pytest.raises(ConfigError, match="redis://") as raised:
        open_redis(section, clock=ManualClock())
    assert "secret" not in str(raised.value)
    assert "secret" not in repr(section)


@pytest.mark.parametrize(
    "settings",
    [
        {"memory": {"budget_bytes": 0}},
        {"memory": {"codec": "zip"}},
        {"redis": {"url": "redis://localhost", "namespace": "a*b"}},
        {"redis": {"url": "redis://localhost", "timeout_s": 0}},
        {"disk": {}},
        {"write_out": {"max_attempts": 0}},
        {"journal": {"path": "/nowhere"}},  # without a tier that would empty it
    ],
)
def test_settings_out_of_bounds_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CacheStoreSection.model_validate(settings)


def test_a_file_of_frames_that_is_not_read_any_more_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_journal(JournalSection(path=tmp_path)).close()
    shared = JournalSection(path=tmp_path, store="redis")
    redis = RedisSection.model_validate({"url": f"unix://{tmp_path}/none.sock"})
    open_journal(shared, redis=redis, clock=ManualClock()).close()
    assert "a journal in a file was found, and is not read" in caplog.text
    caplog.clear()
    elsewhere = shared.model_copy(update={"path": tmp_path / "new"})
    open_journal(elsewhere, redis=redis, clock=ManualClock()).close()
    assert caplog.text == ""
