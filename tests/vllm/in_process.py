"""vLLM with segments in this process, driven step by step, so that a test can look inside."""

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onlooker.demo_model.phrases import SYSTEM_PROMPTS
from onlooker.demo_model.render import render
from onlooker.demo_model.world import World
from onlooker.engine.vllm_adapter.config import VllmSection
from onlooker.engine.vllm_adapter.platform import prepare_environment
from onlooker.scheduler.ticket import Ticket

prepare_environment(VllmSection(), cpu=True, model_is_local=True)

SINK = f"<|im_start|>system\n{SYSTEM_PROMPTS[0]}<|im_end|>\n<|im_start|>user\n"
ASK = "<|im_end|>\n<|im_start|>assistant\n"
WORLD = World(5)


def frames(index: int) -> NDArray[np.uint8]:
    """The two frames of the clip of second `index`: [2, 72, 72, 3]."""
    return np.stack([render(WORLD.state_at(index + half), 72, 72) for half in (0.0, 0.5)])


def video(index: int) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """The clip of second `index` as vLLM's video item."""
    metadata = {
        "fps": 1000.0, "frames_indices": [index * 1000, index * 1000 + 500],
        "total_num_frames": 2, "duration": 0.5, "video_backend": "test",
        "do_sample_frames": False,
    }  # fmt: skip
    return frames(index), metadata


class SegmentVllm:
    """One engine; requests run to their end, or step by step."""

    def __init__(
        self, folder: Path, *, scheduler: str = "SegmentScheduler", policy: str = "fcfs"
    ) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        from vllm import LLM
        from vllm.config import KVTransferConfig

        segments = "onlooker.engine.vllm_adapter.segments"
        self.llm = LLM(
            model=str(folder), dtype="float32", enforce_eager=True, max_model_len=2048,
            max_num_seqs=8, block_size=32, max_num_batched_tokens=2048, seed=0,
            limit_mm_per_prompt={"video": 32, "image": 0}, mm_processor_cache_gb=0,
            enable_prefix_caching=True, disable_log_stats=True, use_tqdm_on_load=False,
            hf_overrides={"architectures": ["OnlookerQwen3VL"]},
            scheduler_cls=f"{segments}.scheduler.{scheduler}",
            worker_extension_cls=f"{segments}.extension.SegmentExtension",
            kv_transfer_config=KVTransferConfig(
                kv_connector="SegmentConnector", kv_role="kv_both",
                kv_connector_module_path=f"{segments}.connector",
                kv_connector_extra_config={"scheduler": {"policy": policy}},
            ),
        )  # fmt: skip
        self.engine = self.llm.llm_engine
        self.tokenizer = self.llm.get_tokenizer()
        self._ids = itertools.count()

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
        """Let the worker choose another way (`Choosing.from_settings`), by an index made anew."""
        from onlooker.engine.vllm_adapter.segments.retrieval import Choosing
        from onlooker.engine.vllm_adapter.segments.scores import SCORES

        self.worker._choosing = Choosing.from_settings(settings)
        score = self.arena.score = SCORES[self.worker._choosing.ranking.score]
        for key in list(self.arena.index):
            self.arena.index.put(key, score.entries(self.arena.get(key).plain_keys, None))

    def clip(self, index: int) -> tuple[Any, Any]:
        """The clip of second `index` as (`ClipTokens`, features with pixels)."""
        from vllm.renderers.inputs.preprocess import parse_model_prompt

        from onlooker.engine.vllm_adapter.segments.composer import clip_tokens

        prompt = {
            "prompt": "<|video_pad|>",
            "multi_modal_data": {"video": [video(index)]},
        }
        parsed = parse_model_prompt(self.engine.model_config, prompt)
        (rendered,) = self.engine.renderer.render_cmpl([parsed])
        config = self.engine.model_config.hf_config
        tokens = clip_tokens(
            f"clip/{index}", rendered, video_token=config.video_token_id,
            merge=config.vision_config.spatial_merge_size,
        )  # fmt: skip
        return tokens, rendered["mm_kwargs"]["video"][0]

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def add(
        self,
        builder: Any,
        *,
        max_tokens: int = 1,
        logprobs: int | None = None,
        ticket: Ticket | None = None,
    ) -> str:
        """Hand a `PromptBuilder`'s request to the engine; returns its id."""
        from vllm import SamplingParams

        prompt, spec = builder.build()
        request_id = f"r{next(self._ids)}"
        params = SamplingParams(
            temperature=0, max_tokens=max_tokens, logprobs=logprobs, ignore_eos=True,
            extra_args={
                "kv_transfer_params": spec.to_params(), **(ticket.to_params() if ticket else {})
            },
        )  # fmt: skip
        self.engine.add_request(request_id, prompt, params)
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

        clips = [video(index) for index in indices]
        (output,) = self.llm.generate(
            {
                "prompt": SINK + "<|video_pad|>" * len(clips) + question + ASK,
                "multi_modal_data": {"video": clips},
            },
            SamplingParams(temperature=0, max_tokens=num_tokens, logprobs=1, ignore_eos=True),
            use_tqdm=False,
        )
        return output
