"""Sources that send a byte now and then, from real servers on this machine."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from onlooker.core.clock import ManualClock, SystemClock
from onlooker.core.metrics import Metrics
from onlooker.core.network import TooSlow, WaitBudget
from onlooker.streams.events import SourceChanged
from onlooker.streams.hub import StreamHub
from onlooker.streams.sources.spec import SourceSpec
from onlooker.streams.stream import StreamOptions
from tests.fakes.dripping import dripping
from tests.fakes.pictures import encode, make_pixels
from tests.fakes.streams import next_event, running_hub

HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: "
DRIPS: dict[str, tuple[str, bytes, bytes]] = {
    "the head of a reply": ("http", b"HTTP/1.1 200 OK\r\nX-A: ", b"x"),
    "heads of replies without an end": ("http", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a file": ("http", HTTP + b"video/mp4\r\n\r\n", b"\x00"),
    "pictures": ("http", HTTP + b"multipart/x-mixed-replace; boundary=b\r\n\r\n", b"x"),
    "a playlist": ("http", HTTP + b"audio/mpegurl\r\n\r\n#EXTM3U\n", b"#"),
    "a camera's replies": ("rtsp", b"RTSP/1.0 200 OK\r\nX-A: ", b"x"),
    "a handshake": ("https", b"\x16\x03\x03\x40\x00", b"\x00"),
    "a camera's handshake": ("rtsps", b"\x16\x03\x03\x40\x00", b"\x00"),
}


async def ended(hub: StreamHub, url: str) -> str:
    """Pull until the source has failed; why it did."""
    stream = await hub.open_stream(options=StreamOptions(clock="live"))
    events = stream.subscribe(max_events=100)
    await hub.pull(stream, SourceSpec(url))
    while (event := await next_event(events, SourceChanged)).state != "failed":
        assert event.state == "began", event.detail
    return event.detail


@pytest.mark.parametrize("what", DRIPS)
async def test_a_source_that_drips_gives_its_place_back_when_it_should_have_opened(
    what: str,
) -> None:
    scheme, begin, drop = DRIPS[what]
    settings = {
        "allow_hosts": ["127.0.0.0/8"], "open_timeout_s": 0.5, "max_sources": 1,
        "first_attempts": 1000,
    }  # fmt: skip
    metrics = Metrics()
    with dripping(begin, drop) as port:
        async with running_hub(clock=SystemClock(), metrics=metrics, sources=settings) as hub:
            for _ in range(2):  # the second finds a place
                assert "slow" in (why := await ended(hub, f"{scheme}://127.0.0.1:{port}/")) or (
                    "did not open" in why
                ), why
    cut_off = metrics.registry.get_sample_value("onlooker_too_slow_total", {"what": "opening"})
    assert cut_off == 2


async def test_a_source_that_begins_to_drip_after_its_first_pictures_is_lost() -> None:
    picture = encode(make_pixels("red", width=64, height=64))
    part = b"--b\r\nContent-Type: image/jpeg\r\n\r\n" + picture + b"\r\n"
    begin = HTTP + b"multipart/x-mixed-replace; boundary=b\r\n\r\n" + part * 30
    settings = {
        "allow_hosts": ["127.0.0.0/8"], "read_timeout_s": 0.3, "min_bytes_per_s": 1000.0,
        "reconnect_min_s": 300.0, "reconnect_max_s": 300.0,
    }  # fmt: skip
    with dripping(begin) as port:
        async with running_hub(clock=SystemClock(), sources=settings) as hub:
            stream = await hub.open_stream(options=StreamOptions(clock="live"))
            events = stream.subscribe(max_events=100)
            await hub.pull(stream, SourceSpec(f"http://127.0.0.1:{port}/"))
            while (event := await next_event(events, SourceChanged)).state in ("began", "playing"):
                pass
            assert event.state == "lost"
            assert "less than 1000 bytes a second" in event.detail


def budget(clock: ManualClock) -> tuple[WaitBudget, Callable[[int, float], None]]:
    one = WaitBudget(clock, min_bytes_per_s=10.0, window_s=5.0)

    def receive(num_bytes: int, waited_s: float) -> None:
        clock.advance(waited_s)
        one.receive(num_bytes, waited_s)

    return one, receive


def test_who_sends_less_than_the_least_is_too_slow_after_the_window() -> None:
    _, receive = budget(ManualClock())
    for _ in range(4):
        receive(1, 1.0)
    with pytest.raises(TooSlow, match="less than 10 bytes a second"):
        receive(1, 1.0)


def test_who_sends_enough_may_pause_within_the_window() -> None:
    _, receive = budget(ManualClock())
    for _ in range(10):
        receive(0, 4.0)
        receive(50, 1.0)


def test_only_waiting_counts() -> None:
    clock = ManualClock()
    _, receive = budget(clock)
    for _ in range(100):
        clock.advance(60.0)
        receive(1, 0.0)


def test_parts_of_an_operation_share_its_limit() -> None:
    clock = ManualClock()
    one, _ = budget(clock)
    assert one.left_s(7.0) == 7.0
    assert one.begin(5.0)
    clock.advance(4.0)
    assert not one.begin(5.0)
    assert one.left_s(7.0) == 1.0
    clock.advance(1.0)
    with pytest.raises(TooSlow):
        one.left_s(7.0)
    one.end()
    assert one.left_s(None) is None


async def test_a_name_server_that_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, answered = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def look_up(*_: object, **__: object) -> list[object]:
        loop.call_soon_threadsafe(asked.set)
        answered.wait()
        return []

    settings = {"lookup_timeout_s": 0.05, "open_timeout_s": 0.2}
    monkeypatch.setattr("socket.getaddrinfo", look_up)
    try:
        async with running_hub(clock=SystemClock(), sources=settings) as hub:
            await ended_or_lost(hub)
            assert asked.is_set()
    finally:
        answered.set()


async def ended_or_lost(hub: StreamHub) -> None:
    stream = await hub.open_stream(options=StreamOptions(clock="live"))
    events = stream.subscribe(max_events=100)
    await hub.pull(stream, SourceSpec("http://slow.example.org/"))
    while (await next_event(events, SourceChanged)).state == "began":
        pass
