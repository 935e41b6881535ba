"""vLLM with segments in this process, driven step by step, so that a test can look inside."""

import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onlooker.demo_model.phrases import SYSTEM_PROMPTS
from onlooker.demo_model.render import render
from onlooker.demo_model.world import World
from onlooker.engine.config import VllmSection
from onlooker.engine.memory.ranking import RetrievalPolicy
from onlooker.engine.memory.rotary_layout import RotaryLayout
from onlooker.engine.vllm_adapter.families import FAMILIES
from onlooker.engine.vllm_adapter.gateway.boot import guessing
from onlooker.engine.vllm_adapter.gateway.platform import prepare_environment
from onlooker.engine.vllm_adapter.wire import (
    AdapterSettings,
    PauseRule,
    ScoreHeads,
    pause_params,
    plan_params,
    ticket_params,
)
from onlooker.scheduler.ticket import Ticket

prepare_environment(VllmSection(), cpu=True, model_is_local=True)

SINK = f"<|im_start|>system\n{SYSTEM_PROMPTS[0]}<|im_end|>\n<|im_start|>user\n"
ASK = "<|im_end|>\n<|im_start|>assistant\n"
WORLD = World(5)


FRAME_MS = {2: 500, 4: 450}
"""Between two frames of a clip, by the number of its frames."""


def times_s(index: int, num_frames: int = 2) -> list[float]:
    """When the frames of clip `index` are taken."""
    first_ms = index * num_frames * 500
    return [(first_ms + k * FRAME_MS[num_frames]) / 1000 for k in range(num_frames)]


def frames(index: int, num_frames: int = 2) -> NDArray[np.uint8]:
    """The frames of clip `index`: [frames, 72, 72, 3]."""
    return np.stack([render(WORLD.state_at(time), 72, 72) for time in times_s(index, num_frames)])


def video(index: int, num_frames: int = 2) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Clip `index` as vLLM's video item."""
    metadata = {
        "fps": 1000.0,
        "frames_indices": [round(time * 1000) for time in times_s(index, num_frames)],
        "total_num_frames": num_frames * FRAME_MS[num_frames], "duration": 0.5,
        "video_backend": "test", "do_sample_frames": False,
    }  # fmt: skip
    return frames(index, num_frames), metadata


