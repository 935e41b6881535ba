"""Watches that outlive the server: kept when they change, found again, forgotten with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from onlooker.core.errors import NotFound
from onlooker.core.ids import StreamId, tenant_stream_id
from onlooker.core.metrics import Metrics
from onlooker.engine.interface import Question
from onlooker.engine.wording import DEFAULT_WORDING
from onlooker.streams.hub import StreamHub
from onlooker.streams.stream import StreamOptions
from onlooker.watches.config import WatchesSection
from onlooker.watches.options import WatchOptions, Webhook
from onlooker.watches.shelf import KeptWatch, WatchShelf
from onlooker.watches.watch import Watch
from tests.fakes.streams import InlineExecutor, running_hub
from tests.unit.watches.test_keeper import RED, VIRTUAL, alerts_of, make_engine, show

DOOR = StreamId("door")
RICH = WatchOptions(
    condition="tell me when the bell rings", trigger=("change", "yes_no"), cooldown_s=3.0,
    json_schema={"type": "object", "properties": {"who": {"enum": ["a", "b"]}}},
    webhook=Webhook("https://example.com/hook", "s3cret"), metadata={"room": "hall"},
    expires_after_s=86_400.0, paused=True, supersede=True, min_confidence=0.6,
)  # fmt: skip


def make_shelf(folder: Path, metrics: Metrics | None = None, max_streams: int = 8) -> WatchShelf:
    metrics = metrics or Metrics()
    return WatchShelf(folder, max_streams=max_streams, metrics=metrics, executor=InlineExecutor())


def make_watch(options: WatchOptions = RED, watch_id: str = "w") -> Watch:
    return Watch.make(
        watch_id, options, wording=DEFAULT_WORDING, settings=WatchesSection(),
        created_wall_s=100.0, created_s=7.5,
    )  # fmt: skip


def files(folder: Path) -> list[Path]:
    return [*folder.iterdir()]


def saves(metrics: Metrics, outcome: str) -> float:
    return metrics.watch_saves.labels(outcome=outcome)._value.get()  # type: ignore[no-any-return]


async def test_a_watch_is_found_again_with_all_that_was_asked_for(tmp_path: Path) -> None:
    make_shelf(tmp_path / "new").keep(DOOR, [make_watch(RICH), make_watch(RED, "other")])
    found = await make_shelf(tmp_path / "new").find(DOOR)
    assert found == [KeptWatch("w", RICH, 100.0, 7.5), KeptWatch("other", RED, 100.0, 7.5)]
    (file,) = files(tmp_path / "new")
    assert file.stat().st_mode & 0o077 == 0, "it holds the webhook's secret"


async def test_what_has_ended_is_not_kept_and_a_file_of_nothing_goes(tmp_path: Path) -> None:
    shelf, ended = make_shelf(tmp_path), make_watch()
    shelf.keep(DOOR, [ended])
    ended.why_ended = "alerted once"
    shelf.keep(DOOR, [ended])
    assert await shelf.find(DOOR) == []
    assert not files(tmp_path)


async def test_streams_of_the_same_name_in_two_tenants_are_kept_apart(tmp_path: Path) -> None:
    shelf, theirs = make_shelf(tmp_path), tenant_stream_id("acme", "door")
    shelf.keep(DOOR, [make_watch(RED, "ours")])
    shelf.keep(theirs, [make_watch(RED, "theirs")])
    assert [one.watch_id for one in await shelf.find(DOOR)] == ["ours"]
    assert [one.watch_id for one in await shelf.find(theirs)] == ["theirs"]


@pytest.mark.parametrize("content", [b"", b"{", b'[{"watch_id": 1}]', b"\xff", b'{"a": []}'])
async def test_a_damaged_file_is_no_watch_and_no_failure(tmp_path: Path, content: bytes) -> None:
    shelf = make_shelf(tmp_path)
    shelf.keep(DOOR, [make_watch()])
    (file,) = files(tmp_path)
    file.write_bytes(content)
    assert await shelf.find(DOOR) == []


async def test_a_disk_that_refuses_is_counted_and_harms_nobody(tmp_path: Path) -> None:
    metrics, blocked = Metrics(), tmp_path / "blocked"
    blocked.write_text("in the way")
    shelf = make_shelf(blocked, metrics)
    shelf.keep(DOOR, [make_watch()])
    assert saves(metrics, "failed") == 1
    assert await shelf.find(DOOR) == []
    blocked.unlink()
    shelf.keep(DOOR, [make_watch()])
    assert saves(metrics, "saved") == 1


async def test_of_too_many_streams_those_that_rested_longest_go(tmp_path: Path) -> None:
    shelf = make_shelf(tmp_path, max_streams=2)
    for name in ("a", "b", "c"):
        shelf.keep(StreamId(name), [make_watch()])
    assert await shelf.find(StreamId("a")) == []
    assert await shelf.find(StreamId("c")) != []


class HangingExecutor(InlineExecutor):
    """Does nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Any] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.waiting.append((fn, args))


