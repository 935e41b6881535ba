"""Tokens that are guessed ahead change nothing but the time: not what is said, kept or found."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.vllm.conftest import MODEL
from tests.vllm.rig import NUM_CLIPS, QUESTION, asking, ingest, picks, retrieving, save_sink

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

NUM_TOKENS = 24
"""More than an answer has, so that the model repeats itself, and guesses are right now and then."""


@dataclass
class Run:
    """What one engine said, kept and found."""

    said: dict[str, list[int]] = field(default_factory=dict)
    """Token ids."""
    picked: list[list[int]] = field(default_factory=list)
    kept: dict[str, NDArray[Any]] = field(default_factory=dict)
    """Keys and values of segments."""
    num_guessed: int = 0
    num_steps: int = 0


def ran(guessed_tokens: int) -> Run:
    """Questions to an engine that guesses so many tokens ahead."""
    from tests.vllm.in_process import SegmentVllm

    vllm = SegmentVllm(MODEL, policy="slo", guessed_tokens=guessed_tokens)
    found = Run()
    schedule = vllm.scheduler.schedule

    def scheduled(*args: Any, **options: Any) -> Any:
        step = schedule(*args, **options)
        found.num_steps += 1
        found.num_guessed += sum(map(len, step.scheduled_spec_decode_tokens.values()))
        return step

    vllm.scheduler.schedule = scheduled
    try:
        save_sink(vllm)
        for index in range(NUM_CLIPS):
            report = ingest(vllm, index, range(index), "whole")
            assert report.outputs[0].finish_reason == "length"
        for name, prompt in (
            ("placed", asking(vllm, [0, 3, 6])),
            ("retrieved", retrieving(vllm, 2, [6, 7])),
        ):
            output = vllm.run(prompt, max_tokens=NUM_TOKENS)
            found.said[name] = list(output.outputs[0].token_ids)
        found.picked = picks(output)
        resent = vllm.stock([0, 1, 2, 3], QUESTION, NUM_TOKENS)
        found.said["resent"] = list(resent.outputs[0].token_ids)
        for index in range(NUM_CLIPS):
            segment = vllm.arena.get(f"whole/{index}")
            found.kept[f"whole/{index}"] = torch.stack([segment.keys, segment.values]).numpy()
    finally:
        vllm.engine.engine_core.shutdown()
    return found


def test_greedy_answers_saves_and_retrieval_are_the_same_with_guesses() -> None:
    # A second engine in one process would find the first one's changes to vLLM's modules.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as processes:
        plain, guessed = processes.map(ran, (0, 4))
    assert guessed.said == plain.said
    assert guessed.picked == plain.picked
    assert all(np.array_equal(kept, plain.kept[key]) for key, kept in guessed.kept.items())
    assert (plain.num_guessed, guessed.num_guessed > 0) == (0, True)
    assert guessed.num_steps < plain.num_steps
