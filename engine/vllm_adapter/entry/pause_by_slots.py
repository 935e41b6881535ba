"""Holds the model's pause back, for all requests of a step at once, in vLLM's newer model runner.

That runner gives each request a slot for as long as it runs, and each row of logits names its slot.
The server guesses no tokens ahead of a model with a pause, so a request has one row in a step.
"""

from typing import Any

import numpy as np
import torch

from onlooker.engine.vllm_adapter.seams import LogitsProcessorBySlots
from onlooker.engine.vllm_adapter.wire import PauseRule, read_pause


class PauseBySlots(LogitsProcessorBySlots):
    """Holds back the pause of those requests that have a rule for it."""

    def __init__(self, vllm_config: Any, req_states: Any) -> None:
        """`req_states`: vLLM's own buffers of all slots, which are only read."""
        self._states = req_states
        self._rules: list[PauseRule | None] = [None] * req_states.max_num_reqs

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Note the rule of the request that has slot `req_idx` from now on; answers whether it has
        one."""
        rule = self._rules[req_idx] = read_pause(sampling_params.extra_args)
        return rule is not None

    def apply(self, logits: torch.Tensor, ctx: Any) -> torch.Tensor:
        """`logits`, [rows, vocabulary], with each pause impossible that is not likely enough."""
        found = [
            (row, rule)
            for row, slot in enumerate(np.asarray(ctx.idx_mapping_np).tolist())
            if (rule := self._rules[slot]) is not None
        ]
        if not found:
            return logits
        device = logits.device
        rows = torch.tensor([row for row, _ in found], device=device)
        tokens = torch.tensor([rule.token_id for _, rule in found], device=device)
        thresholds = torch.tensor([rule.ramp.threshold for _, rule in found], device=device)
        steps = torch.tensor([rule.ramp.step for _, rule in found], device=device)
        slots = ctx.expanded_idx_mapping[rows].long()
        num_tokens = ctx.pos[rows] + 1 - self._states.prompt_len.gpu[slots]
        chances = torch.softmax(logits[rows], dim=-1, dtype=torch.float32).gather(
            1, tokens[:, None]
        )[:, 0]
        held = chances <= thresholds + steps * num_tokens
        logits[rows, tokens] = torch.where(held, -torch.inf, logits[rows, tokens])
        return logits
