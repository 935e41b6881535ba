"""Pulls real sources on this machine until they end, fail or are lost."""

from dataclasses import dataclass
from typing import Any

from onlooker.core.clock import SystemClock
from onlooker.core.metrics import Metrics
from onlooker.streams.events import ClipSeen, SourceChanged
from onlooker.streams.lease import SourceState
from onlooker.streams.sources.spec import SourceSpec
from onlooker.streams.stream import StreamOptions
from tests.fakes.streams import ask, running_hub
from tests.fakes.waiting import limited

COLOURS = "I have seen these colours: red, green, blue, red."
"""What is seen of the drawn frames, 4 s at 10 fps."""

NOTHING = "I have seen these colours: none."


@dataclass(frozen=True)
class Pulled:
    """How a source fared."""

    seen: str
    """The colours that the model saw."""
    state: SourceState
    reason: str


async def pulled(
    source: SourceSpec | str,
    *,
    clock: Any = "virtual",
    num_clips: int | None = None,
    streams: dict[str, Any] | None = None,
    metrics: Metrics | None = None,
    **sources: Any,
) -> Pulled:
    """Pull until the source ends, fails, is lost after it has given pictures, or `num_clips` were
    seen. `sources` and `streams` are settings."""
    settings = {
        "allow_hosts": ["127.0.0.0/8"],
        "first_attempts": 1,
        "reconnect_min_s": 300.0,
        "reconnect_max_s": 300.0,
    } | sources
    others: dict[str, Any] = {"perception": {"refresh_s": 1.0}, **(streams or {})}
    async with running_hub(clock=SystemClock(), sources=settings, metrics=metrics, **others) as hub:
        stream = await hub.open_stream(options=StreamOptions(clock=clock))
        events = stream.subscribe(max_events=1000)
        has_played, num_seen = False, 0
        await hub.pull(stream, SourceSpec(source) if isinstance(source, str) else source)
        async with limited("the source to end, to fail or to be seen enough of"):
            async for _, event in events:
                if isinstance(event, SourceChanged):
                    has_played = has_played or event.state == "playing"
                    if event.state in ("ended", "failed") or (event.state == "lost" and has_played):
                        break
                num_seen += isinstance(event, ClipSeen)
                if num_seen == num_clips:
                    break
        source_status = stream.status().last_source
        assert source_status is not None
        seen = await ask(stream, "Which colours?")
        return Pulled(seen, source_status.state, source_status.reason)
