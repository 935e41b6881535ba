"""Feeds streams from sources that the server opens by itself."""

from collections.abc import Coroutine
from typing import Any

from onlooker.core.clock import Clock
from onlooker.core.errors import Forbidden
from onlooker.core.metrics import Metrics
from onlooker.engine.config import EngineSection
from onlooker.engine.sources.spec import SourceSpec
from onlooker.engine.stream import Stream


class Puller:
    def __init__(self, *, settings: EngineSection, clock: Clock, metrics: Metrics) -> None:
        self._settings = settings

    async def prepare(self, stream: Stream, source: SourceSpec) -> Coroutine[Any, Any, None]:
        raise Forbidden(f"pulling is not open yet: {source.url}")
