"""Pulled sources that would keep a decoder busy, in real processes with a budget."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from onlooker.core.clock import SystemClock
from onlooker.core.media import DropReason
from onlooker.core.metrics import Metrics
from onlooker.streams.events import SourceChanged
from onlooker.streams.fanout import Subscription
from onlooker.streams.hub import StreamHub
from onlooker.streams.sources.spec import SourceSpec
from onlooker.streams.stream import Stream, StreamOptions
from tests.fakes.costly import endless_jpeg
from tests.fakes.jpeg_camera import jpeg_camera
from tests.fakes.pictures import encode, make_pixels
from tests.fakes.processes import children
from tests.fakes.streams import next_event, running_hub, waiting_events
from tests.fakes.timed import timed_video
from tests.fakes.waiting import until

COSTLY = endless_jpeg(3000)
HONEST = encode(make_pixels("red", width=64, height=64))
SETTINGS: dict[str, Any] = {
    "sources": {
        "allow_hosts": ["127.0.0.0/8"],
        "first_attempts": 2,
        "reconnect_min_s": 0.05,
        "reconnect_max_s": 0.05,
    },
    "decoding": {
        "open_budget_s": 0.1,
        "chunk_budget_s": 0.1,
        "megapixel_budget_s": 0.0,
        "workers": 2,
    },
    "perception": {"clip_interval_s": 0.1, "gate_threshold": 0},
}


def counted(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"onlooker_{name}_total", labels) or 0.0


async def pull(hub: StreamHub, url: str, **source: Any) -> tuple[Stream, Subscription]:
    stream = await hub.open_stream(options=StreamOptions(clock="live"))
    events = stream.subscribe(max_events=1000)
    await hub.pull(stream, SourceSpec(url, **source))
    return stream, events


async def until_state(events: Subscription, state: str) -> str:
    """Wait until the source is told to be in a state; why it is."""
    while (event := await next_event(events, SourceChanged)).state != state:
        pass
    return event.detail


async def test_a_camera_whose_pictures_cost_too_much_fails_and_costs_another_nothing() -> None:
    metrics = Metrics()
    with ExitStack() as cameras:
        honest_url = cameras.enter_context(jpeg_camera(HONEST))
        costly_url = cameras.enter_context(jpeg_camera(COSTLY))
        async with running_hub(
            clock=SystemClock(), metrics=metrics, in_processes=True, **SETTINGS
        ) as hub:
            honest, honest_events = await pull(hub, honest_url)
            await until_state(honest_events, "playing")
            costly, events = await pull(hub, costly_url)
            why = await until_state(events, "failed")
            num_seen = honest.status().kept
            await until(lambda: honest.status().kept >= num_seen + 5)
            changes = [e for e in waiting_events(honest_events) if isinstance(e, SourceChanged)]
    assert "more processor time than its budget" in why
    assert "given up after 2 attempts" in why
    assert costly.status().received == 0
    assert changes == []
    assert counted(metrics, "decoders_ended", why="too_costly") == 2


async def test_a_camera_that_costs_too_much_again_and_again_is_refused_for_a_while() -> None:
    metrics = Metrics()
    settings = {**SETTINGS, "sources": {**SETTINGS["sources"], "first_attempts": 4}}
    with jpeg_camera(COSTLY) as url:
        async with running_hub(
            clock=SystemClock(), metrics=metrics, in_processes=True, **settings
        ) as hub:
            _, events = await pull(hub, url)
            why = await until_state(events, "failed")
    assert "refused for" in why
    assert counted(metrics, "decoders_ended", why="too_costly") == 3
    assert counted(metrics, "senders_refused") == 1


async def test_a_picture_that_is_fetched_and_costs_too_much_is_told_to_its_source() -> None:
    with ExitStack() as cameras:
        honest_url = cameras.enter_context(jpeg_camera(HONEST))
        costly_url = cameras.enter_context(jpeg_camera(COSTLY))
        async with running_hub(clock=SystemClock(), in_processes=True, **SETTINGS) as hub:
            honest, _ = await pull(hub, honest_url + "still", every_s=0.2)
            costly, events = await pull(hub, costly_url + "still", every_s=0.2)
            assert "more processor time than its budget" in await until_state(events, "lost")
            assert costly.status().dropped.get(DropReason.TOO_COSTLY) == 1
            num_seen = honest.status().kept
            await until(lambda: honest.status().kept >= num_seen + 3)


async def test_a_source_whose_decoder_is_killed_is_opened_again(tmp_path: Path) -> None:
    metrics = Metrics()
    with jpeg_camera(HONEST) as url:
        async with running_hub(
            clock=SystemClock(), metrics=metrics, in_processes=True, **SETTINGS
        ) as hub:
            stream, events = await pull(hub, url)
            await until_state(events, "playing")
            os.kill(max(decoders_of(hub)), signal.SIGKILL)
            assert "its decoder was ended" in await until_state(events, "lost")
            await until_state(events, "found again")
            num_seen = stream.status().kept
            await until(lambda: stream.status().kept > num_seen)
    assert counted(metrics, "decoders_ended", why="killed") == 1


async def test_pulled_sources_take_turns_and_give_them_back(tmp_path: Path) -> None:
    """A recording is seen to its end with a single turn for all, and none is left taken."""
    path = tmp_path / "a.mp4"
    path.write_bytes(timed_video("mp4", [index / 10 for index in range(30)]))
    settings = {
        "sources": {"file_dirs": [str(tmp_path)]},
        "decoding": {"workers": 1},
        "perception": SETTINGS["perception"],
    }
    async with running_hub(clock=SystemClock(), in_processes=True, **settings) as hub:
        streams = [await hub.open_stream(options=StreamOptions(clock="virtual")) for _ in range(3)]
        for stream in streams:
            await hub.pull(stream, SourceSpec(str(path)))
        await until(lambda: all(stream.status().source is None for stream in streams))
        assert [stream.status().kept for stream in streams] == [30, 30, 30]
        await until(lambda: hub.is_decoding_idle)


async def test_a_stream_can_be_closed_while_its_source_keeps_a_decoder_busy() -> None:
    settings = {**SETTINGS, "decoding": {"open_budget_s": 300.0}}
    with jpeg_camera(COSTLY) as url:
        async with running_hub(clock=SystemClock(), in_processes=True, **settings) as hub:
            stream, _ = await pull(hub, url)
            await until(lambda: bool(decoders_of(hub)))
            await until(lambda: not hub.is_decoding_idle)
            await hub.close_stream(stream.id, "it was deleted")
            await until(lambda: hub.is_decoding_idle)


def decoders_of(hub: StreamHub) -> list[int]:
    """The ids of a hub's decoder processes."""
    nursery = hub._shared.decoding.workshop._nursery._process  # type: ignore[attr-defined]
    return [] if nursery is None else list(children(nursery.pid))
