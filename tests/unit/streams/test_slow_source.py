"""A camera that gives a picture in five seconds: all are seen, and the time between them is too."""

from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.engine.interface import Evidence
from onlooker.streams.sources.spec import SourceSpec
from onlooker.streams.stream import Stream, StreamOptions
from onlooker.streams.tenants import TenantStreams
from tests.fakes.pictures import make_message
from tests.fakes.streams import ask_fully, running_hub

EVERY_S = 5.0


async def seen_of(stream: Stream) -> list[tuple[float, float]]:
    """The spans that an answer rests on after six pictures."""
    for number in range(6):
        ack = await stream.push_wait(make_message(EVERY_S * number))
        assert ack.outcome == "kept"
    _, end = await ask_fully(stream)
    assert stream.ingest.tally.seen_until_s == 5 * EVERY_S
    return [(one.start_s, one.end_s) for one in end.evidence if isinstance(one, Evidence)]


@pytest.mark.parametrize("max_fps", [None, 1 / EVERY_S])
async def test_a_camera_that_says_its_rate_is_seen_without_gaps(max_fps: float | None) -> None:
    async with running_hub(clock=ManualClock()) as hub:
        options = StreamOptions(clock="virtual", max_fps=max_fps)
        spans = await seen_of(await hub.open_stream(options=options))
    apart = [(EVERY_S * number, EVERY_S * number + 2) for number in range(5)]
    assert spans[:5] == (apart if max_fps is None else [(0.0, 25.0)])


@pytest.mark.parametrize("said", [{"every_s": EVERY_S}, {"fps": 1 / EVERY_S}])
async def test_what_is_taken_now_and_then_is_seen_without_gaps(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]
) -> None:
    async def nothing(*_: Any) -> None:
        return None

    async with running_hub(clock=ManualClock()) as hub:
        monkeypatch.setattr(hub, "pull", nothing)
        source = SourceSpec("http://8.8.8.8/now.jpg", **said)
        streams = TenantStreams(hub, "acme")
        stream = await streams.open_pulled("door", StreamOptions(clock="virtual"), source)
        assert await seen_of(stream) == [(0.0, 25.0)]
