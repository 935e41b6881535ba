"""A stream's own choice of what is computed and kept of its clips goes with each to the engine."""

import pytest

from onlooker.core.media import Clip
from onlooker.core.protocol.base import TokenDropName
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import IngestResult
from onlooker.streams.state import StreamOptions
from tests.fakes.pictures import make_message
from tests.fakes.streams import running_hub


class NotingEngine(ScriptedEngine):
    """Notes by which method of token drop each clip is to be taken in."""

    methods: list[str | None]
    compactions: list[str | None]

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        self.methods = [*getattr(self, "methods", []), care.token_drop]
        self.compactions = [*getattr(self, "compactions", []), care.compaction]
        return await super().ingest(clip, care)


@pytest.mark.parametrize("method", [None, "filled", "off"])
async def test_clips_are_taken_in_as_their_stream_was_opened(method: TokenDropName | None) -> None:
    engine = NotingEngine()
    async with running_hub(engine=engine, perception={"gate_threshold": 0}) as hub:
        stream = await hub.open_stream(options=StreamOptions(clock="virtual", token_drop=method))
        for index in range(5):
            await stream.push_wait(make_message(index / 2))
    assert engine.methods
    assert set(engine.methods) == {method}


async def test_what_stays_of_old_clips_goes_by_how_their_stream_was_opened() -> None:
    engine = NotingEngine()
    async with running_hub(engine=engine, perception={"gate_threshold": 0}) as hub:
        stream = await hub.open_stream(options=StreamOptions(clock="virtual", compaction="merge"))
        for index in range(3):
            await stream.push_wait(make_message(index / 2))
    assert set(engine.compactions) == {"merge"}
