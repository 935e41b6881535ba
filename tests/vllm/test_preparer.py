"""Clips prepared without the model's processor are what the processor would have made of them."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onlooker import demo_model
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame
from onlooker.engine.vllm_adapter.families import FAMILIES

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

MODEL = Path(os.environ.get("ONLOOKER_TEST_MODEL", Path(demo_model.__path__[0]) / "weights"))
SIDE = 72


class VllmProcessor:
    """vLLM's renderer of the model, without an engine; counts what it is asked."""

    def __init__(self, folder: Path) -> None:
        from onlooker.engine.config import VllmSection
        from onlooker.engine.vllm_adapter.gateway.platform import prepare_environment

        prepare_environment(VllmSection(), cpu=True, model_is_local=True)
        from vllm.engine.arg_utils import EngineArgs
        from vllm.renderers import renderer_from_config

        config = EngineArgs(
            model=str(folder), dtype="float32", enforce_eager=True, max_model_len=2048,
            mm_processor_cache_gb=0, limit_mm_per_prompt={"video": 4, "image": 0},
        ).create_engine_config()  # fmt: skip
        self.config = config.model_config.hf_config
        self.llm = SimpleNamespace(
            model_config=config.model_config, renderer=renderer_from_config(config)
        )
        self.tokenizer = self.llm.renderer.get_tokenizer()
        self.brightness = 0
        self.num_rendered = 0

    async def render(self, prompt: dict[str, Any]) -> Any:
        from onlooker.engine.vllm_adapter.seams import render

        self.num_rendered += 1
        rendered = await render(self.llm, prompt)
        rendered["mm_kwargs"]["video"][0]["pixel_values_videos"].data += self.brightness
        return rendered


@pytest.fixture(scope="module", params=["Qwen3-VL", "Qwen2.5-VL"])
def stock(request: pytest.FixtureRequest) -> VllmProcessor:
    is_demo = request.param == "Qwen3-VL"
    return VllmProcessor(MODEL if is_demo else request.getfixturevalue("qwen2_5_folder"))


@pytest.fixture
def processor(stock: VllmProcessor) -> VllmProcessor:
    stock.brightness = stock.num_rendered = 0
    return stock


def _preparer(processor: VllmProcessor) -> Any:
    from onlooker.engine.vllm_adapter.gateway.composer import PromptComposer
    from onlooker.engine.vllm_adapter.gateway.preparer import ClipPreparer

    family = FAMILIES[processor.config.architectures[0]]
    composer = PromptComposer(processor.tokenizer, instructions="", family=family)
    return ClipPreparer(processor, composer.clip_text, family.rotary_layout(processor.config))


def _clip(start_s: float, *, width: int = SIDE, height: int = SIDE, alone: bool = False) -> Clip:
    rng = np.random.default_rng(int(start_s * 1000))
    frames = [
        Frame(i, start_s + i * 0.5, 0.0, rng.integers(0, 256, (height, width, 3), np.uint8))
        for i in range(2)
    ]
    return Clip(StreamId("s"), 0, (frames[0], frames[0 if alone else 1]))


@pytest.mark.parametrize(
    "clip",
    [
        *(_clip(start_s) for start_s in (0.0, 0.05, 9.7, 59.949, 12345.678)),
        _clip(3.0, alone=True),
    ],
    ids=lambda clip: f"{clip.start_s}-{clip.end_s}",
)
def test_a_prepared_clip_is_bit_by_bit_what_the_processor_makes(
    processor: VllmProcessor, clip: Clip
) -> None:
    from onlooker.engine.vllm_adapter.gateway.preparer import _same

    preparer = _preparer(processor)
    asyncio.run(preparer.prepare("warm", _clip(7.0)))
    processor.num_rendered = 0
    mine = asyncio.run(preparer.prepare("k", clip))
    assert processor.num_rendered == 0
    theirs = asyncio.run(preparer._processed("k", clip))
    assert _same(mine, theirs)
    assert mine[0].key == "k"
    assert mine[0].meta() == theirs[0].meta()


def test_a_processor_that_does_something_else_goes_on_preparing(processor: VllmProcessor) -> None:
    processor.brightness = 1
    preparer = _preparer(processor)
    clip = _clip(2.0)
    (_, mine), (_, theirs) = (
        asyncio.run(preparer.prepare("k", clip)),
        asyncio.run(preparer._processed("k", clip)),
    )
    assert mine["pixel_values_videos"].data.equal(theirs["pixel_values_videos"].data)


def test_frames_that_the_processor_would_resize_go_through_it(processor: VllmProcessor) -> None:
    preparer = _preparer(processor)
    clip = _clip(2.0, width=100, height=70)
    asyncio.run(preparer.prepare("k", clip))
    processor.num_rendered = 0
    asyncio.run(preparer.prepare("k", clip))
    assert processor.num_rendered == 1


def test_sizes_are_learnt_up_to_a_bound(
    processor: VllmProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onlooker.engine.vllm_adapter.gateway import preparer as module

    monkeypatch.setattr(module, "MAX_SIZES", 2)
    preparer = _preparer(processor)
    for extra in range(4):
        asyncio.run(preparer.prepare("k", _clip(1.0, width=SIDE + extra)))
    assert len(preparer._templates) == 2
