"""Watches that outlive the server: kept when they change, found again, forgotten with it."""

import json
from pathlib import Path

import pytest

from onlooker.core.errors import NotFound
from onlooker.core.ids import StreamId
from onlooker.engine.interface import Question
from onlooker.engine.wording import DEFAULT_WORDING
from onlooker.streams.hub import StreamHub
from onlooker.streams.stream import StreamOptions
from onlooker.watches.config import WatchesSection
from onlooker.watches.kept_watch import KeptWatch, read_watches, watches_document
from onlooker.watches.options import WatchOptions, Webhook
from onlooker.watches.watch import Watch
from tests.fakes.streams import running_hub
from tests.unit.watches.test_keeper import RED, VIRTUAL, alerts_of, make_engine, show

DOOR = StreamId("door")
RICH = WatchOptions(
    condition="tell me when the bell rings", trigger=("change", "yes_no"), cooldown_s=3.0,
    json_schema={"type": "object", "properties": {"who": {"enum": ["a", "b"]}}},
    webhook=Webhook("https://example.com/hook", "s3cret"), metadata={"room": "hall"},
    expires_after_s=86_400.0, paused=True, supersede=True, min_confidence=0.6,
)  # fmt: skip


def make_watch(options: WatchOptions = RED, watch_id: str = "w") -> Watch:
    return Watch.make(
        watch_id, options, wording=DEFAULT_WORDING, settings=WatchesSection(),
        created_wall_s=100.0, created_s=7.5,
    )  # fmt: skip


def test_a_watch_is_read_again_with_all_that_was_asked_for() -> None:
    kept = read_watches(watches_document([make_watch(RICH), make_watch(RED, "other")]))
    assert kept == [
        KeptWatch("w", RICH, 100.0, 7.5, changed_wall_s=100.0),
        KeptWatch("other", RED, 100.0, 7.5, changed_wall_s=100.0),
    ]


def test_what_has_ended_is_not_kept_and_of_nothing_there_is_no_document() -> None:
    ended = make_watch()
    ended.why_ended = "alerted once"
    assert watches_document([ended]) == b""
    assert read_watches(b"") == []


def test_what_ends_with_an_alert_is_kept_until_that_is_raised() -> None:
    speaking = make_watch()
    speaking.why_ended, speaking.num_speaking = "answered", 1
    assert [one.watch_id for one in read_watches(watches_document([speaking]))] == ["w"]


@pytest.mark.parametrize("content", [b"{", b'[{"watch_id": 1}]', b"\xff", b'{"a": []}'])
def test_a_damaged_document_is_no_watch_and_no_failure(content: bytes) -> None:
    assert read_watches(content) == []


# ---- in a server


def files(folder: Path) -> list[Path]:
    return [*folder.rglob("*.json")]


async def names(hub: StreamHub) -> list[str]:
    return [watch.watch_id for watch in hub.get(DOOR).watches.watches()]


async def test_a_restarted_server_goes_on_looking(tmp_path: Path) -> None:
    async with running_hub(engine=make_engine(), kept=tmp_path) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        for name in ("kept", "gone"):
            stream.watches.create(RED, name)
        stream.watches.update("kept", {"cooldown_s": 1.0})
        stream.watches.delete("gone")
    async with running_hub(engine=make_engine(), kept=tmp_path) as hub:
        stream = await hub.open_stream(DOOR, VIRTUAL)
        (watch,) = stream.watches.watches()
        assert (watch.watch_id, watch.options.cooldown_s) == ("kept", 1.0)
        events = stream.subscribe(max_events=100)
        await show(stream, ["blue", "red", "blue", "blue"])
        async for _ in stream.ask(Question(text="digest?", at_s=2.0)):
            pass
        assert [alert.watch_id for alert in alerts_of(events)] == ["kept"]


async def test_a_closed_stream_is_forgotten_with_its_watches(tmp_path: Path) -> None:
    async with running_hub(kept=tmp_path) as hub:
        (await hub.open_stream(DOOR)).watches.create(RED, "w")
        await hub.close_stream(DOOR, "asked for")
        with pytest.raises(NotFound):
            hub.get(DOOR)
        await hub.open_stream(DOOR)
        assert await names(hub) == []


async def test_a_stream_that_ends_with_its_connection_keeps_nothing(tmp_path: Path) -> None:
    async with running_hub(kept=tmp_path) as hub:
        stream = await hub.open_stream(DOOR, StreamOptions(persistent=False))
        stream.watches.create(RED, "w")
    assert not files(tmp_path)


async def test_what_the_settings_no_longer_allow_is_left_out(tmp_path: Path) -> None:
    async with running_hub(kept=tmp_path) as hub:
        stream = await hub.open_stream(DOOR)
        stream.watches.create(RED, "short")
        stream.watches.create(WatchOptions(condition="a" * 200), "long")
    smaller = {"max_condition_chars": 100}
    async with running_hub(kept=tmp_path, watches=smaller) as hub:
        await hub.open_stream(DOOR)
        assert await names(hub) == ["short"]
    (file,) = files(tmp_path / "watches")
    assert len(json.loads(file.read_bytes())) == 2, "restoring writes nothing"
