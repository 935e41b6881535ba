"""What a model said is said again without it."""

from pathlib import Path

import pytest

from onlooker.benchmarks.recording import ModelRecording, RecordedEngine
from onlooker.core.errors import EngineFailed
from onlooker.core.ids import StreamId
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.fake import ScriptedEngine


class Sure(ScriptedEngine):
    """Says yes."""

    async def check(self, check: Check) -> CheckResult:
        return CheckResult(logprobs=(-0.25, -4.0), best=-0.25)


def _check(at_s: float, text: str = "Is there a dog?") -> Check:
    return Check(StreamId("s"), text, asked_s=at_s, num_clips=1)


async def test_a_recording_answers_for_the_same_clip_and_for_no_other(tmp_path: Path) -> None:
    path = tmp_path / "said.jsonl"
    recording = ModelRecording(path)
    told = await RecordedEngine(recording, Sure()).check(_check(3.0))
    recording.close()
    again = ModelRecording(path)
    replayed = RecordedEngine(again, None)
    assert await replayed.check(_check(3.9)) == told  # the newest clip of then is the same
    for other in (_check(4.0), _check(3.0, "Is there a cat?")):
        with pytest.raises(EngineFailed):
            await replayed.check(other)
    assert replayed.num_missing == 2
    again.close()


async def test_a_recording_whose_last_line_was_cut_off_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "said.jsonl"
    first = ModelRecording(path)
    told = await RecordedEngine(first, Sure()).check(_check(3.0))
    first.close()
    path.write_text(path.read_text() + '["Is there a d')  # the process ended as it wrote
    cut = ModelRecording(path)
    await RecordedEngine(cut, Sure()).check(_check(4.0))
    cut.close()
    again = ModelRecording(path)
    replayed = RecordedEngine(again, None)
    assert [await replayed.check(_check(at_s)) for at_s in (3.0, 4.0)] == [told, told]
    again.close()
