"""Heads that a model brings along read the same hidden states as an independent reference."""

import asyncio
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from onlooker.core.clock import SystemClock
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.engine.checks import Check
from onlooker.engine.config import EngineSection, VllmSection
from onlooker.engine.vllm_adapter.engine import make_engine
from onlooker.engine.vllm_adapter.gateway.score_heads import read_heads
from onlooker.engine.vllm_adapter.wire import read_report
from onlooker.scheduler.config import SchedulerSection
from tests.fakes.heads import write_heads
from tests.vllm.conftest import MODEL
from tests.vllm.rig import (
    NUM_CLIPS,
    Rebuilt,
    asking,
    at_most,
    ingest_all,
    question_ids,
    save_sink,
)
from tests.vllm.test_engines import make_clip

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

HIDDEN = json.loads((MODEL / "config.json").read_text())["text_config"]["hidden_size"]
WEIGHT = torch.randn(2, HIDDEN, generator=torch.Generator().manual_seed(1)) / 4
SOLO = torch.randn(1, HIDDEN, generator=torch.Generator().manual_seed(2)) / 4
BIAS = torch.tensor([0.25])


def token_of(word: str) -> int:
    vocabulary = json.loads((MODEL / "tokenizer.json").read_text())["model"]["vocab"]
    return int(vocabulary[word])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with heads: two of random numbers, and one whose rows are those by which the
    model itself chooses "no" and "yes"."""
    found = tmp_path_factory.mktemp("with-heads")
    for path in MODEL.iterdir():
        (found / path.name).symlink_to(path)
    words = load_file(MODEL / "model.safetensors")["model.language_model.embed_tokens.weight"]
    answers = words[[token_of("no"), token_of("yes")]].float().contiguous()
    tensors = {"informative.weight": WEIGHT, "solo.weight": SOLO, "solo.bias": BIAS, "yes": answers}
    named = {
        "informative": {"weight": "informative.weight"},
        "solo": {"weight": "solo.weight", "bias": "solo.bias"},
        "yes": {"weight": "yes"},
    }
    return write_heads(found, tensors, named)


@pytest.fixture(scope="module")
def headed(folder: Path) -> Iterator[Any]:
    from tests.vllm.in_process import SegmentVllm

    engine = SegmentVllm(folder, heads=read_heads(folder))
    save_sink(engine)
    ingest_all(engine)
    yield engine
    engine.engine.engine_core.shutdown()


@pytest.fixture(scope="module")
def expected(headed: Any, reference: Any) -> Any:
    """What the heads give for the question about some clips, reckoned from the reference."""
    whole = Rebuilt(headed, reference, NUM_CLIPS)

    def reckon(clips: Sequence[int]) -> dict[str, float]:
        pieces = [whole.pieces[index] for index in clips]
        asked = reference.text(question_ids(headed))
        _, state = reference.states(asked, whole.place(len(pieces)), whole.past(pieces))
        duo, solo = WEIGHT @ state[0], SOLO @ state[0] + BIAS
        return {
            "informative": 1 / (1 + math.exp(float(duo[0] - duo[1]))),
            "solo": 1 / (1 + math.exp(-float(solo))),
        }

    return reckon


def scores_of(output: Any) -> dict[str, float]:
    found = dict(read_report(output.kv_transfer_params).heads)
    found.pop("yes", None)
    return found


def about(expected: dict[str, float]) -> Any:
    return pytest.approx(expected, abs=1e-4)


def test_heads_read_the_hidden_state_at_the_end_of_the_prompt(headed: Any, expected: Any) -> None:
    found = headed.run(asking(headed, [0, 3, 6]), reads_heads=True)
    assert scores_of(found) == about(expected([0, 3, 6]))
    assert expected([0, 3, 6]) != about(expected([0, 3, 5])), "the comparison notices other clips"


def test_a_prompt_that_is_computed_in_pieces_is_read_at_its_end(headed: Any, expected: Any) -> None:
    with at_most(headed, 4):
        found = headed.run(asking(headed, [0, 3, 6]), reads_heads=True)
    assert scores_of(found) == about(expected([0, 3, 6]))


def test_requests_of_one_step_are_each_read_by_themselves(headed: Any, expected: Any) -> None:
    wanted = [[0, 3, 6], [1], [2, 4]]
    ids = [headed.add(asking(headed, clips), reads_heads=True) for clips in wanted]
    plain = headed.add(asking(headed, [5]))
    ended: dict[str, Any] = {}
    while len(ended) < 4:
        ended |= {output.request_id: output for output in headed.step()}
    for request_id, clips in zip(ids, wanted, strict=True):
        assert scores_of(ended[request_id]) == about(expected(clips))
    assert scores_of(ended[plain]) == {}, "who asks for none gets none"


def test_the_engine_reads_the_heads_of_its_models_folder(folder: Path) -> None:
    os.environ.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    asyncio.run(_ask_in_words_and_by_heads(folder))


async def _ask_in_words_and_by_heads(folder: Path) -> None:
    """The head that has the rows of the words says what the words' own probabilities do."""
    settings = EngineSection(model=str(folder), vllm=VllmSection(max_model_len=1024))
    engine = make_engine(
        settings, SystemClock(), Metrics(), scheduler=SchedulerSection(policy="fcfs")
    )
    await engine.start(lambda line: None)
    try:
        assert engine.info.score_heads == ("informative", "solo", "yes")
        stream = StreamId("door")
        await engine.open_stream(stream)
        for index in range(3):
            await engine.ingest(make_clip(stream, index))
        texts = ("Is there a red circle?", "Has the scene just changed?")
        for text in texts:
            in_words = await engine.check(
                Check(stream, text, asked_s=10.0, answers=(("yes",), ("no",)))
            )
            by_heads = await engine.check(Check(stream, text, asked_s=10.0, reads_heads=True))
            margin = in_words.logprobs[0] - in_words.logprobs[1]
            assert by_heads.heads["yes"] == pytest.approx(1 / (1 + math.exp(-margin)), abs=1e-4)
            assert in_words.heads == {}
    finally:
        await engine.close()