class SegmentVllm:
    """One engine; requests run to their end, or step by step. Its clips are of `num_frames`."""

    def __init__(
        self,
        folder: Path,
        *,
        scheduler: str = "SegmentScheduler",
        policy: str = "fcfs",
        dtype: str = "float32",
        is_eager: bool = True,
        guessed_tokens: int = 0,
        logits_processors: Sequence[str] = (),
        heads: ScoreHeads | None = None,
    ) -> None:
        self.num_frames = 2
        architectures = json.loads((folder / "config.json").read_text())["architectures"]
        self.family = FAMILIES[architectures[0]]
        guarded = self.family.guarded
        assert guarded is not None
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        from vllm import LLM
        from vllm.config import KVTransferConfig

        entry = "onlooker.engine.vllm_adapter.entry"
        self.llm = LLM(
            model=str(folder), dtype=dtype, enforce_eager=is_eager, max_model_len=2048,
            max_num_seqs=8, block_size=32, max_num_batched_tokens=2048, seed=0,
            limit_mm_per_prompt={"video": 32, "image": 0}, mm_processor_cache_gb=0,
            enable_prefix_caching=True, disable_log_stats=True, use_tqdm_on_load=False,
            hf_overrides={"architectures": [guarded.name]},
            speculative_config=guessing(guessed_tokens),
            logits_processors=list(logits_processors),
            scheduler_cls=f"{entry}.scheduler.{scheduler}",
            worker_extension_cls=f"{entry}.extension.SegmentExtension",
            kv_transfer_config=KVTransferConfig(
                kv_connector="SegmentConnector", kv_role="kv_both",
                kv_connector_module_path=f"{entry}.connector",
                kv_connector_extra_config={
                    **AdapterSettings(heads=heads).to_config(),
                    "scheduler": {"policy": policy},
                },
            ),
        )  # fmt: skip
        self.engine = self.llm.llm_engine
        self.tokenizer = self.llm.get_tokenizer()
        self._ids = itertools.count()

    @property
    def layout(self) -> RotaryLayout:
        return self.family.rotary_layout(self.engine.model_config.hf_config)

    def text(self, index: int) -> str:
        """What a prompt says for clip `index`."""
        if self.family.stamps_clips:
            return "<|video_pad|>"
        times = times_s(index, self.num_frames)
        stamp = f"<{(times[0] + times[-1]) / 2:.1f} seconds>"
        return f"{stamp}<|vision_start|><|video_pad|><|vision_end|>"

    @property
    def second_per_grid(self) -> float | None:
        """Between pairs of frames, where the model tells time by place."""
        return None if self.family.stamps_clips else 2 * FRAME_MS[self.num_frames] / 1000

    def frames(self, index: int) -> NDArray[np.uint8]:
        return frames(index, self.num_frames)

    @property
    def scheduler(self) -> Any:
        return self.engine.engine_core.engine_core.scheduler

    @property
    def worker(self) -> Any:
        from vllm.distributed.kv_transfer import get_kv_transfer_group

        return get_kv_transfer_group().segment_worker

    @property
    def arena(self) -> Any:
        return self.worker.arena

    def choose_by(self, **settings: Any) -> None:
        """Let the worker choose another way (a `RetrievalPolicy`), by an index made anew."""
        from onlooker.engine.vllm_adapter.worker.scores import SCORES

        self.worker.policy = RetrievalPolicy.model_validate(settings)
        score = self.arena.score = SCORES[self.worker.policy.ranking.score]
        for key in list(self.arena.index):
            self.arena.index.put(key, score.entries(self.arena.get(key).plain_keys, None))

    def clip(self, index: int) -> tuple[Any, Any]:
        """Clip `index` as (`ClipTokens`, features with pixels)."""
        from vllm.renderers.inputs.preprocess import parse_model_prompt

        from onlooker.engine.vllm_adapter.gateway.features import clip_tokens

        prompt = {
            "prompt": self.text(index),
            "multi_modal_data": {"video": [video(index, self.num_frames)]},
        }
        parsed = parse_model_prompt(self.engine.model_config, prompt)
        (rendered,) = self.engine.renderer.render_cmpl([parsed])
        return clip_tokens(f"clip/{index}", rendered, self.layout)

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def add(
        self,
        builder: Any,
        *,
        max_tokens: int = 1,
        logprobs: int | None = None,
        ticket: Ticket | None = None,
        reads_heads: bool = False,
        pause: PauseRule | None = None,
    ) -> str:
        """Hand a `PromptBuilder`'s request to the engine; returns its id."""
        from vllm import SamplingParams

        from onlooker.engine.vllm_adapter.gateway.features import engine_input

        prompt = builder.build()
        plan = replace(prompt.plan, reads_heads=reads_heads)
        request_id = f"r{next(self._ids)}"
        params = SamplingParams(
            temperature=0, max_tokens=max_tokens, logprobs=logprobs, ignore_eos=True,
            extra_args={
                "kv_transfer_params": plan_params(plan),
                **(ticket_params(ticket) if ticket else {}),
                **(pause_params(pause) if pause else {}),
            },
        )  # fmt: skip
        self.engine.add_request(request_id, engine_input(prompt), params)
        return request_id

    def step(self) -> list[Any]:
        return [output for output in self.engine.step() if output.finished]

    def run(self, builder: Any, **options: Any) -> Any:
        """Run one request to its end."""
        request_id = self.add(builder, **options)
        while True:
            for output in self.step():
                if output.request_id == request_id:
                    return output

    def stock(self, indices: list[int], question: str, num_tokens: int) -> Any:
        """The same contiguous prompt as one ordinary request."""
        from vllm import SamplingParams

        clips = [video(index, self.num_frames) for index in indices]
        (output,) = self.llm.generate(
            {
                "prompt": SINK + "".join(map(self.text, indices)) + question + ASK,
                "multi_modal_data": {"video": clips},
            },
            SamplingParams(temperature=0, max_tokens=num_tokens, logprobs=1, ignore_eos=True),
            use_tqdm=False,
        )
        return output
