"""`RecordedEngine`: an engine whose words are kept in a file, so that rules can be tried over them.

What a model says of a clip does not depend on what is made of it. So it is asked once, with
`moments --record`, and rules are tried in seconds over what it said, with `moments --replay` and
without a model. What a changed rule asks and nobody asked before fails there, and is counted.
"""

import argparse
import json
import math
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from onlooker.benchmarks.passing import PassingEngine
from onlooker.core.errors import EngineFailed
from onlooker.core.media import Clip
from onlooker.engine.care import NO_CARE, Care
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.fake import ScriptedEngine
from onlooker.engine.interface import (
    AnswerDelta,
    AnswerEnd,
    AnswerEvent,
    Engine,
    FinishReason,
    IngestResult,
    Progress,
    Question,
)
from onlooker.engine.sampling import TokenChance
from onlooker.engine.vllm_adapter.gateway.model_folder import find_model

Said = dict[str, Any]


class ModelRecording:
    """What a model said, by what it was asked, in a file of a JSON line each."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._said: dict[str, Said] = {}
        if path.exists():
            # What has no end was cut off as its process ended, and is asked again.
            whole, _, cut = path.read_bytes().rpartition(b"\n")
            self._said = dict(map(json.loads, whole.splitlines()))
            if cut:
                os.truncate(path, path.stat().st_size - len(cut))
        self._file = path.open("a", buffering=1)

    def find(self, key: str) -> Said | None:
        """What was said; None where that was never asked."""
        return self._said.get(key)

    def add(self, key: str, said: Said) -> None:
        """Keep what was said."""
        self._said[key] = said
        self._file.write(json.dumps([key, said]) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Idle(ScriptedEngine):
    """Stands in for the demo model in a replay: takes clips without looking at them."""

    def __init__(self) -> None:
        info = find_model("demo", served_name=None).info(
            mode="segments",
            tokens_per_clip=1,
            max_clips=1,
            max_images=0,
            writes_json=False,
            calls_functions=False,
        )
        super().__init__(info=info)

    async def start(self, progress: Progress) -> None:
        pass

    async def ingest(self, clip: Clip, care: Care = NO_CARE) -> IngestResult:
        return IngestResult(0, 0)


class RecordedEngine(PassingEngine):
    """An engine that answers from a recording where it can, and else from a model. Of a single
    stream of a clip a second.

    Args:
        engine: the model; None replays alone.
    """

    def __init__(self, recording: ModelRecording, engine: Engine | None) -> None:
        super().__init__(engine or _Idle())
        self._recording, self._has_model = recording, engine is not None
        self.num_missing = 0
        """What was asked, is not recorded, and could not be asked of a model."""

    @classmethod
    def of(cls, options: argparse.Namespace, made: Callable[[], Engine]) -> Engine:
        """The engine of a scenario that has the options `record` and `replay`."""
        if options.replay is not None:
            return cls(ModelRecording(options.replay), None)
        return made() if options.record is None else cls(ModelRecording(options.record), made())

    async def close(self) -> None:
        self._recording.close()
        await super().close()

    async def answer(self, question: Question) -> AsyncIterator[AnswerEvent]:
        """As it was answered, with the probability of its least likely token."""
        has_chances = question.sampling.num_alternatives is not None
        key = _key(question.text, question.asked_s, question.newest_clips, has_chances)
        said = self._recording.find(key)
        if said is None:
            said = await self._answered(question)
            self._recording.add(key, said)
        yield AnswerDelta(said["text"], (TokenChance("", said["least"]),))
        yield AnswerEnd(FinishReason.STOP, 0, 0, 0)

    async def check(self, check: Check) -> CheckResult:
        key = _key(check.text, check.asked_s, check.num_clips, False)
        said = self._recording.find(key)
        if said is None:
            result = await self._model().check(check)
            said = {"logprobs": result.logprobs, "best": result.best}
            self._recording.add(key, said)
        return CheckResult(tuple(said["logprobs"]), said["best"])

    def _model(self) -> Engine:
        if not self._has_model:
            self.num_missing += 1
            raise EngineFailed("that was not asked when it was recorded")
        return self._engine

    async def _answered(self, question: Question) -> Said:
        events = self._model().answer(question)
        said = [event async for event in events if isinstance(event, AnswerDelta)]
        least = min((one.logprob for piece in said for one in piece.chances), default=0.0)
        return {"text": "".join(piece.text for piece in said), "least": least}


def _key(text: str, asked_s: float, num_clips: int | None, has_chances: bool) -> str:
    """What is asked, and of which clips."""
    return f"{text}|{math.floor(asked_s)}|{num_clips}|{int(has_chances)}"
