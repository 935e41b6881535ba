"""`HeldPause`: when one answer may have the token that is the model's pause.

The rule is that of LiveCC's streaming end of sentence (``ThresholdLogitsProcessor`` in the public
code of showlab/livecc), written anew from what it does.
"""

from dataclasses import dataclass

import torch

from onlooker.engine.vllm_adapter.wire import PauseRule


@dataclass(frozen=True, slots=True)
class HeldPause:
    """The rule of one request, as vLLM calls it for each of its tokens."""

    rule: PauseRule

    def __call__(self, output_ids: list[int], logits: torch.Tensor) -> torch.Tensor:
        """`logits` of the next token, [vocabulary], with the pause impossible where it is not
        likely enough behind the tokens `output_ids` that the answer has."""
        token_id = self.rule.token_id
        chance = torch.softmax(logits, dim=-1, dtype=torch.float32)[token_id]
        bar = self.rule.ramp.bar(len(output_ids))
        # Without a branch, for which a GPU would have to be waited for.
        logits[token_id] = torch.where(chance > bar, logits[token_id], -torch.inf)
        return logits
