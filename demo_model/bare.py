"""The bare model: one forward pass over the tokens of new clips, given the KV of their contexts.

It tells what a clip would cost if nothing had to be scheduled, loaded, saved or sent anywhere: the
yardstick of the ingest benchmark. It is Hugging Face's implementation, with a cache that is written
in place.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, StaticCache


class BareModel:
    """A model folder, loaded in float32 on the CPU.

    Args:
        threads: number of threads of torch: as many as the engine that is compared with it has.
    """

    def __init__(self, folder: Path | str, *, threads: int) -> None:
        torch.set_num_threads(threads)
        model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        self._model = model.eval()

    @torch.inference_mode()
    def prepare(
        self, *, batch: int, context_tokens: int, clip_tokens: int, frame_size: tuple[int, int]
    ) -> BareClips:
        """Make ready to compute `batch` clips at once.

        A clip of two frames of `frame_size` (width, height) in pixels is `clip_tokens` tokens; each
        has a context of its own of `context_tokens` tokens. Noise stands in for pictures and KV:
        the work is the same.
        """
        config = self._model.config
        vision = config.vision_config
        grid = [1, *(side // vision.patch_size for side in reversed(frame_size))]
        patches = grid[1] * grid[2]
        patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        num_visual = patches // vision.spatial_merge_size**2
        ids = torch.zeros(batch, clip_tokens, dtype=torch.long)
        ids[:, -num_visual:] = config.video_token_id
        cache = StaticCache(config=config.text_config, max_cache_len=context_tokens + clip_tokens)
        filling = torch.zeros(batch, context_tokens, dtype=torch.long)
        self._model(input_ids=filling, past_key_values=cache, use_cache=True, logits_to_keep=1)
        places = torch.arange(context_tokens, context_tokens + clip_tokens)
        inputs = {
            "input_ids": ids,
            "pixel_values_videos": torch.randn(batch * patches, patch),
            "video_grid_thw": torch.tensor([grid] * batch),
            "position_ids": places.expand(4, batch, -1),
            "past_key_values": cache,
            "use_cache": True,
            "logits_to_keep": 1,
        }
        clips = BareClips(self._model, inputs, context_tokens)
        clips.time(1)  # the first pass only warms up
        return clips


class BareClips:
    """As many clips as are computed at once, with the KV of their contexts at hand.

    Args:
        inputs: of the model's forward pass, with the cache.
    """

    def __init__(self, model: Any, inputs: dict[str, Any], context_tokens: int) -> None:
        self._model = model
        self._inputs = inputs
        self._context_tokens = context_tokens

    @torch.inference_mode()
    def time(self, rounds: int) -> list[float]:
        """The CPU seconds of each of `rounds` passes over all clips."""
        spent_s = []
        for _ in range(rounds):
            for layer in self._inputs["past_key_values"].layers:
                layer.cumulative_length.fill_(self._context_tokens)
            begun_s = time.process_time()
            self._model(**self._inputs)
            spent_s.append(time.process_time() - begun_s)
        return spent_s