async def test_while_a_disk_hangs_only_the_newest_of_each_stream_is_held(tmp_path: Path) -> None:
    hanging, metrics = HangingExecutor(), Metrics()
    shelf = WatchShelf(tmp_path, max_streams=8, metrics=metrics, executor=hanging)
    for number in range(100):
        shelf.keep(DOOR, [make_watch(RED, f"w{number}")])
    ((write, arguments),) = hanging.waiting
    write(*arguments)
    assert saves(metrics, "saved") == 1
    assert [one.watch_id for one in await make_shelf(tmp_path).find(DOOR)] == ["w99"]


# ---- in a server


async def names(hub: StreamHub) -> list[str]:
    return [watch.watch_id for watch in hub.get(DOOR).watches.watches()]


async def test_a_restarted_server_goes_on_looking(tmp_path: Path) -> None:
    async with running_hub(engine=make_engine(), shelf=tmp_path) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        for name in ("kept", "gone"):
            stream.watches.create(RED, name)
        stream.watches.update("kept", {"cooldown_s": 1.0})
        stream.watches.delete("gone")
    async with running_hub(engine=make_engine(), shelf=tmp_path) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        (watch,) = stream.watches.watches()
        assert (watch.watch_id, watch.options.cooldown_s) == ("kept", 1.0)
        events = stream.subscribe(max_events=100)
        await show(stream, ["blue", "red", "blue", "blue"])
        async for _ in stream.ask(Question(text="digest?", at_s=2.0)):
            pass
        assert [alert.watch_id for alert in alerts_of(events)] == ["kept"]


async def test_a_closed_stream_is_forgotten_with_its_watches(tmp_path: Path) -> None:
    async with running_hub(shelf=tmp_path) as hub:
        (await hub.open_stream(DOOR)).watches.create(RED, "w")
        await hub.close_stream(DOOR, "asked for")
        with pytest.raises(NotFound):
            hub.get(DOOR)
        await hub.open_stream(DOOR)
        assert await names(hub) == []


async def test_a_stream_that_ends_with_its_connection_keeps_nothing(tmp_path: Path) -> None:
    async with running_hub(shelf=tmp_path) as hub:
        stream = await hub.open_stream(DOOR, StreamOptions(persistent=False))
        stream.watches.create(RED, "w")
    assert not files(tmp_path)


async def test_what_the_settings_no_longer_allow_is_left_out(tmp_path: Path) -> None:
    async with running_hub(shelf=tmp_path) as hub:
        stream = await hub.open_stream(DOOR)
        stream.watches.create(RED, "short")
        stream.watches.create(WatchOptions(condition="a" * 200), "long")
    smaller = {"max_condition_chars": 100}
    async with running_hub(shelf=tmp_path, watches=smaller) as hub:
        await hub.open_stream(DOOR)
        assert await names(hub) == ["short"]
    (file,) = files(tmp_path)
    assert len(json.loads(file.read_bytes())) == 2, "restoring writes nothing"
