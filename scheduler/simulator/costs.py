"""Machines to simulate: what steps cost there, and how large the work is."""

from dataclasses import dataclass

from onlooker.scheduler.cost_model import CostTable


@dataclass(frozen=True, slots=True)
class Machine:
    """A cost table, and the sizes of a model's work on it."""

    costs: CostTable
    clip_tokens: int
    question_tokens: int
    answer_tokens: int
    """Mean length of an answer in tokens."""
    window_bytes: int
    """Bytes of KV of the recent window, loaded for each clip and each question."""
    retrieved_bytes: int
    """Bytes of KV that a question brings back besides."""
    noise: float = 0.1
    """Standard deviation of the logarithm of a step's time."""
    max_tokens: int = 4096
    max_jobs: int = 128


GPU_LIKE = Machine(
    costs=CostTable(
        floor_s=6e-3,
        prefill_token_s=8e-6,
        decode_token_s=3e-5,
        loaded_byte_s=1e-12,
        request_s=5e-5,
        encoder_clip_s=1.5e-4,
    ),
    clip_tokens=64,
    question_tokens=48,
    answer_tokens=32,
    window_bytes=117 << 20,
    retrieved_bytes=58 << 20,
    max_tokens=8192,
    max_jobs=256,
)
"""A model of some 2B parameters on one large GPU, in round numbers: 125,000 prefill tokens a
second, KV copied inside the GPU's memory. Nothing of it was measured."""

DEMO_ON_CPU = Machine(
    costs=CostTable(
        floor_s=1.06e-2,
        prefill_token_s=1.0e-4,
        decode_token_s=1.0e-4,
        loaded_byte_s=2.8e-9,
        request_s=6e-4,
        encoder_clip_s=2e-3,
    ),
    clip_tokens=15,
    question_tokens=30,
    answer_tokens=8,
    window_bytes=1_228_800,
    retrieved_bytes=614_400,
    noise=0.15,
    max_tokens=4096,
    max_jobs=32,
)
"""The demo model on one CPU core: fitted to 297 steps of the real engine in CPU time, with a mean
error of 12 % (the encoder's share was not measured). The gateway's work is not in it."""
