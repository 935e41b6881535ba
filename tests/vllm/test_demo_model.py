"""The shipped demo model through vLLM: the same numbers as transformers, and known scenes right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onlooker import demo_model
from onlooker.demo_model.examples import TEST_SEED, Filmed, film
from onlooker.demo_model.questions import CANNOT_TELL, DrawnQuestion, View, ask_view, correct
from onlooker.demo_model.view import DrawnClip
from onlooker.demo_model.world import World

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

MODEL = Path(os.environ.get("ONLOOKER_TEST_MODEL", Path(demo_model.__path__[0]) / "weights"))
TOLERANCE = 1e-3
"""Log probabilities of the first answer token, float32."""


@pytest.fixture(scope="module")
def watcher() -> Any:
    from onlooker.demo_model.evaluate import ModelWatcher

    return ModelWatcher(MODEL)


def scene_clips(seed: int, start: float, count: int) -> tuple[list[Filmed], View]:
    world = World(seed)
    times = [start + i for i in range(count)]
    clips = [DrawnClip(t + 0.25, (t, t + 0.5)) for t in times]
    return [film(world, clip, 80) for clip in clips], View(world, clips)


def reference_logprobs(filmed: list[Filmed], question: DrawnQuestion) -> tuple[list[int], Any]:
    """Prompt ids and log probabilities of the first answer token, by transformers alone."""
    import torch
    from transformers import AutoProcessor, Qwen3VLForConditionalGeneration
    from transformers.video_utils import VideoMetadata

    from onlooker.demo_model.evaluate import prompt_text, video_item

    processor = AutoProcessor.from_pretrained(MODEL)
    model = Qwen3VLForConditionalGeneration.from_pretrained(MODEL, dtype=torch.float32)
    items = [video_item(one) for one in filmed]
    metadata = [
        VideoMetadata(
            fps=m["fps"],
            frames_indices=m["frames_indices"],
            total_num_frames=2,
            duration=m["duration"],
        )
        for _, m in items
    ]
    inputs = processor(
        text=[prompt_text(question, len(filmed))],
        videos=[torch.from_numpy(pixels).permute(0, 3, 1, 2) for pixels, _ in items],
        video_metadata=metadata,
        return_tensors="pt",
    )
    with torch.no_grad():
        logits = model(**inputs).logits[0, -1]
    return inputs["input_ids"][0].tolist(), torch.log_softmax(logits, -1)


@pytest.mark.parametrize("start", [3.0, 4_000.0])
def test_vllm_and_transformers_agree_to_the_number(watcher: Any, start: float) -> None:
    from vllm import SamplingParams

    from onlooker.demo_model.evaluate import prompt_text, video_item

    filmed, view = scene_clips(TEST_SEED + 1, start, 5)
    rng = np.random.default_rng(0)
    for family in ("now_list", "at_time_count", "narrate", "unknown"):
        question = ask_view(view, rng, family)
        assert question is not None
        ids, expected = reference_logprobs(filmed, question)
        prompt = {
            "prompt": prompt_text(question, len(filmed)),
            "multi_modal_data": {"video": [video_item(one) for one in filmed]},
        }
        sampling = SamplingParams(temperature=0.0, max_tokens=1, logprobs=20)
        output = watcher.llm.generate(prompt, sampling, use_tqdm=False)[0]
        assert output.prompt_token_ids == ids
        for token, found in output.outputs[0].logprobs[0].items():
            assert found.logprob == pytest.approx(expected[token].item(), abs=TOLERANCE)


def test_known_scenes_are_seen_as_they_are(watcher: Any) -> None:
    rng = np.random.default_rng(0)
    right: list[bool] = []
    families = ("now_color", "now_digit", "now_count", "now_exists")
    for seed in range(TEST_SEED + 100, TEST_SEED + 108):
        filmed, view = scene_clips(seed, 30.0, 4)
        questions = [q for q in (ask_view(view, rng, f) for f in families) if q is not None]
        replies = watcher.answer(filmed, questions)
        right += [correct(q, r.text) for q, r in zip(questions, replies, strict=True)]
    assert len(right) >= 24
    assert sum(right) / len(right) >= 0.9


def test_a_question_outside_the_world_is_not_answered(watcher: Any) -> None:
    filmed, _ = scene_clips(TEST_SEED + 3, 12.0, 4)
    asked = [
        DrawnQuestion("unknown", text, CANNOT_TELL)
        for text in ("What is the capital of France?", "Who is speaking?", "How is the weather?")
    ]
    replies = watcher.answer(filmed, asked)
    assert [r.text for r in replies if correct(asked[0], r.text)], replies


def test_any_text_gets_an_answer_that_ends(watcher: Any) -> None:
    filmed, _ = scene_clips(TEST_SEED + 4, 12.0, 2)
    for text in ("?", "quokka " * 200, "<b>12</b> \u00e9\u4e2d 99999999 seconds"):
        (reply,) = watcher.answer(filmed, [DrawnQuestion("unknown", text, "")])
        assert isinstance(reply.text, str)
